#include "core/dtype.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace amaq {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// The value of a 16-bit float by definition, without the bit tricks under test.
double ValueOf(uint32_t bits, int mantissa_bits, int bias) {
  const uint32_t mantissa = bits & ((1u << mantissa_bits) - 1);
  const int exponent = static_cast<int>((bits & 0x7fffu) >> mantissa_bits);
  const double scaled =
      exponent == 0 ? std::ldexp(mantissa, 1 - bias - mantissa_bits)
                    : std::ldexp(mantissa + (1u << mantissa_bits), exponent - bias - mantissa_bits);
  return (bits & 0x8000u) != 0 ? -scaled : scaled;
}

struct Format {
  float (*widen)(uint16_t);
  uint16_t (*narrow)(float);
  int mantissa_bits;
  int bias;
  uint16_t infinity;
};

class HalfFormat : public ::testing::TestWithParam<Format> {};

TEST_P(HalfFormat, WideningIsExactForEveryPattern) {
  const Format format = GetParam();
  for (uint32_t bits = 0; bits < 0x10000u; ++bits) {
    const float value = format.widen(static_cast<uint16_t>(bits));
    const uint32_t magnitude = bits & 0x7fffu;
    if (magnitude > format.infinity) {
      ASSERT_TRUE(std::isnan(value)) << bits;
    } else if (magnitude == format.infinity) {
      ASSERT_EQ(value, (bits & 0x8000u) != 0 ? -kInfinity : kInfinity);
    } else {
      ASSERT_EQ(static_cast<double>(value), ValueOf(bits, format.mantissa_bits, format.bias));
      ASSERT_EQ(std::signbit(value), (bits & 0x8000u) != 0) << bits;
    }
  }
}

TEST_P(HalfFormat, EveryPatternSurvivesTheRoundTrip) {
  const Format format = GetParam();
  for (uint32_t bits = 0; bits < 0x10000u; ++bits) {
    const uint16_t again = format.narrow(format.widen(static_cast<uint16_t>(bits)));
    if ((bits & 0x7fffu) > format.infinity) {
      ASSERT_GT(again & 0x7fffu, format.infinity) << bits;  // still NaN
    } else {
      ASSERT_EQ(again, bits);
    }
  }
}

// Between each two neighbours: the half-way point goes to the even one, its fp32 neighbours to the
// nearer one. Beyond the largest finite value the next step would be where infinity stands.
TEST_P(HalfFormat, NarrowingRoundsToNearestEvenEverywhere) {
  const Format format = GetParam();
  for (uint32_t low = 0; low < format.infinity; ++low) {
    const double a = ValueOf(low, format.mantissa_bits, format.bias);
    const double b = ValueOf(low + 1, format.mantissa_bits, format.bias);
    const auto half = static_cast<float>((a + b) / 2);
    ASSERT_EQ(static_cast<double>(half), (a + b) / 2) << "the half-way point must be exact";
    ASSERT_EQ(format.narrow(half), (low & 1u) != 0 ? low + 1 : low);
    ASSERT_EQ(format.narrow(std::nextafter(half, 0.0f)), low);
    ASSERT_EQ(format.narrow(std::nextafter(half, kInfinity)), low + 1);
    ASSERT_EQ(format.narrow(-half), 0x8000u | ((low & 1u) != 0 ? low + 1 : low));
  }
}

TEST_P(HalfFormat, ExtremesBecomeInfinityNanOrZero) {
  const Format format = GetParam();
  EXPECT_EQ(format.narrow(kInfinity), format.infinity);
  EXPECT_EQ(format.narrow(-kInfinity), 0x8000u | format.infinity);
  EXPECT_EQ(format.narrow(std::numeric_limits<float>::max()), format.infinity);
  EXPECT_EQ(format.narrow(0.0f), 0);
  EXPECT_EQ(format.narrow(-0.0f), 0x8000u);
  EXPECT_EQ(format.narrow(std::numeric_limits<float>::denorm_min()), 0);
  // A NaN whose payload stands in the bits that are cut off must not become infinity.
  for (uint32_t bits : {0x7f800001u, 0xff800001u, 0x7fffffffu, 0x7fc00000u}) {
    EXPECT_GT(format.narrow(std::bit_cast<float>(bits)) & 0x7fffu, format.infinity) << bits;
  }
}

INSTANTIATE_TEST_SUITE_P(Fp16, HalfFormat,
                         ::testing::Values(Format{F16ToF32, F32ToF16, 10, 15, 0x7c00}));
INSTANTIATE_TEST_SUITE_P(Bf16, HalfFormat,
                         ::testing::Values(Format{BF16ToF32, F32ToBF16, 7, 127, 0x7f80}));

TEST(DTypeTest, NumbersAreThoseOfTheWire) {
  EXPECT_EQ(static_cast<uint32_t>(DType::kF32), 1u);
  EXPECT_EQ(static_cast<uint32_t>(DType::kBF16), 2u);
  EXPECT_EQ(static_cast<uint32_t>(DType::kF16), 3u);
  EXPECT_EQ(static_cast<uint32_t>(DType::kF64), 4u);
}

TEST(DTypeTest, NamesAndSizesBelongTogether) {
  const std::tuple<DType, std::string_view, size_t> expected[] = {{DType::kF32, "fp32", 4},
                                                                  {DType::kBF16, "bf16", 2},
                                                                  {DType::kF16, "fp16", 2},
                                                                  {DType::kF64, "fp64", 8}};
  for (const auto& [dtype, name, size] : expected) {
    EXPECT_EQ(DTypeName(dtype), name);
    EXPECT_EQ(SizeOf(dtype), size);
    EXPECT_EQ(ParseDType(name), dtype);
  }
  EXPECT_EQ(ParseDType("fp8"), std::nullopt);
  EXPECT_EQ(ParseDType(""), std::nullopt);
}

}  // namespace
}  // namespace amaq
