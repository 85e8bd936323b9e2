// The loops of symbol_kernels.h with Google Highway, compiled once for each instruction set. A tile
// is one vector of channels times the 8 rows of a group, as in kernels_simd.cc; channels behind the
// last whole vector go to the scalar loops. All arithmetic is exact.

#include <algorithm>
#include <cstring>

#include "quant/octet.h"
#include "quant/simd_targets.h"
#include "quant/symbol_kernels.h"

#undef HWY_TARGET_INCLUDE
// NOLINTNEXTLINE(readability-identifier-naming): Highway's name
#define HWY_TARGET_INCLUDE "quant/symbols_simd.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

// Without an instruction set (Highway's own emulation) there is nothing to gain.
#if HWY_TARGET != HWY_EMU128 && HWY_TARGET != HWY_SCALAR

// Once more for each target.
#undef AMAQ_QUANT_KERNELS_ROWS_H_
#undef AMAQ_QUANT_KERNELS_TILE_H_
#undef AMAQ_QUANT_KERNELS_WORDS_H_
#include "quant/kernels_tile.h"
#include "quant/kernels_words.h"

HWY_BEFORE_NAMESPACE();
namespace amaq::quant::HWY_NAMESPACE {
namespace {

using DByte = hn::Rebind<uint8_t, DU>;

HWY_INLINE VU LoadBytes(const uint8_t* from) {
  return hn::PromoteTo(DU(), hn::LoadU(DByte(), from));
}

HWY_INLINE const uint8_t* UnpackTile(const uint8_t* in, const SymbolChannels& channels, size_t c,
                                     size_t rows, uint8_t* symbols) {
  const VU width = LoadBytes(channels.widths.data() + c);
  const VU mask = LoadBytes(channels.masks.data() + c);
  const VU offset = LoadBytes(channels.offsets.data() + c);
  VU parts[2];
  in = LoadWords(in, channels, c, width, parts[0], parts[1]);
  VU shift = hn::Zero(DU());
  for (size_t row = 0; row < rows; ++row) {
    if (row == 4) shift = hn::Zero(DU());
    // What is of the next codes, above the mask, does not reach below it.
    const VU symbol = hn::And(hn::Add(hn::Shr(parts[row / 4], shift), offset), mask);
    // Not TruncateTo, which is wrong for AVX3_DL in Highway 1.0.3.
    hn::StoreU(hn::DemoteTo(DByte(), hn::BitCast(DI(), symbol)), DByte(),
               symbols + row * channels.count + c);
    shift = hn::Add(shift, width);
  }
  return in;
}

HWY_INLINE uint8_t* PackTile(const uint8_t* symbols, const SymbolChannels& channels, size_t c,
                             size_t rows, uint8_t* out) {
  const VU width = LoadBytes(channels.widths.data() + c);
  const VU mask = LoadBytes(channels.masks.data() + c);
  const VU offset = LoadBytes(channels.offsets.data() + c);
  VU parts[2] = {hn::Zero(DU()), hn::Zero(DU())};
  VU shift = hn::Zero(DU());
  for (size_t row = 0; row < rows; ++row) {
    if (row == 4) shift = hn::Zero(DU());
    const VU symbol = LoadBytes(symbols + row * channels.count + c);
    const VU code = hn::And(hn::Sub(symbol, offset), mask);
    parts[row / 4] = hn::Or(parts[row / 4], hn::Shl(code, shift));
    shift = hn::Add(shift, width);
  }
  return StoreWords(parts[0], parts[1], channels, c, width, out);
}

ChannelSlice WholeTiles(ChannelSlice slice) {
  return {slice.begin, slice.end - (slice.end - slice.begin) % kLanes};
}

size_t OffsetOf(const SymbolChannels& channels, size_t channel) {
  return GroupBytes(std::span(channels.widths).first(channel));
}

void Unpack(ByteSpan codes, const SymbolChannels& channels, ChannelSlice slice, size_t rows,
            uint8_t* symbols) {
  const ChannelSlice tiles = WholeTiles(slice);
  const size_t offset = OffsetOf(channels, tiles.begin);
  const uint8_t* const end = codes.data() + codes.size();
  for (size_t first = 0; tiles.begin < tiles.end && first < rows; first += kGroupTokens) {
    const size_t count = std::min(kGroupTokens, rows - first);
    uint8_t* const to = symbols + first * channels.count;
    const uint8_t* in = codes.data() + first / kGroupTokens * channels.group_bytes + offset;
    for (size_t c = tiles.begin; c < tiles.end; c += kLanes) {
      const auto left = static_cast<size_t>(end - in);
      if (left >= kTileBytes) {
        in = UnpackTile(in, channels, c, count, to);
      } else {
        uint8_t bytes[kTileBytes] = {};
        if (left > 0) std::memcpy(bytes, in, left);  // no bytes: a null pointer
        in += UnpackTile(bytes, channels, c, count, to) - bytes;
      }
    }
  }
  if (tiles.end < slice.end) {
    ScalarSymbolKernels().unpack(codes, channels, {tiles.end, slice.end}, rows, symbols);
  }
}

void Pack(const uint8_t* symbols, const SymbolChannels& channels, ChannelSlice slice, size_t rows,
          std::span<uint8_t> codes) {
  const ChannelSlice tiles = WholeTiles(slice);
  const size_t offset = OffsetOf(channels, tiles.begin);
  const size_t bytes = OffsetOf(channels, tiles.end) - offset;
  for (size_t first = 0; tiles.begin < tiles.end && first < rows; first += kGroupTokens) {
    const size_t count = std::min(kGroupTokens, rows - first);
    const uint8_t* const from = symbols + first * channels.count;
    uint8_t* next = codes.data() + first / kGroupTokens * channels.group_bytes + offset;
    const uint8_t* const end = next + bytes;
    for (size_t c = tiles.begin; c < tiles.end; c += kLanes) {
      if (static_cast<size_t>(end - next) >= kTileBytes) {
        next = PackTile(from, channels, c, count, next);
      } else {  // near the end only what counts may be written
        uint8_t tile[kTileBytes];
        const uint8_t* const tile_end = PackTile(from, channels, c, count, tile);
        next = std::copy(static_cast<const uint8_t*>(tile), tile_end, next);
      }
    }
  }
  if (tiles.end < slice.end) {
    ScalarSymbolKernels().pack(symbols, channels, {tiles.end, slice.end}, rows, codes);
  }
}

}  // namespace

const SymbolKernels& Symbols() {
  static constexpr SymbolKernels kernels = {Unpack, Pack};
  return kernels;
}

}  // namespace amaq::quant::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // an instruction set
