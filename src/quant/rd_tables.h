#ifndef AMAQ_QUANT_RD_TABLES_H_
#define AMAQ_QUANT_RD_TABLES_H_

// The step grid and the one-dimensional family of symbol tables of the rate-distortion coder
// (rd.h): table t is for integers q whose mean magnitude is 2^((t - 32) / 4). Everything here is
// integers or single IEEE operations, so that both parties derive the same tables. Thread-safety:
// pure functions. Source: our choice, docs/formats/rd.md.

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/host_device.h"

namespace amaq::quant {

inline constexpr size_t kRdTables = 80;      // mean magnitudes 2^-8 to 2^11.75
inline constexpr int32_t kRdUnitTable = 32;  // mean magnitude 1
inline constexpr size_t kRdRowClasses = 8;   // of energy, half an octave apart:
inline constexpr size_t kRdRowStride = 2;    // tables
inline constexpr size_t kRdMiddleRow = 4;    // the class of a row of average energy
// A channel's base is its table in row class 0.
inline constexpr size_t kRdBases = kRdTables - kRdRowStride * (kRdRowClasses - 1);
inline constexpr int32_t kRdLargest = 1 << 20;   // |q|
inline constexpr int32_t kRdLargestIndex = 640;  // |index|: 2^-40 to 2^40

// step = scale * 2^(index / 16).
struct RdStep {
  float scale = 1;    // above 0
  int16_t index = 0;  // at most kRdLargestIndex in magnitude

  // In fp32: scale times a constant of 24 bits times a power of two.
  float value() const;
  // The value is a normal number, and (kRdLargest + 1) times it is finite.
  bool is_valid() const;
};

// A table's symbols stand for q in bins of 2^low_bits: hi = floor((q + half) / 2^low_bits), half =
// 2^(low_bits - 1) (0 where low_bits is 0). Symbol 2 hi - 1 for hi > 0, else -2 hi; 2 * largest + 1
// is the escape: |hi| > largest.
struct RdTableShape {
  uint32_t low_bits = 0;
  int32_t largest = 0;

  AMAQ_HOST_DEVICE uint32_t half() const { return (1u << low_bits) >> 1; }
  AMAQ_HOST_DEVICE uint32_t num_symbols() const { return 2 * static_cast<uint32_t>(largest) + 2; }
  AMAQ_HOST_DEVICE uint8_t escape() const { return static_cast<uint8_t>(2 * largest + 1); }
  AMAQ_HOST_DEVICE int32_t Bin(int32_t q) const {
    return (q + static_cast<int32_t>(half())) >> low_bits;
  }
  AMAQ_HOST_DEVICE uint8_t SymbolOf(int32_t q) const {
    const int32_t hi = Bin(q);
    if (hi > largest || -hi > largest) return escape();
    return static_cast<uint8_t>(hi > 0 ? 2 * hi - 1 : -2 * hi);
  }
  // Of a symbol that is not the escape, with its low bits.
  int32_t ValueOf(uint8_t symbol, uint32_t low) const {
    const int32_t hi = symbol % 2 != 0 ? (symbol + 1) / 2 : -(symbol / 2);
    return hi * (1 << low_bits) - static_cast<int32_t>(half()) + static_cast<int32_t>(low);
  }
};
std::span<const RdTableShape> RdShapes();  // [kRdTables]
inline const RdTableShape& RdShapeOf(size_t table) { return RdShapes()[table]; }

// Counts of a table are by magnitude of hi, 0...largest, and the escape's. All tables' lie one
// behind the other; these are their places, kRdTables + 1 of them.
std::span<const uint32_t> RdCountOffsets();
AMAQ_HOST_DEVICE inline size_t RdCountBin(uint8_t symbol) {
  return (size_t{symbol} + 1) / 2;  // the escape: largest + 1
}

// Frequencies of the symbols of a table: its prior (a two-sided geometric distribution of its mean
// magnitude) as if it were 512 symbols, and the counts (each below 2^32). kFrequencyTotal in sum.
std::vector<uint16_t> RdFrequencies(size_t table, std::span<const uint32_t> counts);

// floor(16 log2(value)) of a value of 1 or more.
int32_t RdSixteenths(uint64_t value);

// floor(value * 2^(sixteenths / 16)), at most 2^32 - 1, as the product with a constant of 32 bits.
uint64_t RdScaled(uint64_t value, int32_t sixteenths);

// Base of a channel whose mean magnitude in a row of average energy is 2^(sixteenths / 16).
uint8_t RdBaseOf(int32_t sixteenths);

// 256 * 2^((row_class - 4) / 2): what a row of that class weighs in a mean.
uint32_t RdRowWeight(size_t row_class);

}  // namespace amaq::quant

#endif  // AMAQ_QUANT_RD_TABLES_H_
