#ifndef AMAQ_QUANT_KERNELS_ROWS_H_
#define AMAQ_QUANT_KERNELS_ROWS_H_

// The rows that a vector kernel reads: loads of each type, the rows of a group, and the prefetch of
// the next one's. Included once for each instruction set, by kernels_tile.h. Source: our choice
// (docs/adr/0012-kernel-sets.md).

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
using DB = hn::Repartition<uint8_t, DF>;
using DHalf = hn::Rebind<uint16_t, DF>;
using VF = hn::Vec<DF>;
using VU = hn::Vec<DU>;

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

}  // namespace
}  // namespace amaq::quant::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // AMAQ_QUANT_KERNELS_ROWS_H_
