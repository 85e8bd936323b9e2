#include "quant/symbols.h"

#include <algorithm>
#include <span>

#include "core/check.h"
#include "core/error.h"
#include "quant/codec.h"
#include "quant/coders/tiles.h"
#include "quant/range.h"
#include "quant/sections.h"
#include "quant/symbol_kernels.h"
#include "quant/uniform.h"

namespace amaq::quant {
namespace {

uint8_t ZeroCode(float lo, float step, uint8_t width) {
  if (step == 0) return 0;
  const float code = QuantizeNearest(0, lo, InverseStep(step), LargestCode(width));
  return static_cast<uint8_t>(static_cast<int32_t>(code));
}

SymbolChannels ChannelsOf(const CodesShape& shape, bool is_relative_to_zero) {
  return {shape.widths, is_relative_to_zero ? std::span<const uint8_t>(shape.zero_codes)
                                            : std::span<const uint8_t>()};
}

const SymbolKernels& KernelsInUse() { return *ActiveKernelSet().symbols; }

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
  if (shape.has_tiles()) return SymbolsOfTiles(codes, shape, is_relative_to_zero);
  const SymbolChannels channels = ChannelsOf(shape, is_relative_to_zero);
  std::vector<uint8_t> symbols(shape.rows * channels.count);
  KernelsInUse().unpack(codes, channels, {0, channels.count}, shape.rows, symbols.data());
  return symbols;
}

Bytes PackSymbols(std::span<const uint8_t> symbols, const CodesShape& shape,
                  bool is_relative_to_zero) {
  if (shape.has_tiles()) return PackTiles(symbols, shape, is_relative_to_zero);
  const SymbolChannels channels = ChannelsOf(shape, is_relative_to_zero);
  Bytes codes(shape.CodesBytes());
  KernelsInUse().pack(symbols.data(), channels, {0, channels.count}, shape.rows, codes);
  return codes;
}

}  // namespace amaq::quant
