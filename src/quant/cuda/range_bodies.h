#ifndef AMAQ_QUANT_CUDA_RANGE_BODIES_H_
#define AMAQ_QUANT_CUDA_RANGE_BODIES_H_

// Kernel bodies (grid.h) for the ranges: every block reads a slab of rows of 32 channels, warp by
// warp a row, so that reads are coalesced; then warp w reduces channel w over the block's 32 warps.
// A second kernel reduces the slabs in the same way. Also the byte offsets of the channels.
// Source: docs/formats/octet.md; the division of work is our choice.

#include <bit>
#include <cstdint>

#include "quant/cuda/grid.h"
#include "quant/cuda/kernels.h"

namespace amaq::quant::cuda {

inline constexpr uint32_t kSlabRows = 8 * kWarp;
inline constexpr uint32_t kNoRow = ~uint32_t{0};

template <DType kDType>
AMAQ_HOST_DEVICE inline float LoadElement(const void* data, uint64_t index) {
  if constexpr (kDType == DType::kF32) return static_cast<const float*>(data)[index];
  const uint16_t bits = static_cast<const uint16_t*>(data)[index];
  return kDType == DType::kBF16 ? BF16ToF32(bits) : F16ToF32(bits);
}

// Number in the matrix of a coded row.
AMAQ_HOST_DEVICE inline uint32_t MatrixRow(const CodedRows& coded, uint32_t index) {
  return coded.rows != nullptr ? coded.rows[index] : index;
}

// What is known of some rows of one channel.
struct ChannelScan {
  float lo = std::bit_cast<float>(0x7f800000u);  // +inf
  float hi = std::bit_cast<float>(0xff800000u);  // -inf
  uint32_t bad_row = kNoRow;                     // first one that is not finite

  AMAQ_HOST_DEVICE void Add(float value, uint32_t row) {
    lo = value < lo ? value : lo;
    hi = value > hi ? value : hi;
    if (!IsFinite(value) && row < bad_row) bad_row = row;
  }
  AMAQ_HOST_DEVICE void Add(const ChannelScan& other) {
    lo = other.lo < lo ? other.lo : lo;
    hi = other.hi > hi ? other.hi : hi;
    bad_row = other.bad_row < bad_row ? other.bad_row : bad_row;
  }
};

// A block's scans, [warp][lane]; the odd stride lets a warp read a column without bank conflicts.
struct ScanTile {
  float lo[kWarp][kWarp + 1];
  float hi[kWarp][kWarp + 1];
  uint32_t bad_row[kWarp][kWarp + 1];

  AMAQ_HOST_DEVICE void Put(uint32_t thread, const ChannelScan& scan) {
    lo[thread / kWarp][thread % kWarp] = scan.lo;
    hi[thread / kWarp][thread % kWarp] = scan.hi;
    bad_row[thread / kWarp][thread % kWarp] = scan.bad_row;
  }
  // Transposed: lane l of warp w gets what lane w of warp l has put.
  AMAQ_HOST_DEVICE ChannelScan Get(uint32_t thread) const {
    const uint32_t warp = thread / kWarp, lane = thread % kWarp;
    return {lo[lane][warp], hi[lane][warp], bad_row[lane][warp]};
  }
};

// What both kernels of the ranges have in common: 32 channels a block.
struct ScanBase {
  static constexpr uint32_t kThreads = kWarp * kWarp;
  static constexpr int kPhases = 1;
  static constexpr bool kReducesWarps = true;
  using Shared = ScanTile;
  using Value = ChannelScan;
  AMAQ_HOST_DEVICE static Value LaneValue(Place at, const Shared& shared) {
    return shared.Get(at.thread);
  }
  AMAQ_HOST_DEVICE static Value Merge(Value a, const Value& b) {
    a.Add(b);
    return a;
  }
};

// Slab s, channel c -> partials[s][c]. Also clears *status.
template <DType kDType>
struct ScanRows : ScanBase {
  struct Params {
    Input x;
    uint32_t tiles;  // of 32 channels
    ChannelScan* partials;
    Status* status;
  };
  AMAQ_HOST_DEVICE static uint64_t Blocks(const Params& p) {
    return uint64_t{CeilDivide(p.x.coded.count, kSlabRows)} * p.tiles;
  }
  AMAQ_HOST_DEVICE static void Run(Phase<0>, const Params& p, Place at, Shared* shared) {
    if (at.block == 0 && at.thread == 0) *p.status = Status{};
    const uint32_t channel = at.block % p.tiles * kWarp + at.thread % kWarp;
    const uint32_t first = at.block / p.tiles * kSlabRows + at.thread / kWarp;
    ChannelScan scan;
    for (uint32_t k = 0; k < kSlabRows / kWarp; ++k) {
      const uint32_t index = first + k * kWarp;
      if (index >= p.x.coded.count || channel >= p.x.channels) break;
      const uint32_t row = MatrixRow(p.x.coded, index);
      scan.Add(LoadElement<kDType>(p.x.data, uint64_t{row} * p.x.channels + channel), row);
    }
    shared->Put(at.thread, scan);
  }
  AMAQ_HOST_DEVICE static void WarpResult(const Params& p, Place at, const Value& scan) {
    const uint32_t channel = at.block % p.tiles * kWarp + at.thread / kWarp;
    const uint64_t slab = at.block / p.tiles;
    if (channel < p.x.channels) p.partials[slab * p.x.channels + channel] = scan;
  }
};

// partials -> ranges and *status.
struct FinishRanges : ScanBase {
  struct Params {
    const ChannelScan* partials;
    uint32_t slabs;
    uint32_t channels;
    const uint8_t* widths;
    Range mode;
    ChannelRange* ranges;
    Status* status;
  };
  AMAQ_HOST_DEVICE static uint64_t Blocks(const Params& p) { return CeilDivide(p.channels, kWarp); }
  AMAQ_HOST_DEVICE static void Run(Phase<0>, const Params& p, Place at, Shared* shared) {
    const uint32_t channel = at.block * kWarp + at.thread % kWarp;
    ChannelScan scan;
    for (uint32_t slab = at.thread / kWarp; slab < p.slabs && channel < p.channels; slab += kWarp) {
      scan.Add(p.partials[uint64_t{slab} * p.channels + channel]);
    }
    shared->Put(at.thread, scan);
  }
  AMAQ_HOST_DEVICE static void WarpResult(const Params& p, Place at, const Value& scan) {
    const uint32_t channel = at.block * kWarp + at.thread / kWarp;
    if (channel >= p.channels) return;
    if (scan.bad_row != kNoRow) {
      AtomicMin(&p.status->non_finite, uint64_t{scan.bad_row} << 32 | channel);
    }
    const float magnitude = LargestMagnitude(scan.lo, scan.hi);
    const bool symmetric = p.mode == Range::kAbsMax;
    const ChannelRange range = MakeRange(symmetric ? -magnitude : scan.lo,
                                         symmetric ? magnitude : scan.hi, p.widths[channel]);
    if (!RangeIsFinite(range, p.widths[channel])) AtomicMin(&p.status->overflow, channel);
    p.ranges[channel] = range;
  }
};

// Exclusive prefix sums of the widths, in one block: each thread has a stretch of channels.
struct SumWidths {
  static constexpr uint32_t kThreads = 256;
  static constexpr int kPhases = 3;
  static constexpr bool kReducesWarps = false;
  struct Params {
    const uint8_t* widths;
    uint32_t channels;
    uint32_t* offsets;
  };
  struct Shared {
    uint32_t sums[kThreads];
  };
  AMAQ_HOST_DEVICE static uint64_t Blocks(const Params&) { return 1; }
  AMAQ_HOST_DEVICE static uint32_t Begin(const Params& p, uint32_t thread) {
    const uint32_t begin = thread * CeilDivide(p.channels, kThreads);
    return begin < p.channels ? begin : p.channels;
  }
  AMAQ_HOST_DEVICE static void Run(Phase<0>, const Params& p, Place at, Shared* shared) {
    uint32_t sum = 0;
    for (uint32_t c = Begin(p, at.thread); c < Begin(p, at.thread + 1); ++c) sum += p.widths[c];
    shared->sums[at.thread] = sum;
  }
  AMAQ_HOST_DEVICE static void Run(Phase<1>, const Params& p, Place at, Shared* shared) {
    if (at.thread != 0) return;
    uint32_t before = 0;
    for (uint32_t& sum : shared->sums) {
      const uint32_t own = sum;
      sum = before;
      before += own;
    }
    p.offsets[p.channels] = before;
  }
  AMAQ_HOST_DEVICE static void Run(Phase<2>, const Params& p, Place at, Shared* shared) {
    uint32_t offset = shared->sums[at.thread];
    for (uint32_t c = Begin(p, at.thread); c < Begin(p, at.thread + 1); ++c) {
      p.offsets[c] = offset;
      offset += p.widths[c];
    }
  }
};

}  // namespace amaq::quant::cuda

#endif  // AMAQ_QUANT_CUDA_RANGE_BODIES_H_
