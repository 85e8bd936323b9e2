#include "quant/symbols.h"

#include <algorithm>
#include <span>

#include "core/check.h"
#include "core/error.h"
#include "quant/codec.h"
#include "quant/coders/tiles.h"
#include "quant/octet.h"
#include "quant/range.h"
#include "quant/sections.h"
#include "quant/uniform.h"

namespace amaq::quant {
namespace {

uint8_t ZeroCode(float lo, float step, uint8_t width) {
  if (step == 0) return 0;
  const float code = QuantizeNearest(0, lo, InverseStep(step), LargestCode(width));
  return static_cast<uint8_t>(static_cast<int32_t>(code));
}

// What is added to a code, modulo 2^n, to make it a symbol; and the masks.
struct Rotation {
  Rotation(const CodesShape& shape, bool is_relative_to_zero) {
    for (size_t c = 0; c < shape.widths.size(); ++c) {
      const uint32_t size = 1u << shape.widths[c];
      mask.push_back(static_cast<uint8_t>(size - 1));
      const uint32_t zero = is_relative_to_zero ? shape.zero_codes[c] : size / 2;
      offset.push_back(static_cast<uint8_t>(size / 2 - zero));
    }
  }
  std::vector<uint8_t> offset, mask;  // [H]
};

std::vector<uint8_t> SymbolsOfOctets(ByteSpan codes, const CodesShape& shape,
                                     bool is_relative_to_zero) {
  const size_t channels = shape.widths.size();
  const Rotation rotation(shape, is_relative_to_zero);
  const size_t group_bytes = GroupBytes(shape.widths);
  std::vector<uint8_t> symbols(shape.rows * channels);
  std::vector<uint8_t> group(kGroupTokens * channels);
  for (size_t first = 0; first < shape.rows; first += kGroupTokens) {
    UnpackGroup(codes.subspan(first / kGroupTokens * group_bytes), shape.widths, group.data());
    for (size_t k = 0; k < std::min(kGroupTokens, shape.rows - first); ++k) {
      uint8_t* row = symbols.data() + (first + k) * channels;
      for (size_t c = 0; c < channels; ++c) {
        row[c] =
            static_cast<uint8_t>((group[k * channels + c] + rotation.offset[c]) & rotation.mask[c]);
      }
    }
  }
  return symbols;
}

Bytes PackOctets(std::span<const uint8_t> symbols, const CodesShape& shape,
                 bool is_relative_to_zero) {
  const size_t channels = shape.widths.size();
  const Rotation rotation(shape, is_relative_to_zero);
  const size_t group_bytes = GroupBytes(shape.widths);
  Bytes codes(shape.CodesBytes());
  std::vector<uint8_t> group(kGroupTokens * channels);
  for (size_t first = 0; first < shape.rows; first += kGroupTokens) {
    std::fill(group.begin(), group.end(), uint8_t{0});
    for (size_t k = 0; k < std::min(kGroupTokens, shape.rows - first); ++k) {
      const uint8_t* row = symbols.data() + (first + k) * channels;
      for (size_t c = 0; c < channels; ++c) {
        group[k * channels + c] =
            static_cast<uint8_t>((row[c] - rotation.offset[c]) & rotation.mask[c]);
      }
    }
    PackGroup(group.data(), shape.widths,
              std::span(codes).subspan(first / kGroupTokens * group_bytes));
  }
  return codes;
}

// Turns the codes of a row of tiles into symbols, in place; `sign` -1: back.
void RotateTiles(const CodesShape& shape, size_t row, int sign, std::span<uint8_t> values) {
  const size_t tiles = (values.size() + shape.tile_size - 1) / shape.tile_size;
  const int middle = 1 << (shape.row_widths[row] - 1);
  for (size_t i = 0; i < values.size(); ++i) {
    const int zero = shape.zero_codes[row * tiles + i / shape.tile_size];
    values[i] = static_cast<uint8_t>((values[i] + sign * (middle - zero)) & (2 * middle - 1));
  }
}

std::vector<uint8_t> SymbolsOfTiles(ByteSpan codes, const CodesShape& shape,
                                    bool is_relative_to_zero) {
  const size_t channels = shape.widths.size();
  std::vector<uint8_t> symbols(shape.rows * channels);
  for (size_t row = 0; row < shape.rows; ++row) {
    const auto target = std::span(symbols).subspan(row * channels, channels);
    UnpackRun(codes.data(), shape.row_widths[row], target);
    codes = codes.subspan(RunBytes(channels, shape.row_widths[row]));
    if (is_relative_to_zero) RotateTiles(shape, row, 1, target);
  }
  return symbols;
}

Bytes PackTiles(std::span<const uint8_t> symbols, const CodesShape& shape,
                bool is_relative_to_zero) {
  const size_t channels = shape.widths.size();
  Bytes codes(shape.CodesBytes());
  std::vector<uint8_t> values(channels);
  size_t at = 0;
  for (size_t row = 0; row < shape.rows; ++row) {
    std::copy_n(symbols.data() + row * channels, channels, values.data());
    const uint8_t width = shape.row_widths[row];
    const auto large = std::ranges::find_if(values, [&](uint8_t s) { return s >> width != 0; });
    if (large != values.end()) {
      Throw(Code::kDataLoss, "coded row ", row, " of ", int{width}, " bits has the symbol ",
            int{*large});
    }
    if (is_relative_to_zero) RotateTiles(shape, row, -1, values);
    PackRun(values, width, codes.data() + at);
    at += RunBytes(channels, width);
  }
  return codes;
}

}  // namespace

uint64_t CodesShape::CodesBytes() const {
  if (!has_tiles()) return quant::CodesBytes(rows, widths);
  uint64_t total = 0;
  for (const uint8_t width : row_widths) total += RunBytes(widths.size(), width);
  return total;
}

std::vector<uint8_t> ZeroCodes(ByteSpan ranges, std::span<const uint8_t> widths) {
  std::vector<uint8_t> codes(widths.size(), 0);
  if (ranges.empty()) return codes;  // no row is coded
  const std::vector<ChannelRange> parsed = ParseRanges(ranges, widths);
  for (size_t c = 0; c < widths.size(); ++c) {
    codes[c] = ZeroCode(parsed[c].lo, parsed[c].step, widths[c]);
  }
  return codes;
}

void FindZeroCodes(const std::vector<Section>& sections, CodesShape* shape) {
  if (!shape->has_tiles()) {
    shape->zero_codes =
        ZeroCodes(RequireSection(sections, SectionKind::kRanges, "ranges"), shape->widths);
    return;
  }
  const size_t tiles = (shape->widths.size() + shape->tile_size - 1) / shape->tile_size;
  const std::vector<TileRange> ranges = ReadScales(sections, shape->rows * tiles);
  shape->zero_codes.clear();
  for (size_t i = 0; i < ranges.size(); ++i) {
    shape->zero_codes.push_back(
        ZeroCode(ranges[i].lo, ranges[i].step, shape->row_widths[i / tiles]));
  }
}

std::vector<uint8_t> SymbolsOf(ByteSpan codes, const CodesShape& shape, bool is_relative_to_zero) {
  AMAQ_CHECK(codes.size() == shape.CodesBytes());
  return shape.has_tiles() ? SymbolsOfTiles(codes, shape, is_relative_to_zero)
                           : SymbolsOfOctets(codes, shape, is_relative_to_zero);
}

Bytes PackSymbols(std::span<const uint8_t> symbols, const CodesShape& shape,
                  bool is_relative_to_zero) {
  return shape.has_tiles() ? PackTiles(symbols, shape, is_relative_to_zero)
                           : PackOctets(symbols, shape, is_relative_to_zero);
}

}  // namespace amaq::quant
