#ifndef AMAQ_QUANT_CUDA_RD_BODIES_H_
#define AMAQ_QUANT_CUDA_RD_BODIES_H_

// Kernel bodies (grid.h) of the rate-distortion coder: what they have in common, counting and
// dequantizing; quantizing is in rd_quantize_bodies.h. A block has 256 channels of some rows: a
// thread goes down one channel, so that reads and writes are coalesced, and sums are integers, so
// that the order of blocks does not show. Source: docs/formats/rd.md; the division of work is our
// choice.

#include <cstdint>

#include "quant/cuda/grid.h"
#include "quant/cuda/kernels.h"
#include "quant/rd_arithmetic.h"

namespace amaq::quant::cuda {

inline constexpr uint32_t kRdCountBins = 6144;  // at least RdCountOffsets()[kRdTables]

// Which part of a matrix a block has.
struct RdTile {
  uint32_t first_row;
  uint32_t end_row;
  uint32_t first_channel;
  uint32_t end_channel;
};

struct RdBase {
  static constexpr uint32_t kThreads = 256;
  static constexpr bool kReducesWarps = false;

  AMAQ_HOST_DEVICE static uint64_t Tiles(uint32_t rows, uint32_t channels, uint32_t tile_rows) {
    return uint64_t{CeilDivide(rows, tile_rows)} * CeilDivide(channels, kThreads);
  }
  AMAQ_HOST_DEVICE static RdTile TileOf(uint32_t block, uint32_t rows, uint32_t channels,
                                        uint32_t tile_rows) {
    const uint32_t across = CeilDivide(channels, kThreads);
    RdTile tile;
    tile.first_row = block / across * tile_rows;
    tile.end_row = rows - tile.first_row < tile_rows ? rows : tile.first_row + tile_rows;
    tile.first_channel = block % across * kThreads;
    tile.end_channel =
        channels - tile.first_channel < kThreads ? channels : tile.first_channel + kThreads;
    return tile;
  }
  AMAQ_HOST_DEVICE static uint32_t TableOf(const RdRowClasses& classes, uint32_t row,
                                           uint32_t channel) {
    return classes.bases[channel] + uint32_t{kRdRowStride} * classes.of_rows[row];
  }
};

struct RdClearCounts : RdBase {
  static constexpr int kPhases = 1;
  struct Params {
    uint32_t* counts;
    uint32_t size;
  };
  struct Shared {};
  AMAQ_HOST_DEVICE static uint64_t Blocks(const Params& p) { return CeilDivide(p.size, kThreads); }
  AMAQ_HOST_DEVICE static void Run(Phase<0>, const Params& p, Place at, Shared*) {
    const uint32_t i = at.block * kThreads + at.thread;
    if (i < p.size) p.counts[i] = 0;
  }
};

// q -> symbols and how often each came. Most are few: a block counts in shared memory.
struct RdCountSymbols : RdBase {
  static constexpr int kPhases = 3;
  static constexpr uint32_t kRows = 256;
  struct Params {
    RdIntegers q;
    RdRowClasses classes;
    RdFamily family;
    uint32_t bins;
    uint8_t* symbols;
    uint32_t* counts;
  };
  struct Shared {
    uint32_t counts[kRdCountBins];
  };
  AMAQ_HOST_DEVICE static uint64_t Blocks(const Params& p) {
    return Tiles(p.q.rows, p.q.channels, kRows);
  }
  AMAQ_HOST_DEVICE static void Run(Phase<0>, const Params& p, Place at, Shared* shared) {
    for (uint32_t i = at.thread; i < p.bins; i += kThreads) shared->counts[i] = 0;
  }
  AMAQ_HOST_DEVICE static void Run(Phase<1>, const Params& p, Place at, Shared* shared) {
    const RdTile tile = TileOf(at.block, p.q.rows, p.q.channels, kRows);
    const uint32_t channel = tile.first_channel + at.thread;
    if (channel >= tile.end_channel) return;
    for (uint32_t row = tile.first_row; row < tile.end_row; ++row) {
      const uint64_t i = uint64_t{row} * p.q.channels + channel;
      const uint32_t table = TableOf(p.classes, row, channel);
      const uint8_t symbol = p.family.shapes[table].SymbolOf(p.q.values[i]);
      p.symbols[i] = symbol;
      const auto bin = static_cast<uint32_t>(RdCountBin(symbol));
      AtomicAdd(&shared->counts[p.family.count_offsets[table] + bin], 1u);
    }
  }
  AMAQ_HOST_DEVICE static void Run(Phase<2>, const Params& p, Place at, Shared* shared) {
    for (uint32_t i = at.thread; i < p.bins; i += kThreads) {
      if (shared->counts[i] != 0) AtomicAdd(&p.counts[i], shared->counts[i]);
    }
  }
};

struct RdDequantizeRows : RdBase {
  static constexpr int kPhases = 1;
  static constexpr uint32_t kRows = 32;
  struct Params {
    RdIntegers q;
    RdRowClasses classes;
    const float* shifts;
    float step;
    float* out;
  };
  struct Shared {};
  AMAQ_HOST_DEVICE static uint64_t Blocks(const Params& p) {
    return Tiles(p.q.rows, p.q.channels, kRows);
  }
  AMAQ_HOST_DEVICE static void Run(Phase<0>, const Params& p, Place at, Shared*) {
    const RdTile tile = TileOf(at.block, p.q.rows, p.q.channels, kRows);
    const uint32_t channel = tile.first_channel + at.thread;
    if (channel >= tile.end_channel) return;
    for (uint32_t row = tile.first_row; row < tile.end_row; ++row) {
      const uint64_t i = uint64_t{row} * p.q.channels + channel;
      const uint32_t table = TableOf(p.classes, row, channel);
      p.out[i] = RdValueOf(p.q.values[i], p.shifts + 3 * table, p.step);
    }
  }
};

}  // namespace amaq::quant::cuda

#endif  // AMAQ_QUANT_CUDA_RD_BODIES_H_
