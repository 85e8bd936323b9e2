// The codec's loops with Google Highway, compiled once for each instruction set. A tile is one
// vector of channels times the 8 rows of a group. Channels behind the last whole vector go to the
// scalar kernels. Every fp32 operation stands as in uniform.h, in the same order.

#include <algorithm>
#include <cstring>

#include "core/rng.h"
#include "quant/kernels.h"
#include "quant/octet.h"
#include "quant/simd_targets.h"

#undef HWY_TARGET_INCLUDE
// NOLINTNEXTLINE(readability-identifier-naming): Highway's name
#define HWY_TARGET_INCLUDE "quant/kernels_simd.cc"
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

// Extremes ---------------------------------------------------------------------------------------

// A group's missing rows repeat its last one, which changes no extreme. From the last group to the
// first: the encode that follows finds the first rows in the cache.
template <typename Load>
bool ExtremesOfTiles(const CodedRows& x, ChannelSlice slice, float* lo, float* hi) {
  const DF d;
  auto nan = hn::Zero(DU());
  for (size_t left = (x.rows.size() + kGroupTokens - 1) / kGroupTokens; left > 0; --left) {
    const size_t next = left > 1 ? left - 2 : 0;
    const Group group = GroupAt(x, (left - 1) * kGroupTokens, next * kGroupTokens, {});
    for (size_t c = slice.begin; c < slice.end; c += kLanes) {
      PrefetchNext<kLanes * Load::kBytes>(group, c * Load::kBytes);
      VF low = hn::LoadU(d, lo + c);
      VF high = hn::LoadU(d, hi + c);
      VF sum = hn::Zero(d);
      for (size_t k = 0; k < kGroupTokens; k += 2) {
        const VF even = Load::At(group.rows[k] + c * Load::kBytes);
        const VF odd = Load::At(group.rows[k + 1] + c * Load::kBytes);
        low = hn::Min(low, hn::Min(even, odd));
        high = hn::Max(high, hn::Max(even, odd));
        sum = hn::Add(sum, hn::Add(even, odd));
      }
      hn::StoreU(low, d, lo + c);
      hn::StoreU(high, d, hi + c);
      // A NaN is seen in the sum; an infinity below, as an extreme.
      nan = hn::Or(nan, hn::BitCast(DU(), hn::VecFromMask(d, hn::IsNaN(sum))));
    }
  }
  if (!hn::AllTrue(DU(), hn::Eq(nan, hn::Zero(DU())))) return false;
  for (size_t c = slice.begin; c < slice.end; ++c) {
    if (!IsFinite(lo[c]) || !IsFinite(hi[c])) return false;
  }
  return true;
}

ChannelSlice WholeTiles(ChannelSlice slice) {
  return {slice.begin, slice.end - (slice.end - slice.begin) % kLanes};
}

bool Extremes(const CodedRows& x, ChannelSlice slice, float* lo, float* hi) {
  const ChannelSlice tiles = WholeTiles(slice);
  const bool finite = WithLoader(
      x.dtype, [&](auto load) { return ExtremesOfTiles<decltype(load)>(x, tiles, lo, hi); });
  return finite &&
         (tiles.end == slice.end || ScalarKernelSet().extremes(x, {tiles.end, slice.end}, lo, hi));
}

// Codes ------------------------------------------------------------------------------------------

template <typename Load, Mode kMode, bool kWhole>
HWY_INLINE uint8_t* EncodeTile(const Group& group, size_t row_channels, size_t c,
                               const ChannelTables& tables, uint64_t key, uint8_t* out) {
  PrefetchNext<kLanes * Load::kBytes>(group, c * Load::kBytes);
  const Channels channels(tables, c);
  VU parts[2] = {hn::Zero(DU()), hn::Zero(DU())};
  VU shift = hn::Zero(DU());
  for (size_t k = 0; k < 4; ++k) {
    for (size_t part = 0; part < 2; ++part) {
      const size_t row = k + 4 * part;
      if (!kWhole && row >= group.count) continue;
      const VU code = CodeOf<kMode>(channels, Load::At(group.rows[row] + c * Load::kBytes), key,
                                    group.row_ids[row] * row_channels + c);
      parts[part] = hn::Or(parts[part], hn::Shl(code, shift));
    }
    shift = hn::Add(shift, channels.width);
  }
  return StoreWords(parts[0], parts[1], tables, c, channels.width, out);
}

template <typename Load, Mode kMode, bool kWhole>
HWY_INLINE void EncodeGroup(const Group& group, size_t row_channels, ChannelSlice slice,
                            const ChannelTables& tables, uint64_t key, std::span<uint8_t> out) {
  uint8_t* next = out.data();
  const uint8_t* const end = next + out.size();
  for (size_t c = slice.begin; c < slice.end; c += kLanes) {
    if (static_cast<size_t>(end - next) >= kTileBytes) {
      next = EncodeTile<Load, kMode, kWhole>(group, row_channels, c, tables, key, next);
    } else {  // near the end only what counts may be written
      uint8_t bytes[kTileBytes];
      const uint8_t* const tile_end =
          EncodeTile<Load, kMode, kWhole>(group, row_channels, c, tables, key, bytes);
      next =
          std::copy(static_cast<const uint8_t*>(bytes), tile_end, next);  // maybe no bytes at all
    }
  }
}

template <typename Load, Mode kMode>
void EncodeTiles(const CodedRows& x, ChannelSlice slice, const ChannelTables& tables,
                 const RoundingSpec& rounding, const CodeBytes& out, size_t slice_bytes) {
  for (size_t first = 0; first < x.rows.size(); first += kGroupTokens) {
    const Group group = GroupAt(x, first, first + kGroupTokens, rounding.row_ids);
    const std::span<uint8_t> bytes(out.data + first / kGroupTokens * out.group_bytes, slice_bytes);
    if (group.count == kGroupTokens) {
      EncodeGroup<Load, kMode, true>(group, x.channels, slice, tables, rounding.key, bytes);
    } else {
      EncodeGroup<Load, kMode, false>(group, x.channels, slice, tables, rounding.key, bytes);
    }
  }
}

uint64_t SliceBytes(const ChannelTables& tables, ChannelSlice slice) {
  return GroupBytes(std::span(tables.widths).subspan(slice.begin, slice.end - slice.begin));
}

void Encode(const CodedRows& x, ChannelSlice slice, const ChannelTables& tables,
            const RoundingSpec& rounding, const CodeBytes& out) {
  const ChannelSlice tiles = WholeTiles(slice);
  const size_t bytes = SliceBytes(tables, tiles);
  WithLoader(x.dtype, [&](auto load) {
    using Load = decltype(load);
    if (rounding.rounding == Rounding::kStochastic) {
      EncodeTiles<Load, Mode::kStochastic>(x, tiles, tables, rounding, out, bytes);
    } else if (tables.nested) {
      EncodeTiles<Load, Mode::kNested>(x, tiles, tables, rounding, out, bytes);
    } else if (!tables.clips) {
      EncodeTiles<Load, Mode::kInside>(x, tiles, tables, rounding, out, bytes);
    } else {
      EncodeTiles<Load, Mode::kNearest>(x, tiles, tables, rounding, out, bytes);
    }
  });
  if (tiles.end < slice.end) {
    ScalarKernelSet().encode(x, {tiles.end, slice.end}, tables, rounding,
                             {out.data + bytes, out.group_bytes});
  }
}

// Values -----------------------------------------------------------------------------------------

// Where the values of a group go.
struct OutGroup {
  size_t count;
  float* rows[kGroupTokens];
};

struct NoSums {
  struct Tile {
    HWY_INLINE Tile(const NoSums& /*sums*/, size_t /*c*/) {}
    HWY_INLINE void Add(size_t /*row*/, VF /*gradient*/) {}
    HWY_INLINE void Store() {}
  };
  NoSums(const GateSumsJob* /*job*/, size_t /*first*/) {}
};

HWY_INLINE VD LowerDoubles(VF v) { return hn::PromoteTo(DD(), hn::LowerHalf(hn::Half<DF>(), v)); }
HWY_INLINE VD UpperDoubles(VF v) { return hn::PromoteTo(DD(), hn::UpperHalf(hn::Half<DF>(), v)); }

// The gate's sums of one group, of which kDot says whether the error is wanted.
template <typename Load, Mode kMode, bool kDot>
struct Sums {
  struct Tile {
    HWY_INLINE Tile(const Sums& sums, size_t channel)
        : all(sums),
          c(channel),
          channels(*sums.job->tables, channel),
          step(hn::LoadU(DF(), sums.job->tables->step.data() + channel)) {
      const DD d;
      energy[0] = hn::LoadU(d, all.job->energy + c);
      energy[1] = hn::LoadU(d, all.job->energy + c + kLanes / 2);
      if constexpr (kDot) {
        dot[0] = hn::LoadU(d, all.job->error_dot + c);
        dot[1] = hn::LoadU(d, all.job->error_dot + c + kLanes / 2);
      }
    }

    HWY_INLINE void Add(size_t row, VF gradient) {
      const VD g[2] = {LowerDoubles(gradient), UpperDoubles(gradient)};
      for (size_t i = 0; i < 2; ++i) energy[i] = hn::Add(energy[i], hn::Mul(g[i], g[i]));
      if constexpr (kDot) {
        const DF d;
        const VF x = Load::At(all.x.rows[row] + c * Load::kBytes);
        const VF t = channels.Scaled(x);
        const auto clipped = hn::Or(hn::Lt(t, hn::Set(d, -0.5f)),
                                    hn::Gt(t, hn::Add(channels.largest, hn::Set(d, 0.5f))));
        const VF code = hn::ConvertTo(d, hn::BitCast(DI(), CodeOf<kMode>(channels, x, 0, 0)));
        // Where x was clipped, x itself stands for its decoded form: no error is counted.
        const VF x_hat = hn::IfThenElse(clipped, x, hn::Add(channels.lo, hn::Mul(code, step)));
        const VD error[2] = {hn::Sub(LowerDoubles(x_hat), LowerDoubles(x)),
                             hn::Sub(UpperDoubles(x_hat), UpperDoubles(x))};
        for (size_t i = 0; i < 2; ++i) dot[i] = hn::Add(dot[i], hn::Mul(g[i], error[i]));
      }
    }

    HWY_INLINE void Store() {
      const DD d;
      hn::StoreU(energy[0], d, all.job->energy + c);
      hn::StoreU(energy[1], d, all.job->energy + c + kLanes / 2);
      if constexpr (kDot) {
        hn::StoreU(dot[0], d, all.job->error_dot + c);
        hn::StoreU(dot[1], d, all.job->error_dot + c + kLanes / 2);
      }
    }

    const Sums& all;
    const size_t c;
    const Channels channels;
    const VF step;
    VD energy[2], dot[2];
  };

  Sums(const GateSumsJob* sums_job, size_t first)
      : job(sums_job), x(GroupAt(sums_job->x, first, first, {})) {}

  const GateSumsJob* job;
  Group x;
};

template <typename SumsOfGroup>
HWY_INLINE const uint8_t* DecodeTile(const uint8_t* in, const ChannelTables& tables, size_t c,
                                     const OutGroup& out, const SumsOfGroup& sums) {
  const DF d;
  const VF lo = hn::LoadU(d, tables.lo.data() + c);
  const VF step = hn::LoadU(d, tables.step.data() + c);
  const hn::Rebind<uint8_t, DF> bytes;
  const VU width = hn::PromoteTo(DU(), hn::LoadU(bytes, tables.widths.data() + c));
  const VU mask = hn::PromoteTo(DU(), hn::LoadU(bytes, tables.masks.data() + c));
  VU parts[2];
  in = LoadWords(in, tables, c, width, parts[0], parts[1]);
  typename SumsOfGroup::Tile tile(sums, c);
  VU shift = hn::Zero(DU());
  for (size_t row = 0; row < out.count; ++row) {
    if (row == 4) shift = hn::Zero(DU());
    const VU code = hn::And(hn::Shr(parts[row / 4], shift), mask);
    const VF value = hn::Add(lo, hn::Mul(hn::ConvertTo(d, hn::BitCast(DI(), code)), step));
    if (out.rows[row] != nullptr) hn::StoreU(value, d, out.rows[row] + c);
    tile.Add(row, value);
    shift = hn::Add(shift, width);
  }
  tile.Store();
  return in;
}

template <typename SumsOfGroup>
void DecodeTiles(const CodeView& codes, ChannelSlice slice, const ChannelTables& tables,
                 const DecodedRows& out, const GateSumsJob* job) {
  const uint8_t* const end = codes.data + codes.bytes;
  for (size_t first = 0; first < out.rows.size(); first += kGroupTokens) {
    OutGroup group;
    group.count = std::min(kGroupTokens, out.rows.size() - first);
    for (size_t k = 0; k < group.count; ++k) {
      group.rows[k] = out.data == nullptr ? nullptr : out.data + out.rows[first + k] * out.channels;
    }
    const SumsOfGroup sums(job, first);
    const uint8_t* in = codes.data + first / kGroupTokens * codes.group_bytes;
    for (size_t c = slice.begin; c < slice.end; c += kLanes) {
      const auto left = static_cast<size_t>(end - in);
      if (left >= kTileBytes) {
        in = DecodeTile(in, tables, c, group, sums);
      } else {
        uint8_t bytes[kTileBytes] = {};
        if (left > 0) std::memcpy(bytes, in, left);  // no bytes: a null pointer
        in += DecodeTile(bytes, tables, c, group, sums) - bytes;
      }
    }
  }
}

void Decode(const CodeView& codes, ChannelSlice slice, const ChannelTables& tables,
            const DecodedRows& out, const GateSumsJob* sums) {
  const ChannelSlice tiles = WholeTiles(slice);
  if (sums == nullptr) {
    DecodeTiles<NoSums>(codes, tiles, tables, out, sums);
  } else if (sums->error_dot == nullptr) {
    DecodeTiles<Sums<LoadF32, Mode::kNearest, false>>(codes, tiles, tables, out, sums);
  } else {
    WithLoader(sums->x.dtype, [&](auto load) {
      using Load = decltype(load);
      if (sums->tables->nested) {
        DecodeTiles<Sums<Load, Mode::kNested, true>>(codes, tiles, tables, out, sums);
      } else {
        DecodeTiles<Sums<Load, Mode::kNearest, true>>(codes, tiles, tables, out, sums);
      }
    });
  }
  if (tiles.end < slice.end) {
    const size_t bytes = SliceBytes(tables, tiles);
    ScalarKernelSet().decode({codes.data + bytes, codes.bytes - bytes, codes.group_bytes},
                             {tiles.end, slice.end}, tables, out, sums);
  }
}

}  // namespace

const SymbolKernels& Symbols();  // symbols_simd.cc
const RansKernels& Rans();       // rans_simd.cc

KernelSet Set(std::string_view name) {
  return {name, Extremes, Encode, Decode, &Symbols(), &Rans()};
}

}  // namespace amaq::quant::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // an instruction set

#if HWY_ONCE

namespace amaq::quant {

std::vector<KernelSet> SimdKernelSets() {
  const int64_t supported = hwy::SupportedTargets() & HWY_TARGETS;
  std::vector<KernelSet> sets;
#if HWY_TARGETS & HWY_NEON
  if ((supported & HWY_NEON) != 0) sets.push_back(N_NEON::Set("neon"));
#endif
#if HWY_TARGETS & HWY_SSE4
  if ((supported & HWY_SSE4) != 0) sets.push_back(N_SSE4::Set("sse4"));
#endif
#if HWY_TARGETS & HWY_AVX2
  if ((supported & HWY_AVX2) != 0) sets.push_back(N_AVX2::Set("avx2"));
#endif
#if HWY_TARGETS & HWY_AVX3
  if ((supported & HWY_AVX3) != 0) sets.push_back(N_AVX3::Set("avx512"));
#endif
#if HWY_TARGETS & HWY_AVX3_DL
  if ((supported & HWY_AVX3_DL) != 0) sets.push_back(N_AVX3_DL::Set("avx512_vbmi2"));
#endif
  return sets;
}

}  // namespace amaq::quant

#endif  // HWY_ONCE
