#ifndef AMAQ_QUANT_CUDA_OCTET_TILE_H_
#define AMAQ_QUANT_CUDA_OCTET_TILE_H_

// Which codes a block has, and how they cross between shared and global memory: the octets of 128
// channels are one run of bytes for each group of 8 tokens. In shared memory they stand at the same
// address modulo 4, so that they move in whole words. Thread-safety: pure functions.
// Source: docs/formats/octet.md; the division of work is our choice.

#include <cstdint>

#include "quant/cuda/grid.h"
#include "quant/octet.h"

namespace amaq::quant::cuda {

inline constexpr uint32_t kOctet = 8;
static_assert(kOctet == kGroupTokens);
inline constexpr uint32_t kTileChannels = 128;
inline constexpr uint32_t kTileGroups = 4;

struct OctetTile {
  alignas(4) uint8_t bytes[kTileGroups][kTileChannels * kLargestWidth + 4];
};

// Which part of the codes a block has.
struct TilePlace {
  uint32_t first_channel;
  uint32_t end_channel;
  uint32_t first_group;
  uint32_t groups;  // of the block, 0...kTileGroups
};

AMAQ_HOST_DEVICE inline TilePlace TileOf(uint32_t block, uint32_t channels, uint32_t coded_rows) {
  const uint32_t tiles = CeilDivide(channels, kTileChannels);
  TilePlace tile;
  tile.first_channel = block % tiles * kTileChannels;
  const uint32_t left = channels - tile.first_channel;
  tile.end_channel = tile.first_channel + (left < kTileChannels ? left : kTileChannels);
  tile.first_group = block / tiles * kTileGroups;
  const uint32_t groups_left = CeilDivide(coded_rows, kOctet) - tile.first_group;
  tile.groups = groups_left < kTileGroups ? groups_left : kTileGroups;
  return tile;
}

AMAQ_HOST_DEVICE inline uint64_t CodeBlocks(uint32_t channels, uint32_t coded_rows) {
  return uint64_t{CeilDivide(coded_rows, kOctet * kTileGroups)} *
         CeilDivide(channels, kTileChannels);
}

// A run of bytes of one group in global memory; byte i stands at [shift + i] of the shared row.
struct ByteRun {
  uint64_t start;  // in the codes
  uint32_t bytes;
  uint32_t shift;
};

AMAQ_HOST_DEVICE inline ByteRun RunOf(const TilePlace& tile, uint32_t group,
                                      const uint32_t* offsets, uint32_t channels,
                                      const uint8_t* codes) {
  const uint32_t begin = offsets[tile.first_channel];
  const uint64_t start = uint64_t{tile.first_group + group} * offsets[channels] + begin;
  const auto address = reinterpret_cast<uintptr_t>(codes) + start;
  return {start, offsets[tile.end_channel] - begin, static_cast<uint32_t>(address % 4)};
}

// Copies this thread's words of a run: whole ones at once, the two ends byte by byte. `to` and
// `from` are where the run starts; both stand at run.shift modulo 4.
AMAQ_HOST_DEVICE inline void CopyRun(uint8_t* to, const uint8_t* from, const ByteRun& run,
                                     uint32_t thread) {
  const uint32_t end = run.shift + run.bytes;
  for (uint32_t place = 4 * thread; place < end; place += 4 * kTileChannels) {
    if (place >= run.shift && place + 4 <= end) {
      CopyWord(to + (place - run.shift), from + (place - run.shift));
      continue;
    }
    for (uint32_t i = place; i < place + 4; ++i) {
      if (i >= run.shift && i < end) to[i - run.shift] = from[i - run.shift];
    }
  }
}

}  // namespace amaq::quant::cuda

#endif  // AMAQ_QUANT_CUDA_OCTET_TILE_H_
