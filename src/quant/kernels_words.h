#ifndef AMAQ_QUANT_KERNELS_WORDS_H_
#define AMAQ_QUANT_KERNELS_WORDS_H_

// A tile's codes between vectors and the octet layout. Tables: anything with `widths` and `masks`
// as ChannelTables has them. Included by the vector kernels once for each instruction set, behind
// kernels_tile.h. Source: our choice (docs/adr/0012-kernel-sets.md).

#include <cstring>

#include <hwy/highway.h>

#include "quant/kernels_tile.h"

HWY_BEFORE_NAMESPACE();
namespace amaq::quant::HWY_NAMESPACE {
namespace {

// A channel's word is its 8 codes of n bits: rows 0...3 in `low`, rows 4...7 in `high`, each as one
// number of 4 n bits. Writes the n low bytes of each word, one behind the other; may write up to
// kTileBytes. Returns the end of what counts.
template <typename Tables>
HWY_INLINE uint8_t* StoreWords(VU low, VU high, const Tables& tables, size_t c, VU width,
                               uint8_t* out) {
  const D64 d;
  const hn::Half<DU> half;
  const VU shift = hn::ShiftLeft<2>(width);
  const V64 word0 = hn::Or(hn::PromoteTo(d, hn::LowerHalf(half, low)),
                           hn::Shl(hn::PromoteTo(d, hn::LowerHalf(half, high)),
                                   hn::PromoteTo(d, hn::LowerHalf(half, shift))));
  const V64 word1 = hn::Or(hn::PromoteTo(d, hn::UpperHalf(half, low)),
                           hn::Shl(hn::PromoteTo(d, hn::UpperHalf(half, high)),
                                   hn::PromoteTo(d, hn::UpperHalf(half, shift))));
#if HWY_TARGET == HWY_AVX3_DL
  // A channel's mask has as many bits as its word has bytes.
  uint64_t mask[2];
  std::memcpy(mask, tables.masks.data() + c, sizeof(mask));
  _mm512_storeu_si512(out, _mm512_maskz_compress_epi8(mask[0], word0.raw));
  out += hwy::PopCount(mask[0]);
  _mm512_storeu_si512(out, _mm512_maskz_compress_epi8(mask[1], word1.raw));
  return out + hwy::PopCount(mask[1]);
#else
  HWY_ALIGN uint64_t words[kLanes];
  hn::Store(word0, d, words);
  hn::Store(word1, d, words + kLanes / 2);
  for (size_t i = 0; i < kLanes; ++i) {
    std::memcpy(out, &words[i], sizeof(uint64_t));
    out += tables.widths[c + i];
  }
  return out;
#endif
}

// 8 bytes for each lane, the next lane's `*widths` bytes further on.
template <class D>
HWY_INLINE hn::Vec<D> LoadWordLanes(const uint8_t*& in, const uint8_t*& widths) {
  if constexpr (hn::MaxLanes(D()) == 1) {
    const hn::Repartition<uint8_t, D> bytes;
    const hn::Vec<D> word = hn::BitCast(D(), hn::LoadU(bytes, in));
    in += *widths++;
    return word;
  } else {
    using Half = hn::Half<D>;
    const hn::Vec<Half> lower = LoadWordLanes<Half>(in, widths);
    return hn::Combine(D(), LoadWordLanes<Half>(in, widths), lower);
  }
}

// The reverse of StoreWords; `low` and `high` hold what is not of them in their upper bits. Reads
// up to kTileBytes.
template <typename Tables>
HWY_INLINE const uint8_t* LoadWords(const uint8_t* in, const Tables& tables, size_t c, VU width,
                                    VU& low, VU& high) {
  const D64 d;
  const DU d32;
  const hn::Half<DU> half;
  const VU shift = hn::ShiftLeft<2>(width);
  V64 word0, word1;
#if HWY_TARGET == HWY_AVX3_DL
  uint64_t mask[2];
  std::memcpy(mask, tables.masks.data() + c, sizeof(mask));
  word0.raw = _mm512_maskz_expand_epi8(mask[0], _mm512_loadu_si512(in));
  in += hwy::PopCount(mask[0]);
  word1.raw = _mm512_maskz_expand_epi8(mask[1], _mm512_loadu_si512(in));
  in += hwy::PopCount(mask[1]);
#else
  const uint8_t* widths = tables.widths.data() + c;
  word0 = LoadWordLanes<D64>(in, widths);
  word1 = LoadWordLanes<D64>(in, widths);
#endif
  low = hn::ConcatEven(d32, hn::BitCast(d32, word1), hn::BitCast(d32, word0));
  word0 = hn::Shr(word0, hn::PromoteTo(d, hn::LowerHalf(half, shift)));
  word1 = hn::Shr(word1, hn::PromoteTo(d, hn::UpperHalf(half, shift)));
  high = hn::ConcatEven(d32, hn::BitCast(d32, word1), hn::BitCast(d32, word0));
  return in;
}

}  // namespace
}  // namespace amaq::quant::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // AMAQ_QUANT_KERNELS_WORDS_H_
