#ifndef AMAQ_CORE_DTYPE_H_
#define AMAQ_CORE_DTYPE_H_

// Element types that cross the wire or stand on disk, and the exact conversions between them.
// Thread-safety: pure functions. bf16 and fp16 are carried as uint16_t bit patterns.

#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace amaq {

// On the wire and in files; never renumber.
enum class DType : uint32_t { kF32 = 1, kBF16 = 2, kF16 = 3, kF64 = 4 };

size_t SizeOf(DType dtype);
std::string_view DTypeName(DType dtype);                 // "fp32", "bf16", "fp16", "fp64"
std::optional<DType> ParseDType(std::string_view name);  // the names above

// Widening is exact.
inline float BF16ToF32(uint16_t bits) { return std::bit_cast<float>(uint32_t{bits} << 16); }
float F16ToF32(uint16_t bits);

// Round to nearest, ties to even; NaN stays NaN, overflow becomes infinity.
inline uint16_t F32ToBF16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((bits >> 16) | 0x40u);
  return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}
uint16_t F32ToF16(float value);

}  // namespace amaq

#endif  // AMAQ_CORE_DTYPE_H_
