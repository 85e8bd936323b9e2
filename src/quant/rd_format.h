#ifndef AMAQ_QUANT_RD_FORMAT_H_
#define AMAQ_QUANT_RD_FORMAT_H_

// What rd_encode.cc and rd_decode.cc share of the form of a message. Source: docs/formats/rd.md.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/section.h"
#include "quant/kernels.h"
#include "quant/rans_kernels.h"
#include "quant/rd_model.h"

namespace amaq::quant {

// Flags of kRdCodes.
inline constexpr uint8_t kRdHasCentroids = 1;   // 24 bytes of centroids follow the head
inline constexpr uint8_t kRdHasClasses = 2;     // a kRdClasses section is there
inline constexpr uint8_t kRdHasRowClasses = 4;  // else all rows are of kRdMiddleRow
inline constexpr uint8_t kRdHasKinds = 8;       // else the rows are of no kind (rd_memory.h)
inline constexpr uint8_t kRdKnownFlags = 15;

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

inline const RansKernels& RdKernels(const RansKernels* chosen) {
  return chosen != nullptr ? *chosen : RansKernelsFor(ActiveKernelSet().name);
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

// q [R, H] and its message's step index and classes, as both ends count them. centroids are left
// to the caller.
RdCounts RdCountsOf(std::span<const int32_t> q, const RdClasses& classes, int32_t index);

// y_hat of q, in fp32: sgn(q) * ((|q| + centroid / 256) * step), without what is known of kinds.
void RdDequantize(std::span<const int32_t> q, const RdClasses& classes,
                  const RdCentroids& centroids, float step, std::span<float> out);

// y [R, H] and `times` (1 or -1) what the memory expects of rows of these kinds; none: y as it is.
void RdAddExpectations(const RdMemory& memory, std::span<const uint16_t> kinds, float times,
                       std::span<float> y);
// Each value can be learnt.
bool RdCanLearn(std::span<const float> y);

}  // namespace amaq::quant

#endif  // AMAQ_QUANT_RD_FORMAT_H_
