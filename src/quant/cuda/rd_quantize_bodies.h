#ifndef AMAQ_QUANT_CUDA_RD_QUANTIZE_BODIES_H_
#define AMAQ_QUANT_CUDA_RD_QUANTIZE_BODIES_H_

// Kernel bodies (grid.h) that quantize for the rate-distortion coder and gather in the same pass
// what classes of channels and rows are chosen by. Source: docs/formats/rd.md; the division of work
// is our choice (rd_bodies.h).

#include <cstdint>

#include "core/rng.h"
#include "quant/cuda/range_bodies.h"
#include "quant/cuda/rd_bodies.h"
#include "quant/rd_arithmetic.h"

namespace amaq::quant::cuda {

// What RdQuantizeRows adds to.
struct RdClear : RdBase {
  static constexpr int kPhases = 1;
  struct Params {
    RdQuantized out;
    uint32_t rows;
    uint32_t channels;
  };
  struct Shared {};
  AMAQ_HOST_DEVICE static uint64_t Blocks(const Params& p) {
    return uint64_t{CeilDivide(p.rows, kThreads / uint32_t{kRdRowClasses})} +
           CeilDivide(p.channels, kThreads);
  }
  AMAQ_HOST_DEVICE static void Run(Phase<0>, const Params& p, Place at, Shared*) {
    if (at.block == 0 && at.thread == 0) *p.out.status = RdStatus{};
    const uint64_t i = uint64_t{at.block} * kThreads + at.thread;
    if (i < p.channels) p.out.channel_sums[i] = 0;
    if (i < uint64_t{p.rows} * kRdRowClasses) p.out.row_costs[i] = 0;
  }
};

// y -> q, sums of |q|, and what each row costs in each class.
template <Rounding kRounding>
struct RdQuantizeRows : RdBase {
  static constexpr int kPhases = 2;
  static constexpr uint32_t kRows = kThreads / uint32_t{kRdRowClasses};
  struct Params {
    Input y;
    RdRounding rounding;
    const uint8_t* bases;
    RdFamily family;
    RdQuantized out;
  };
  struct Shared {
    int32_t q[kRows][kThreads + 1];  // the odd stride keeps rows in different banks
  };
  AMAQ_HOST_DEVICE static uint64_t Blocks(const Params& p) {
    return Tiles(p.y.coded.count, p.y.channels, kRows);
  }

  AMAQ_HOST_DEVICE static void Run(Phase<0>, const Params& p, Place at, Shared* shared) {
    const RdTile tile = TileOf(at.block, p.y.coded.count, p.y.channels, kRows);
    const uint32_t channel = tile.first_channel + at.thread;
    if (channel >= tile.end_channel) return;
    uint64_t sum = 0;
    for (uint32_t row = tile.first_row; row < tile.end_row; ++row) {
      const int32_t q = Quantized(p, row, channel);
      p.out.q[uint64_t{row} * p.y.channels + channel] = q;
      shared->q[row - tile.first_row][at.thread] = q;
      sum += static_cast<uint32_t>(RdMagnitude(q));
    }
    AtomicAdd(&p.out.channel_sums[channel], sum);
  }

  // 0, and a note in the status, where the value cannot be coded.
  AMAQ_HOST_DEVICE static int32_t Quantized(const Params& p, uint32_t row, uint32_t channel) {
    const uint64_t place = uint64_t{row} << 32 | channel;
    const float value = LoadElement<DType::kF32>(p.y.data, uint64_t{row} * p.y.channels + channel);
    const float t = value * p.rounding.inverse_step;
    if (!IsFinite(value)) {
      AtomicMin(&p.out.status->non_finite, place);
    } else if (!RdFits(t)) {
      AtomicMin(&p.out.status->too_large, place);
    } else if constexpr (kRounding == Rounding::kStochastic) {
      const uint64_t id = p.y.coded.ids != nullptr ? p.y.coded.ids[row] : row;
      return RdRoundStochastic(t, PhiloxWord(p.rounding.key, id * p.y.channels + channel));
    } else {
      return RdRoundDeadZone(t, p.rounding.offset);
    }
    return 0;
  }

  // A thread has one class of one row.
  AMAQ_HOST_DEVICE static void Run(Phase<1>, const Params& p, Place at, Shared* shared) {
    const RdTile tile = TileOf(at.block, p.y.coded.count, p.y.channels, kRows);
    const uint32_t row = tile.first_row + at.thread / uint32_t{kRdRowClasses};
    const uint32_t row_class = at.thread % uint32_t{kRdRowClasses};
    if (row >= tile.end_row) return;
    uint64_t cost = 0;
    for (uint32_t c = tile.first_channel; c < tile.end_channel; ++c) {
      const uint32_t table = p.bases[c] + uint32_t{kRdRowStride} * row_class;
      cost += RdCostOf(p.family.shapes[table], p.family.symbol_costs + (table << 8),
                       shared->q[row - tile.first_row][c - tile.first_channel]);
    }
    AtomicAdd(&p.out.row_costs[uint64_t{row} * kRdRowClasses + row_class], cost);
  }
};

}  // namespace amaq::quant::cuda

#endif  // AMAQ_QUANT_CUDA_RD_QUANTIZE_BODIES_H_
