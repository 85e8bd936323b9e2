#ifndef AMAQ_QUANT_CUDA_CODE_BODIES_H_
#define AMAQ_QUANT_CUDA_CODE_BODIES_H_

// Kernel bodies (grid.h) that code and decode. A thread has one channel of 4 groups of 8 tokens;
// the octets of a block's 128 channels are one run of bytes for each group. They meet in shared
// memory, at the address in memory modulo 4, and cross to and from global memory in whole words.
// Source: docs/formats/octet.md; the division of work is our choice.

#include <cstdint>

#include "core/rng.h"
#include "quant/cuda/grid.h"
#include "quant/cuda/kernels.h"
#include "quant/cuda/octet_tile.h"
#include "quant/cuda/range_bodies.h"

namespace amaq::quant::cuda {

struct CodeBase {
  static constexpr uint32_t kThreads = kTileChannels;
  static constexpr int kPhases = 2;
  static constexpr bool kReducesWarps = false;
  using Shared = OctetTile;
};

template <DType kDType, Rounding kRounding>
struct EncodeCodes : CodeBase {
  struct Params {
    Input x;
    Layout layout;
    const ChannelRange* ranges;
    const Status* status;
    uint64_t key;
    uint8_t* codes;
  };
  AMAQ_HOST_DEVICE static uint64_t Blocks(const Params& p) {
    return CodeBlocks(p.x.channels, p.x.coded.count);
  }
  AMAQ_HOST_DEVICE static bool Refused(const Params& p) {
    return p.status != nullptr && (p.status->non_finite != kNone || p.status->overflow != kNone);
  }

  // Quantizes and packs into shared memory.
  AMAQ_HOST_DEVICE static void Run(Phase<0>, const Params& p, Place at, Shared* shared) {
    if (Refused(p)) return;
    const TilePlace tile = TileOf(at.block, p.x.channels, p.x.coded.count);
    const uint32_t channel = tile.first_channel + at.thread;
    if (channel >= tile.end_channel) return;
    const uint32_t width = p.layout.widths[channel];
    const float lo = p.ranges[channel].lo;
    const float inverse_step = InverseStep(p.ranges[channel].step);
    const uint32_t within = p.layout.offsets[channel] - p.layout.offsets[tile.first_channel];
    for (uint32_t g = 0; g < tile.groups; ++g) {
      const uint32_t first = (tile.first_group + g) * kOctet;
      uint32_t rows[kOctet];
      float values[kOctet];
      // All loads before the arithmetic, so that they are under way together; past the end the last
      // row is read again.
      for (uint32_t k = 0; k < kOctet; ++k) {
        const uint32_t last = p.x.coded.count - 1;
        rows[k] = MatrixRow(p.x.coded, first + k < last ? first + k : last);
        values[k] = LoadElement<kDType>(p.x.data, uint64_t{rows[k]} * p.x.channels + channel);
      }
      uint64_t word = 0;
      for (uint32_t k = 0; k < kOctet; ++k) {
        const uint32_t code =
            Code(p, rows[k], channel, values[k], lo, inverse_step, LargestCode(width));
        if (first + k < p.x.coded.count) word |= uint64_t{code} << (k * width);
      }
      const uint32_t shift = RunOf(tile, g, p.layout.offsets, p.x.channels, p.codes).shift;
      uint8_t* octet = shared->bytes[g] + shift + within;
      for (uint32_t i = 0; i < width; ++i) octet[i] = static_cast<uint8_t>(word >> (8 * i));
    }
  }

  AMAQ_HOST_DEVICE static uint32_t Code(const Params& p, uint32_t row, uint32_t channel,
                                        float value, float lo, float inverse_step, float largest) {
    if constexpr (kRounding == Rounding::kStochastic) {
      const uint64_t id = p.x.coded.ids != nullptr ? p.x.coded.ids[row] : row;
      const uint32_t random = PhiloxWord(p.key, id * p.x.channels + channel);
      return static_cast<uint32_t>(QuantizeStochastic(value, lo, inverse_step, largest, random));
    } else {
      return static_cast<uint32_t>(QuantizeNearest(value, lo, inverse_step, largest));
    }
  }

  AMAQ_HOST_DEVICE static void Run(Phase<1>, const Params& p, Place at, Shared* shared) {
    if (Refused(p)) return;
    const TilePlace tile = TileOf(at.block, p.x.channels, p.x.coded.count);
    for (uint32_t g = 0; g < tile.groups; ++g) {
      const ByteRun run = RunOf(tile, g, p.layout.offsets, p.x.channels, p.codes);
      CopyRun(p.codes + run.start, shared->bytes[g] + run.shift, run, at.thread);
    }
  }
};

struct DecodeCodes : CodeBase {
  struct Params {
    const uint8_t* codes;
    Layout layout;
    const ChannelRange* ranges;
    CodedRows coded;
    uint32_t channels;
    float* out;
  };
  AMAQ_HOST_DEVICE static uint64_t Blocks(const Params& p) {
    return CodeBlocks(p.channels, p.coded.count);
  }
  AMAQ_HOST_DEVICE static void Run(Phase<0>, const Params& p, Place at, Shared* shared) {
    const TilePlace tile = TileOf(at.block, p.channels, p.coded.count);
    for (uint32_t g = 0; g < tile.groups; ++g) {
      const ByteRun run = RunOf(tile, g, p.layout.offsets, p.channels, p.codes);
      CopyRun(shared->bytes[g] + run.shift, p.codes + run.start, run, at.thread);
    }
  }
  AMAQ_HOST_DEVICE static void Run(Phase<1>, const Params& p, Place at, Shared* shared) {
    const TilePlace tile = TileOf(at.block, p.channels, p.coded.count);
    const uint32_t channel = tile.first_channel + at.thread;
    if (channel >= tile.end_channel) return;
    const uint32_t width = p.layout.widths[channel];
    const uint64_t mask = (uint64_t{1} << width) - 1;
    const float lo = p.ranges[channel].lo;
    const float step = p.ranges[channel].step;
    const uint32_t within = p.layout.offsets[channel] - p.layout.offsets[tile.first_channel];
    for (uint32_t g = 0; g < tile.groups; ++g) {
      const uint32_t shift = RunOf(tile, g, p.layout.offsets, p.channels, p.codes).shift;
      const uint8_t* octet = shared->bytes[g] + shift + within;
      uint64_t word = 0;
      for (uint32_t i = 0; i < width; ++i) word |= uint64_t{octet[i]} << (8 * i);
      for (uint32_t k = 0; k < kOctet; ++k) {
        const uint32_t index = (tile.first_group + g) * kOctet + k;
        if (index >= p.coded.count) break;
        const auto code = static_cast<uint32_t>((word >> (k * width)) & mask);
        const uint64_t row = MatrixRow(p.coded, index);
        p.out[row * p.channels + channel] = Dequantize(static_cast<float>(code), lo, step);
      }
    }
  }
};

}  // namespace amaq::quant::cuda

#endif  // AMAQ_QUANT_CUDA_CODE_BODIES_H_
