// The range coder's loops with Google Highway, compiled once for each instruction set. 32 channels
// are 2 or 4 vectors of states; the channels of a row behind the last whole 32 go to the scalar
// loops, as does everything where a set cannot gather. All arithmetic is exact.

#include <algorithm>
#include <array>
#include <cstring>

#include "core/check.h"
#include "quant/rans_kernels.h"
#include "quant/simd_targets.h"

#undef HWY_TARGET_INCLUDE
// NOLINTNEXTLINE(readability-identifier-naming): Highway's name
#define HWY_TARGET_INCLUDE "quant/rans_simd.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#if HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL

HWY_BEFORE_NAMESPACE();
namespace amaq::quant::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

using DU = hn::ScalableTag<uint32_t>;
using DI = hn::RebindToSigned<DU>;
using DF = hn::RebindToFloat<DU>;
using DHalf = hn::Rebind<uint16_t, DU>;
using DByte = hn::Rebind<uint8_t, DU>;
using VU = hn::Vec<DU>;
using VF = hn::Vec<DF>;

constexpr size_t kLanes = hn::MaxLanes(DU());
constexpr size_t kVectors = kRansLanes / kLanes;

// What both directions read, with the states in vectors.
struct Tables {
  explicit Tables(const SymbolContext& context)
      : symbols(reinterpret_cast<const uint32_t*>(context.tables.symbols(0))),
        slices(reinterpret_cast<const uint32_t*>(context.tables.slices(0))),
        of_channel(context.channel_tables.data()) {}

  HWY_INLINE VU At(size_t channel, VU row_class) const {
    return hn::Add(hn::PromoteTo(DU(), hn::LoadU(DHalf(), of_channel + channel)), row_class);
  }
  // Frequency in the lower half, start in the upper one.
  HWY_INLINE VU SliceOf(VU table, VU symbol) const {
    const VU index = hn::Or(hn::ShiftLeft<8>(table), symbol);
    return hn::GatherIndex(DU(), slices, hn::BitCast(DI(), index));
  }

  const uint32_t* symbols;  // to be gathered by bytes
  const uint32_t* slices;
  const uint16_t* of_channel;
};

HWY_INLINE VU Frequency(VU slice) { return hn::And(slice, hn::Set(DU(), 0xffffu)); }
HWY_INLINE VU Start(VU slice) { return hn::ShiftRight<16>(slice); }

// Decoding ---------------------------------------------------------------------------------------

#if HWY_TARGET == HWY_AVX2

// Lane i of row m: how many bits of m are below bit i.
constexpr std::array<std::array<uint8_t, 8>, 256> MakeRanks() {
  std::array<std::array<uint8_t, 8>, 256> ranks{};
  for (size_t mask = 0; mask < 256; ++mask) {
    uint8_t rank = 0;
    for (size_t i = 0; i < 8; ++i) {
      ranks[mask][i] = rank;
      rank = static_cast<uint8_t>(rank + (mask >> i & 1));
    }
  }
  return ranks;
}
constexpr std::array<std::array<uint8_t, 8>, 256> kRanks = MakeRanks();

#endif

// The next words to the lanes that are short of one; the other lanes may hold anything.
HWY_INLINE VU TakeWords(hn::Mask<DU> is_short, const uint16_t*& next) {
  const DU d;
  VU words = hn::PromoteTo(d, hn::LoadU(DHalf(), next));
#if HWY_TARGET == HWY_AVX2
  const auto bits = static_cast<uint32_t>(
      _mm256_movemask_ps(_mm256_castsi256_ps(hn::VecFromMask(d, is_short).raw)));
  const VU ranks = hn::PromoteTo(d, hn::LoadU(DByte(), kRanks[bits].data()));
  words.raw = _mm256_permutevar8x32_epi32(words.raw, ranks.raw);
  next += hwy::PopCount(uint64_t{bits});
#else
  words.raw = _mm512_maskz_expand_epi32(is_short.raw, words.raw);
  next += hwy::PopCount(uint64_t{is_short.raw});
#endif
  return words;
}

HWY_INLINE VU DecodeVector(const Tables& tables, VU x, VU table, uint8_t* symbols) {
  const DU d;
  const VU position = hn::And(x, hn::Set(d, kFrequencyTotal - 1));
  const VU at = hn::Or(hn::ShiftLeft<kFrequencyBits>(table), position);
  const VU symbol =
      hn::And(hn::GatherOffset(d, tables.symbols, hn::BitCast(DI(), at)), hn::Set(d, 0xffu));
  hn::StoreU(hn::DemoteTo(DByte(), hn::BitCast(DI(), symbol)), DByte(), symbols);
  const VU slice = tables.SliceOf(table, symbol);
  return hn::Add(hn::Mul(Frequency(slice), hn::ShiftRight<kFrequencyBits>(x)),
                 hn::Sub(position, Start(slice)));
}

size_t Decode(const SymbolContext& context, std::span<const uint16_t> words, uint32_t* states,
              std::span<uint8_t> symbols) {
  const DU d;
  const Tables tables(context);
  const size_t channels = context.channel_tables.size();
  const size_t whole = channels / kRansLanes * kRansLanes;
  const uint16_t* next = words.data();
  const uint16_t* const end = next + words.size();
  for (size_t row = 0; row < symbols.size() / channels; ++row) {
    const size_t row_class = context.row_class(row);
    const VU first_table = hn::Set(d, static_cast<uint32_t>(row_class));
    uint8_t* const out = symbols.data() + row * channels;
    VU x[kVectors];
    for (size_t v = 0; v < kVectors; ++v) x[v] = hn::LoadU(d, states + v * kLanes);
    for (size_t c = 0; c < whole; c += kRansLanes) {
      for (size_t v = 0; v < kVectors; ++v) {
        const size_t channel = c + v * kLanes;
        x[v] = DecodeVector(tables, x[v], tables.At(channel, first_table), out + channel);
      }
      for (size_t v = 0; v < kVectors; ++v) {
        const auto is_short = hn::Eq(hn::ShiftRight<16>(x[v]), hn::Zero(d));
        const VU refilled = hn::Or(hn::ShiftLeft<16>(x[v]), TakeWords(is_short, next));
        x[v] = hn::IfThenElse(is_short, refilled, x[v]);
      }
      if (next > end) return words.size() + 1;
    }
    for (size_t v = 0; v < kVectors; ++v) hn::StoreU(x[v], d, states + v * kLanes);
    if (whole == channels) continue;
    next += DecodeRansChannels({context, row_class}, whole, channels, next, states, out);
    if (next > end) return words.size() + 1;
  }
  return static_cast<size_t>(next - words.data());
}

// Encoding ---------------------------------------------------------------------------------------

// Of numbers below 2^31, which compare faster with their sign.
HWY_INLINE hn::Mask<DU> IsLess(VU a, VU b) {
  return hn::RebindMask(DU(), hn::Lt(hn::BitCast(DI(), a), hn::BitCast(DI(), b)));
}

// floor(x / frequency) for a quotient below 2^18: with each rounding 2^-24 of it, the fp32 one is
// within 1/16, so less 1/8 and cut off it is right or 1 too small.
HWY_INLINE VU Quotient(VU x, VU frequency) {
  const DU d;
  const DF df;
  const auto as_float = [&](VU v) { return hn::ConvertTo(df, hn::BitCast(DI(), v)); };
  const VF high = hn::Mul(as_float(hn::ShiftRight<16>(x)), hn::Set(df, 65536.0f));
  const VF value = hn::Add(high, as_float(hn::And(x, hn::Set(d, 0xffffu))));
  const VF ratio = hn::Sub(hn::Div(value, as_float(frequency)), hn::Set(df, 0.125f));
  const VU quotient = hn::BitCast(d, hn::ConvertTo(DI(), ratio));
  const VU rest = hn::Sub(x, hn::Mul(quotient, frequency));
  const auto is_right = IsLess(rest, frequency);
  return hn::IfThenElse(is_right, quotient, hn::Add(quotient, hn::Set(d, 1u)));
}

// `x` and `slice` of a vector of channels in descending order.
HWY_INLINE VU EncodeVector(VU x, VU slice, uint16_t*& next) {
  const DU d;
  const VU frequency = Frequency(slice);
  const auto is_full = hn::Not(IsLess(hn::ShiftRight<32 - kFrequencyBits>(x), frequency));
  const VU given = hn::Compress(hn::And(x, hn::Set(d, 0xffffu)), is_full);
  hn::StoreU(hn::DemoteTo(DHalf(), hn::BitCast(DI(), given)), DHalf(), next);
  next += hn::CountTrue(d, is_full);
  x = hn::IfThenElse(is_full, hn::ShiftRight<16>(x), x);
  // (q << 14) + x mod f + start
  const VU total = hn::Set(d, kFrequencyTotal);
  return hn::Add(hn::Mul(Quotient(x, frequency), hn::Sub(total, frequency)),
                 hn::Add(x, Start(slice)));
}

// Within the loop vectors hold their lanes in descending order, as the coder goes through them.
HWY_INLINE size_t EncodeRow(const Tables& tables, VU row_class, const uint8_t* symbols,
                            size_t whole, uint32_t* states, uint16_t* words, const uint16_t* end) {
  const DU d;
  uint16_t* next = words;
  VU x[kVectors];
  for (size_t v = 0; v < kVectors; ++v) x[v] = hn::Reverse(d, hn::LoadU(d, states + v * kLanes));
  auto is_unknown = hn::Zero(d);
  for (size_t c = whole; c > 0; c -= kRansLanes) {
    for (size_t v = kVectors; v-- > 0;) {
      const size_t channel = c - kRansLanes + v * kLanes;
      const VU symbol = hn::PromoteTo(d, hn::LoadU(DByte(), symbols + channel));
      const VU slice = hn::Reverse(d, tables.SliceOf(tables.At(channel, row_class), symbol));
      is_unknown = hn::Or(is_unknown, hn::VecFromMask(d, hn::Eq(Frequency(slice), hn::Zero(d))));
      x[v] = EncodeVector(x[v], slice, next);
    }
    if (next > end) break;
  }
  AMAQ_CHECK(hn::AllTrue(d, hn::Eq(is_unknown, hn::Zero(d))));
  for (size_t v = 0; v < kVectors; ++v) hn::StoreU(hn::Reverse(d, x[v]), d, states + v * kLanes);
  return static_cast<size_t>(next - words);
}

size_t Encode(const SymbolContext& context, std::span<const uint8_t> symbols, size_t max_words,
              uint32_t* states, uint16_t* words) {
  const Tables tables(context);
  const size_t channels = context.channel_tables.size();
  const size_t whole = channels / kRansLanes * kRansLanes;
  size_t used = 0;
  for (size_t row = symbols.size() / channels; row-- > 0;) {
    const size_t row_class = context.row_class(row);
    const uint8_t* const from = symbols.data() + row * channels;
    used += EncodeRansChannels({context, row_class}, whole, channels, from, states, words + used);
    if (used > max_words) return used;
    used += EncodeRow(tables, hn::Set(DU(), static_cast<uint32_t>(row_class)), from, whole, states,
                      words + used, words + max_words);
    if (used > max_words) return used;
  }
  return used;
}

}  // namespace

const RansKernels& Rans() {
  static constexpr RansKernels kernels = {Encode, Decode};
  return kernels;
}

}  // namespace amaq::quant::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#elif HWY_TARGET != HWY_EMU128 && HWY_TARGET != HWY_SCALAR

HWY_BEFORE_NAMESPACE();
namespace amaq::quant::HWY_NAMESPACE {

const RansKernels& Rans() { return ScalarRansKernels(); }

}  // namespace amaq::quant::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // an instruction set
