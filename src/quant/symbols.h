#ifndef AMAQ_QUANT_SYMBOLS_H_
#define AMAQ_QUANT_SYMBOLS_H_

// The codes of a message as what the entropy stage codes: a matrix of symbols, whatever the layout
// of kCodes. Each Coder says how its codes lie (coder.h). Thread-safety: pure functions. Source:
// docs/formats/entropy.md (our choice).

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/section.h"

namespace amaq::quant {

// How the codes of a message lie in its kCodes section. Known to both parties.
struct CodesShape {
  std::vector<uint8_t> widths = {};  // [H] of the symbols, 0 to 8
  uint64_t rows = 0;                 // coded rows
  // Codes that stand for the value 0: [H], or of tiles [rows][tiles]. FindZeroCodes() fills it;
  // read only by symbols relative to zero.
  std::vector<uint8_t> zero_codes = {};
  // 0: the octet layout. Else that of tiles.md: along the channels, row_widths[r] bits each;
  // tile_size channels share a range.
  size_t tile_size = 0;
  std::vector<uint8_t> row_widths = {};  // [rows] of tiles, each 1 to the least of `widths`

  bool has_tiles() const { return tile_size != 0; }
  uint64_t CodesBytes() const;
};

// The code that the value 0 gets in each channel (nearest), from a kRanges section.
// Errors: kDataLoss as docs/formats/octet.md lists them.
std::vector<uint8_t> ZeroCodes(ByteSpan ranges, std::span<const uint8_t> widths);

// Fills shape->zero_codes from the message's kRanges or kScales. Errors: kDataLoss for a section
// that is missing or is none.
void FindZeroCodes(const std::vector<Section>& sections, CodesShape* shape);

// Symbols [rows][H] of a kCodes section of shape.CodesBytes() bytes: its codes or, relative to
// zero, (code - zero code + 2^(n-1)) mod 2^n.
std::vector<uint8_t> SymbolsOf(ByteSpan codes, const CodesShape& shape, bool is_relative_to_zero);

// The reverse; each symbol is below 2^width of its channel. Errors: kDataLoss for a symbol that
// does not fit its row.
Bytes PackSymbols(std::span<const uint8_t> symbols, const CodesShape& shape,
                  bool is_relative_to_zero);

}  // namespace amaq::quant

#endif  // AMAQ_QUANT_SYMBOLS_H_
