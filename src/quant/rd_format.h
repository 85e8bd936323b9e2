#ifndef AMAQ_QUANT_RD_FORMAT_H_
#define AMAQ_QUANT_RD_FORMAT_H_

// What rd_encode.cc, rd_decode.cc and rd_blocks.cc share of the form of a message. `threads`: at
// most so many; the results are the same on any number. Source: docs/formats/rd.md.

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "core/parallel.h"
#include "core/section.h"
#include "quant/kernels.h"
#include "quant/rans_kernels.h"
#include "quant/rd.h"
#include "quant/rd_model.h"

namespace amaq::quant {

// Flags of kRdCodes.
inline constexpr uint8_t kRdHasCentroids = 1;   // 24 bytes of centroids follow the head
inline constexpr uint8_t kRdHasClasses = 2;     // a kRdClasses section is there
inline constexpr uint8_t kRdHasRowClasses = 4;  // else all rows are of kRdMiddleRow
inline constexpr uint8_t kRdHasKinds = 8;       // else the rows are of no kind (rd_memory.h)
inline constexpr uint8_t kRdKnownFlags = 15;
inline constexpr uint32_t kRdBitsOfRowClass = 3;

// A message of fewer symbols is one block of one lane: 32 lanes cost 120 bytes.
inline constexpr uint64_t kRdOneLaneSymbols = uint64_t{1} << 15;
inline constexpr size_t kRdLaneBytes = sizeof(uint32_t);
inline constexpr uint32_t kRdLaneStart = 1u << 16;  // the other lanes' state
// Others have blocks of so many rows that one has at most this number of symbols.
inline constexpr uint64_t kRdBlockSymbols = uint64_t{1} << 18;

inline size_t RdBlockRows(size_t rows, size_t channels) {
  if (rows * channels < kRdOneLaneSymbols) return rows;
  return static_cast<size_t>(std::max<uint64_t>(1, kRdBlockSymbols / channels));
}

struct RdRows {
  size_t first = 0;
  size_t count = 0;
};

// Parts of a message that can be worked on at the same time; one of no rows where it has none.
struct RdParts {
  size_t rows = 0;
  size_t part_rows = 0;  // the last part has fewer

  size_t count() const { return rows == 0 ? 1 : (rows + part_rows - 1) / part_rows; }
  RdRows Of(size_t part) const {
    const size_t first = part * part_rows;
    return {first, std::min(part_rows, rows - first)};
  }
};
inline RdParts RdBlocks(size_t rows, size_t channels) {
  return {rows, RdBlockRows(rows, channels)};
}
// Calls action for all rows of [rows, channels], about 2^14 values at a time.
inline void RdForRows(size_t rows, size_t channels, size_t threads,
                      const std::function<void(RdRows)>& action) {
  const RdParts pieces = {rows, std::max<size_t>(1, (size_t{1} << 14) / channels)};
  ParallelFor(pieces.count(), threads, [&](size_t i) { action(pieces.Of(i)); });
}
// A message of one block is not worth a thread.
inline size_t RdThreads(size_t wanted, size_t num_values) {
  return num_values > kRdBlockSymbols ? wanted : 1;
}

inline const RansKernels& RdKernels(const KernelSet* chosen) {
  return *(chosen != nullptr ? *chosen : ActiveKernelSet()).rans;
}

// The table of (row, channel) is bases[channel] + kRdRowStride * row_classes[row].
struct RdClasses {
  std::vector<uint8_t> bases;        // [H]
  std::vector<uint8_t> row_classes;  // [R]

  size_t Table(size_t row, size_t channel) const {
    return size_t{bases[channel]} + kRdRowStride * row_classes[row];
  }
};

// kRdRowStride * row_classes [R]; the table of every symbol [R * H].
std::vector<uint8_t> RdRowTables(const RdClasses& classes);
std::vector<uint8_t> RdTablesOf(const RdClasses& classes);

// q of y [R, H]; nullopt: a magnitude is too large. Errors: NonFiniteError.
std::optional<std::vector<int32_t>> RdQuantize(std::span<const float> y, const RdOptions& options,
                                               size_t channels, size_t threads = 1);

// q [R, H] and its message's step index and classes, as both ends count them. centroids are left
// to the caller.
RdCounts RdCountsOf(std::span<const int32_t> q, const RdClasses& classes, int32_t index,
                    size_t threads = 1);

// Sums of |q| [H], as in RdCounts.
std::vector<uint64_t> RdChannelSums(std::span<const int32_t> q, size_t channels, size_t threads);

// What each symbol of each table costs with its low bits, in 1/256 bit [kRdTables][256]; an escape,
// without its own bits. 0 where a table has no such symbol.
std::vector<uint32_t> RdSymbolCosts(const SymbolTables& tables);

// By table, what is added to magnitudes 0, 1 and above: centroid / 256.
std::array<std::array<float, 3>, kRdTables> RdShiftsOf(const RdCentroids& centroids);

// y_hat of q, in fp32: sgn(q) * ((|q| + centroid / 256) * step), without what is known of kinds.
void RdDequantize(std::span<const int32_t> q, const RdClasses& classes,
                  const RdCentroids& centroids, float step, std::span<float> out,
                  size_t threads = 1);

// y [R, H] and `times` (1 or -1) what the memory expects of rows of these kinds; none: y as it is.
void RdAddExpectations(const RdMemory& memory, std::span<const uint16_t> kinds, float times,
                       std::span<float> y, size_t threads = 1);
// Each value can be learnt.
bool RdCanLearn(std::span<const float> y);

}  // namespace amaq::quant

#endif  // AMAQ_QUANT_RD_FORMAT_H_
