#ifndef AMAQ_QUANT_KERNELS_TILE_H_
#define AMAQ_QUANT_KERNELS_TILE_H_

// What the vector kernels share: loads of a tile's rows, and the code of a vector of numbers, each
// operation as uniform.h has it. Part of kernels_simd.cc, which includes it once for each
// instruction set. Source: our choice (docs/adr/0012-kernel-sets.md).

#include <algorithm>

#include <hwy/highway.h>

#include "quant/kernels.h"
#include "quant/octet.h"

HWY_BEFORE_NAMESPACE();
namespace amaq::quant::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

using DF = hn::ScalableTag<float>;
using DU = hn::RebindToUnsigned<DF>;
using DI = hn::RebindToSigned<DF>;
using DB = hn::Repartition<uint8_t, DF>;
using D64 = hn::Repartition<uint64_t, DF>;
using DD = hn::Repartition<double, DF>;
using DHalf = hn::Rebind<uint16_t, DF>;
using VF = hn::Vec<DF>;
using VU = hn::Vec<DU>;
using VD = hn::Vec<DD>;
using V64 = hn::Vec<D64>;

constexpr size_t kLanes = hn::MaxLanes(DF());
constexpr size_t kTileBytes = kLanes * sizeof(uint64_t);  // of a tile's codes, at most

// Loads of a vector of elements, at any address, as fp32.
struct LoadF32 {
  static constexpr size_t kBytes = 4;
  static HWY_INLINE VF At(const uint8_t* from) { return hn::BitCast(DF(), hn::LoadU(DB(), from)); }
};

HWY_INLINE hn::Vec<DHalf> LoadHalves(const uint8_t* from) {
  const hn::Repartition<uint8_t, DHalf> bytes;
  return hn::BitCast(DHalf(), hn::LoadU(bytes, from));
}

struct LoadBF16 {
  static constexpr size_t kBytes = 2;
  static HWY_INLINE VF At(const uint8_t* from) {
    return hn::BitCast(DF(), hn::ShiftLeft<16>(hn::PromoteTo(DU(), LoadHalves(from))));
  }
};

struct LoadF16 {
  static constexpr size_t kBytes = 2;
  static HWY_INLINE VF At(const uint8_t* from) {
#if HWY_TARGET == HWY_SSE4
    const VU bits = hn::PromoteTo(DU(), LoadHalves(from));
    const VU sign = hn::ShiftLeft<16>(hn::And(bits, hn::Set(DU(), 0x8000u)));
    const VU magnitude = hn::ShiftLeft<13>(hn::And(bits, hn::Set(DU(), 0x7fffu)));
    // Times 2^112 moves the exponent's bias, for subnormal numbers, too.
    const VF scaled = hn::Mul(hn::BitCast(DF(), magnitude), hn::Set(DF(), 0x1p112f));
    const auto special = hn::Ge(scaled, hn::Set(DF(), 0x1p16f));
    const VU infinite =
        hn::IfThenElseZero(hn::RebindMask(DU(), special), hn::Set(DU(), 0x7f800000u));
    return hn::BitCast(DF(), hn::Or(hn::Or(hn::BitCast(DU(), scaled), sign), infinite));
#else
    const hn::Rebind<hwy::float16_t, DF> halves;
    return hn::PromoteTo(DF(), hn::BitCast(halves, LoadHalves(from)));
#endif
  }
};

// The rows of one group, at their first channel.
struct Group {
  size_t count;
  const uint8_t* rows[kGroupTokens];
  const uint8_t* ahead[kGroupTokens];  // rows that a loop reads next
  uint64_t row_ids[kGroupTokens];
};

// The group at place `first` of x.rows; the one at `next` is read behind it.
inline Group GroupAt(const CodedRows& x, size_t first, size_t next,
                     std::span<const uint32_t> row_ids) {
  Group group;
  group.count = std::min(kGroupTokens, x.rows.size() - first);
  const size_t row_bytes = x.channels * SizeOf(x.dtype);
  const auto* const data = static_cast<const uint8_t*>(x.data);
  for (size_t k = 0; k < kGroupTokens; ++k) {
    const uint32_t row = x.rows[first + std::min(k, group.count - 1)];
    group.rows[k] = data + row * row_bytes;
    group.ahead[k] = data + x.rows[std::min(next + k, x.rows.size() - 1)] * row_bytes;
    group.row_ids[k] = row_ids.empty() ? row : row_ids[row];
  }
  return group;
}

// Asks for the next group's lines of the tile at byte `offset` of its rows. Eight rows at once are
// more streams than a core follows by itself, least of all short ones. Into the second level: at
// that distance the first one has lost them again (docs/benchmarks.md has the figures).
template <size_t kTileRowBytes>
HWY_INLINE void PrefetchNext(const Group& group, size_t offset) {
  constexpr size_t kLine = 64;
  constexpr int kSecondLevel = 2;
  if (offset % kLine >= kTileRowBytes) return;  // asked for with an earlier tile of the line
  for (const uint8_t* const row : group.ahead) __builtin_prefetch(row + offset, 0, kSecondLevel);
}

// Calls action(loader) with the loader of the dtype.
template <typename Action>
HWY_INLINE auto WithLoader(DType dtype, const Action& action) {
  if (dtype == DType::kF32) return action(LoadF32());
  return dtype == DType::kBF16 ? action(LoadBF16()) : action(LoadF16());
}

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
