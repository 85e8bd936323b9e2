#ifndef AMAQ_QUANT_RANS_H_
#define AMAQ_QUANT_RANS_H_

// A matrix of symbols [rows][channels] to bytes and back, by 32 interleaved range coders with
// static tables: the table of a symbol is that of its channel plus the class of its row. Knows
// nothing of widths, messages or how tables are made. One block is one call, so that blocks may run
// in parallel. Thread-safety: SymbolTables is immutable, the functions are pure. Exactness: the
// same bytes on every machine. Source: J. Duda, "Asymmetric numeral systems" (arXiv 1311.2540), the
// interleaving of F. Giesen, "Interleaved entropy coders" (arXiv 1402.3392);
// docs/formats/entropy.md.

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "core/section.h"

namespace amaq::quant {

inline constexpr size_t kRansLanes = 32;
inline constexpr uint32_t kFrequencyBits = 14;
inline constexpr uint32_t kFrequencyTotal = uint32_t{1} << kFrequencyBits;
inline constexpr size_t kRansStateBytes = kRansLanes * sizeof(uint32_t);  // of an empty block

// Frequencies of the symbols 0...size-1 of each table, prepared for both directions. 16 KiB a
// table.
class SymbolTables {
 public:
  // Each table has 1 to 256 symbols, each with a frequency of 1 or more, kFrequencyTotal in sum
  // (checked by whoever read them).
  explicit SymbolTables(std::span<const std::vector<uint16_t>> frequencies);

  struct Slice {
    uint16_t frequency = 0;  // 0: the table has no such symbol
    uint16_t start = 0;      // sum of the frequencies before it
  };
  size_t size() const { return slices_.size() >> 8; }
  // Of table `t`, by symbol [256].
  const Slice* slices(size_t table) const { return slices_.data() + (table << 8); }
  // Of table `t`, by position in [0, kFrequencyTotal).
  const uint8_t* symbols(size_t table) const { return symbols_.data() + (table << kFrequencyBits); }

 private:
  static constexpr size_t kGatherBytes = 3;  // a vector reads four bytes to have one

  std::vector<Slice> slices_;
  std::vector<uint8_t> symbols_;
};

// The table of symbol (row, channel) is channel_tables[channel] + row_classes[row].
struct SymbolContext {
  const SymbolTables& tables;
  std::span<const uint16_t> channel_tables;  // [channels]
  std::span<const uint8_t> row_classes;      // [rows]; empty: all 0

  size_t row_class(size_t row) const { return row_classes.empty() ? 0 : row_classes[row]; }
};

struct RansKernels;  // quant/rans_kernels.h

// Every symbol has a frequency in its table. nullopt when the result would be above `max_bytes`.
// Without `kernels`: those of ActiveKernelSet(), here and below.
std::optional<Bytes> RansEncode(const SymbolContext& context, std::span<const uint8_t> symbols,
                                size_t max_bytes);
std::optional<Bytes> RansEncode(const SymbolContext& context, std::span<const uint8_t> symbols,
                                size_t max_bytes, const RansKernels& kernels);

// Writes rows * channels symbols. Errors: kDataLoss for bytes that RansEncode would not have made;
// `symbols` may then hold anything.
void RansDecode(const SymbolContext& context, ByteSpan bytes, std::span<uint8_t> symbols);
void RansDecode(const SymbolContext& context, ByteSpan bytes, std::span<uint8_t> symbols,
                const RansKernels& kernels);

}  // namespace amaq::quant

#endif  // AMAQ_QUANT_RANS_H_
