#ifndef AMAQ_CORE_DTYPE_H_
#define AMAQ_CORE_DTYPE_H_

// Element types that cross the wire or stand on disk, and the exact conversions between them.
// Thread-safety: pure functions. bf16 and fp16 are carried as uint16_t bit patterns.

#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "core/host_device.h"

namespace amaq {

// On the wire and in files; never renumber.
enum class DType : uint32_t { kF32 = 1, kBF16 = 2, kF16 = 3, kF64 = 4 };

size_t SizeOf(DType dtype);
std::string_view DTypeName(DType dtype);                 // "fp32", "bf16", "fp16", "fp64"
std::optional<DType> ParseDType(std::string_view name);  // the names above

// Widening is exact.
AMAQ_HOST_DEVICE inline float BF16ToF32(uint16_t bits) {
  return std::bit_cast<float>(uint32_t{bits} << 16);
}
AMAQ_HOST_DEVICE inline float F16ToF32(uint16_t bits) {
  const uint32_t sign = (bits & 0x8000u) << 16;
  const uint32_t exponent = (bits >> 10) & 0x1fu;
  const uint32_t mantissa = bits & 0x3ffu;
  if (exponent == 0x1f) return std::bit_cast<float>(sign | 0x7f800000u | (mantissa << 13));
  if (exponent == 0) {  // zero or subnormal: mantissa * 2^-24 is exact in fp32
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
    return sign != 0 ? -magnitude : magnitude;
  }
  return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (mantissa << 13));
}

// Round to nearest, ties to even; NaN stays NaN, overflow becomes infinity.
inline uint16_t F32ToBF16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((bits >> 16) | 0x40u);
  return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}
uint16_t F32ToF16(float value);

}  // namespace amaq

#endif  // AMAQ_CORE_DTYPE_H_
