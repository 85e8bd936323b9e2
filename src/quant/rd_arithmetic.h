#ifndef AMAQ_QUANT_RD_ARITHMETIC_H_
#define AMAQ_QUANT_RD_ARITHMETIC_H_

// What the rate-distortion coder does to one value, on the host and on a GPU alike. Thread-safety:
// pure functions. Source: docs/formats/rd.md.

#include <cstdint>

#include "core/host_device.h"
#include "quant/rd_tables.h"

namespace amaq::quant {

AMAQ_HOST_DEVICE inline int32_t RdMagnitude(int32_t q) { return q < 0 ? -q : q; }

// t = y / step can be rounded to an integer within kRdLargest. False for a NaN.
AMAQ_HOST_DEVICE inline bool RdFits(float t) {
  constexpr auto kLargest = static_cast<float>(kRdLargest - 1);
  return t <= kLargest && t >= -kLargest;
}

// offset: 0.5 less the dead zone.
AMAQ_HOST_DEVICE inline int32_t RdRoundDeadZone(float t, float offset) {
  const auto magnitude = static_cast<int32_t>((t < 0 ? -t : t) + offset);
  return t < 0 ? -magnitude : magnitude;
}

// floor(t + u), u the upper 24 bits of `word` as a fraction.
AMAQ_HOST_DEVICE inline int32_t RdRoundStochastic(float t, uint32_t word) {
  auto floor_t = static_cast<int32_t>(t);
  if (static_cast<float>(floor_t) > t) --floor_t;
  const float fraction = t - static_cast<float>(floor_t);  // exact but for tiny negative t
  const auto threshold = static_cast<uint32_t>(fraction * 0x1p24f);
  return floor_t + ((word >> 8) < threshold ? 1 : 0);
}

// Magnitudes below this are taken to cost the same with both signs, so that their costs can be kept
// ready.
inline constexpr int32_t kRdNear = 16;

// What q costs in a table of this shape, in 1/256 bit: `symbol_costs` [256] are those of its
// symbols (RdSymbolCosts).
AMAQ_HOST_DEVICE inline uint32_t RdCostOf(const RdTableShape& shape, const uint32_t* symbol_costs,
                                          int32_t q) {
  const int32_t magnitude = RdMagnitude(q);
  const uint8_t symbol = shape.SymbolOf(magnitude < kRdNear ? magnitude : q);
  if (symbol != shape.escape()) return symbol_costs[symbol];
  return symbol_costs[symbol] + (magnitude < 64 ? 8u : magnitude < 8192 ? 16u : 24u) * 256;
}

// y_hat; shifts: what is added to magnitudes 0, 1 and above in q's table.
AMAQ_HOST_DEVICE inline float RdValueOf(int32_t q, const float* shifts, float step) {
  const int32_t magnitude = RdMagnitude(q);
  const float shifted = static_cast<float>(magnitude) + shifts[magnitude < 2 ? magnitude : 2];
  const float value = shifted * step;
  return q < 0 ? -value : value;
}

}  // namespace amaq::quant

#endif  // AMAQ_QUANT_RD_ARITHMETIC_H_
