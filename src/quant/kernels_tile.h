#ifndef AMAQ_QUANT_KERNELS_TILE_H_
#define AMAQ_QUANT_KERNELS_TILE_H_

// What the vector kernels share: the code of a vector of numbers, each operation as uniform.h has
// it. Part of kernels_simd.cc, which includes it once for each instruction set. Source: our choice
// (docs/adr/0012-kernel-sets.md).

#include <hwy/highway.h>

#include "quant/kernels_rows.h"

HWY_BEFORE_NAMESPACE();
namespace amaq::quant::HWY_NAMESPACE {
namespace {

using DI = hn::RebindToSigned<DF>;
using D64 = hn::Repartition<uint64_t, DF>;
using DD = hn::Repartition<double, DF>;
using VD = hn::Vec<DD>;
using V64 = hn::Vec<D64>;

constexpr size_t kLanes = hn::MaxLanes(DF());
constexpr size_t kTileBytes = kLanes * sizeof(uint64_t);  // of a tile's codes, at most

// The first words of Philox4x32-10 at counters index, index + 1, ... (core/rng.h). A number of 32
// bits stands in the low half of a 64-bit lane; what is in the high half is never read.
HWY_INLINE V64 PhiloxRounds(uint64_t key, V64 index) {
  const D64 d;
  const DU d32;
  const VU factor0 = hn::Set(d32, 0xD2511F53u);
  const VU factor1 = hn::Set(d32, 0xCD9E8D57u);
  V64 key0 = hn::Set(d, key);
  V64 key1 = hn::Set(d, key >> 32);
  V64 word0 = index;
  V64 word1 = hn::ShiftRight<32>(index);
  V64 word2 = hn::Zero(d);
  V64 word3 = hn::Zero(d);
  for (int round = 0; round < 10; ++round) {
    const V64 product0 = hn::MulEven(hn::BitCast(d32, word0), factor0);
    const V64 product1 = hn::MulEven(hn::BitCast(d32, word2), factor1);
    word0 = hn::Xor3(hn::ShiftRight<32>(product1), word1, key0);
    word1 = product1;
    word2 = hn::Xor3(hn::ShiftRight<32>(product0), word3, key1);
    word3 = product0;
    key0 = hn::Add(key0, hn::Set(d, 0x9E3779B9u));
    key1 = hn::Add(key1, hn::Set(d, 0xBB67AE85u));
  }
  return word0;
}

HWY_INLINE VU PhiloxWords(uint64_t key, uint64_t index) {
  const D64 d;
  const V64 low = PhiloxRounds(key, hn::Iota(d, index));
  const V64 high = PhiloxRounds(key, hn::Iota(d, index + kLanes / 2));
  return hn::ConcatEven(DU(), hn::BitCast(DU(), high), hn::BitCast(DU(), low));
}

enum class Mode { kNearest, kInside, kStochastic, kNested };  // kInside: no code needs a clamp

// One vector of channels' numbers.
struct Channels {
  HWY_INLINE Channels(const ChannelTables& tables, size_t c)
      : lo(hn::LoadU(DF(), tables.lo.data() + c)),
        inverse_step(hn::LoadU(DF(), tables.inverse_step.data() + c)),
        largest(hn::LoadU(DF(), tables.largest.data() + c)),
        width(hn::PromoteTo(DU(), hn::LoadU(hn::Rebind<uint8_t, DF>(), tables.widths.data() + c))) {
  }
  HWY_INLINE VF Scaled(VF x) const { return hn::Mul(hn::Sub(x, lo), inverse_step); }
  // ClampCode: Max gives its second operand for a NaN.
  HWY_INLINE VF Clamp(VF code) const { return hn::Min(hn::Max(code, hn::Zero(DF())), largest); }

  VF lo, inverse_step, largest;
  VU width;
};

// Rounding to the nearest commutes with the clamp, whose bounds are whole numbers.
HWY_INLINE VU NearestCode(const Channels& channels, VF x) {
  return hn::BitCast(DU(), hn::NearestInt(channels.Clamp(channels.Scaled(x))));
}

HWY_INLINE VU StochasticCode(const Channels& channels, VF x, VU word) {
  const DF d;
  const DI di;
  const VF t = hn::Min(hn::Max(channels.Scaled(x), hn::Zero(d)), hn::Set(d, 256.0f));
  const VF floor_t = hn::ConvertTo(d, hn::ConvertTo(di, t));
  const VF fraction = hn::Mul(hn::Sub(t, floor_t), hn::Set(d, 0x1p24f));
  const auto threshold = hn::ConvertTo(di, fraction);
  const auto is_up = hn::Lt(hn::BitCast(di, hn::ShiftRight<8>(word)), threshold);
  const VF up = hn::IfThenElseZero(hn::RebindMask(d, is_up), hn::Set(d, 1.0f));
  return hn::BitCast(DU(), hn::ConvertTo(di, channels.Clamp(hn::Add(floor_t, up))));
}

HWY_INLINE VU DropLowBits(VU code, VU width) {
  const DU d;
  const VU drop = hn::Sub(hn::Set(d, 8u), width);
  const VU half = hn::ShiftRight<1>(hn::Shl(hn::Set(d, 1u), drop));
  const VU largest = hn::Sub(hn::Shl(hn::Set(d, 1u), width), hn::Set(d, 1u));
  return hn::Min(hn::Shr(hn::Add(code, half), drop), largest);
}

template <Mode kMode>
HWY_INLINE VU CodeOf(const Channels& channels, VF x, uint64_t key, uint64_t index) {
  if constexpr (kMode == Mode::kStochastic) {
    return StochasticCode(channels, x, PhiloxWords(key, index));
  } else if constexpr (kMode == Mode::kNested) {
    return DropLowBits(NearestCode(channels, x), channels.width);
  } else if constexpr (kMode == Mode::kInside) {
    return hn::BitCast(DU(), hn::NearestInt(channels.Scaled(x)));
  } else {
    return NearestCode(channels, x);
  }
}

}  // namespace
}  // namespace amaq::quant::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // AMAQ_QUANT_KERNELS_TILE_H_
