#ifndef AMAQ_QUANT_UNIFORM_H_
#define AMAQ_QUANT_UNIFORM_H_

// The arithmetic of the uniform quantizer of one channel: the only definition, for host and device.
// Thread-safety: pure functions. Exactness: each line is one IEEE fp32 operation, rounded to
// nearest even; the build forbids fused multiply-add (-ffp-contract=off). Source:
// docs/formats/octet.md (our choice).

#include <bit>
#include <cstdint>

#include "core/host_device.h"

namespace amaq::quant {

inline constexpr float kSmallestStep = 0x1p-126f;  // below it 1 / step could overflow

// How one channel of one message is coded. step 0: a constant channel, every value decodes to lo.
struct ChannelRange {
  float lo = 0;
  float step = 0;           // a bf16 number
  bool lo_is_fp32 = false;  // else lo is a bf16 number
};

// L = 2^n - 1, the largest code of width n, as the fp32 number that the arithmetic uses.
AMAQ_HOST_DEVICE inline float LargestCode(uint32_t width) {
  return static_cast<float>((1u << width) - 1u);
}

AMAQ_HOST_DEVICE inline bool IsFinite(float value) {
  return (std::bit_cast<uint32_t>(value) & 0x7f800000u) != 0x7f800000u;
}

// The largest bf16 number that is not above `value` (finite). May be minus infinity.
AMAQ_HOST_DEVICE inline float RoundDownToBF16(float value) {
  uint32_t bits = std::bit_cast<uint32_t>(value);
  const bool inexact_negative = (bits >> 31) != 0 && (bits & 0xffffu) != 0;
  if (inexact_negative) bits += 0x10000u;
  return std::bit_cast<float>(bits & 0xffff0000u);
}

// The smallest bf16 number that is not below `value` (finite, not negative). May be infinity.
AMAQ_HOST_DEVICE inline float RoundUpToBF16(float value) {
  return std::bit_cast<float>((std::bit_cast<uint32_t>(value) + 0xffffu) & 0xffff0000u);
}

// Spacing of the bf16 numbers at `value` (finite): 2^(e-7), at least 2^-133.
AMAQ_HOST_DEVICE inline float UlpOfBF16(float value) {
  const uint32_t exponent = (std::bit_cast<uint32_t>(value) >> 23) & 0xffu;
  if (exponent >= 8) return std::bit_cast<float>((exponent - 7) << 23);
  return std::bit_cast<float>(1u << (15 + (exponent == 0 ? 1u : exponent)));  // a denormal fp32
}

// m of the range [-m, m] of a channel with these extremes.
AMAQ_HOST_DEVICE inline float LargestMagnitude(float lo_raw, float hi_raw) {
  const float lo = std::bit_cast<float>(std::bit_cast<uint32_t>(lo_raw) & 0x7fffffffu);
  const float hi = std::bit_cast<float>(std::bit_cast<uint32_t>(hi_raw) & 0x7fffffffu);
  return lo > hi ? lo : hi;
}

// Range of a channel from its extremes (finite, lo_raw <= hi_raw). The result may hold infinities
// when hi_raw - lo_raw overflows: see RangeIsFinite.
AMAQ_HOST_DEVICE inline ChannelRange MakeRange(float lo_raw, float hi_raw, uint32_t width) {
  lo_raw = lo_raw + 0.0f;  // -0 becomes +0: which of the two min() meets first must not matter
  if (width == 0) {
    const float half_lo = 0.5f * lo_raw;
    const float half_hi = 0.5f * hi_raw;
    return {half_lo + half_hi, 0, true};
  }
  if (hi_raw == lo_raw) return {lo_raw, 0, true};
  const float largest = LargestCode(width);
  ChannelRange range;
  range.lo = RoundDownToBF16(lo_raw);
  if (!IsFinite(range.lo)) return {range.lo, 0, false};
  range.step = RoundUpToBF16((hi_raw - range.lo) / largest);
  if (UlpOfBF16(range.lo) > range.step * 0.25f) {
    range.lo = lo_raw;
    range.lo_is_fp32 = true;
    range.step = RoundUpToBF16((hi_raw - range.lo) / largest);
  }
  if (range.step < kSmallestStep) return {lo_raw, 0, true};
  return range;
}

// Range of a channel whose codes are made at 8 bits and then shifted down to `width` ("Double
// Rounding", arXiv 2502.01199): lo and step of width 8, the step times 2^(8 - width).
AMAQ_HOST_DEVICE inline ChannelRange MakeNestedRange(float lo_raw, float hi_raw, uint32_t width) {
  if (width == 0) return MakeRange(lo_raw, hi_raw, 0);
  ChannelRange range = MakeRange(lo_raw, hi_raw, 8);
  range.step = range.step * static_cast<float>(1u << (8 - width));
  return range;
}

// Every code of the channel decodes to a finite number.
AMAQ_HOST_DEVICE inline bool RangeIsFinite(const ChannelRange& range, uint32_t width) {
  const float extent = LargestCode(width) * range.step;
  return IsFinite(range.lo) && IsFinite(range.step) && IsFinite(range.lo + extent);
}

// The factor that turns (x - lo) into code units; 0 for a constant channel.
AMAQ_HOST_DEVICE inline float InverseStep(float step) { return step == 0 ? 0.0f : 1.0f / step; }

// The same of the 8-bit step that a nested range of `width` was made from. Exact but for the
// division.
AMAQ_HOST_DEVICE inline float NestedInverseStep(float step, uint32_t width) {
  return InverseStep(step / static_cast<float>(1u << (8 - width)));
}

// Shift and round, ties up, of an 8-bit code to `width` bits.
AMAQ_HOST_DEVICE inline uint32_t DropLowBits(uint32_t code, uint32_t width) {
  const uint32_t drop = 8 - width;
  const uint32_t rounded = (code + ((1u << drop) >> 1)) >> drop;
  const uint32_t largest = (1u << width) - 1u;
  return rounded > largest ? largest : rounded;
}

// NaN (a constant channel of which a value is infinitely far) becomes 0.
AMAQ_HOST_DEVICE inline float ClampCode(float code, float largest) {
  code = code > 0.0f ? code : 0.0f;
  return code > largest ? largest : code;
}

// Code of x, as an integer-valued float in [0, largest]; ties to even.
AMAQ_HOST_DEVICE inline float QuantizeNearest(float x, float lo, float inverse_step,
                                              float largest) {
  const float t = (x - lo) * inverse_step;
  // rint for |t| < 2^22, which holds as t <= 256: at 1.5 * 2^23 the spacing of fp32 is 1.
  const float rounded = (t + 0x1.8p23f) - 0x1.8p23f;
  return ClampCode(rounded, largest);
}

// Code of x, rounded up with the probability of its fraction; `word` is uniform random bits.
AMAQ_HOST_DEVICE inline float QuantizeStochastic(float x, float lo, float inverse_step,
                                                 float largest, uint32_t word) {
  const float t = ClampCode((x - lo) * inverse_step, 256.0f);  // t >= 0, so truncation is floor
  const float floor_t = static_cast<float>(static_cast<int32_t>(t));
  const float fraction = t - floor_t;  // exact
  const auto threshold = static_cast<uint32_t>(fraction * 0x1p24f);
  const float up = (word >> 8) < threshold ? 1.0f : 0.0f;
  return ClampCode(floor_t + up, largest);
}

AMAQ_HOST_DEVICE inline float Dequantize(float code, float lo, float step) {
  const float offset = code * step;  // exact: 8 by 8 significant bits
  return lo + offset;
}

}  // namespace amaq::quant

#endif  // AMAQ_QUANT_UNIFORM_H_
