#ifndef AMAQ_QUANT_ENTROPY_TABLES_H_
#define AMAQ_QUANT_ENTROPY_TABLES_H_

// How often each code is expected: static tables, one a class of channels and class of rows, and
// which channel is of which class. A sender makes them from codes that it sent, and sends them once
// a version; a receiver parses them. Not the coder (rans.h). Immutable. Source: design "AMAQ",
// section 8; classes, bins and form are our choice (docs/formats/entropy.md).

#include <cstdint>
#include <span>
#include <vector>

#include "core/section.h"
#include "quant/rans.h"

namespace amaq::quant {

inline constexpr size_t kMaxEntropyClasses = 64;  // of channels
inline constexpr size_t kMaxRowClasses = 8;       // of tokens
inline constexpr size_t kMaxEntropyTables = 256;  // classes times row classes
inline constexpr uint32_t kMaxBinShift = 4;       // a bin has 2^shift symbols

// One class of channels. Symbols are counted in bins of 2^shift neighbours that share a frequency.
struct EntropyClass {
  uint8_t width = 0;  // of the channels of this class, 0...8
  uint8_t shift = 0;  // 0...4, below the width (0 at width 0)
  // [row class][bin]: frequency of one symbol of the bin, 1 or more; kFrequencyTotal >> shift in
  // sum.
  std::vector<std::vector<uint16_t>> bins;
};

struct EntropyModel {
  uint32_t version = 0;              // 1 or more
  bool is_relative_to_zero = false;  // symbols count from the code of the value 0
  uint32_t row_classes = 1;
  std::vector<EntropyClass> classes;
  std::vector<uint8_t> class_of_channel;  // [H]
};

class EntropyTables {
 public:
  // `model` is consistent, as Parse checks it and BuildEntropyModel makes it.
  explicit EntropyTables(EntropyModel model);

  // The kEntropyTables section for a tensor of these widths. Errors: kDataLoss for bytes that are
  // not tables, tables of other widths, sums that are not kFrequencyTotal, counts beyond the limits
  // above. Allocates 16 KiB a table, at most kMaxEntropyTables of them, after the bytes were
  // checked.
  static EntropyTables Parse(ByteSpan bytes, std::span<const uint8_t> widths);
  Bytes Serialize() const;

  const EntropyModel& model() const { return model_; }
  uint32_t version() const { return model_.version; }
  // Made for exactly these widths.
  bool Fits(std::span<const uint8_t> widths) const;

  const SymbolTables& symbols() const { return symbols_; }
  // First table (row class 0) of each channel.
  std::span<const uint16_t> channel_tables() const { return channel_tables_; }

 private:
  EntropyModel model_;
  SymbolTables symbols_;
  std::vector<uint16_t> channel_tables_;
};

// The row class of each row of `symbols` [rows][H] that needs the fewest bits; all 0 where there is
// only one. `bits`, when given, becomes the bits that the rows then need.
std::vector<uint8_t> BestRowClasses(const EntropyTables& tables, std::span<const uint8_t> symbols,
                                    double* bits);

// A model made from symbols [rows][H], each below 2^width of its channel: classes of equal width
// whose standard deviations agree to 2^(1/4), joined where a table costs more than it saves.
// row_classes: 1 or kMaxRowClasses.
EntropyModel BuildEntropyModel(std::span<const uint8_t> symbols, std::span<const uint8_t> widths,
                               uint32_t row_classes);

}  // namespace amaq::quant

#endif  // AMAQ_QUANT_ENTROPY_TABLES_H_
