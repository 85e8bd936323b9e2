#include "quant/uniform.h"

#include <cmath>
#include <limits>

#include <gtest/gtest.h>

#include "tests/quant/samples.h"

namespace amaq::quant {
namespace {

TEST(UniformTest, RoundDownToBF16IsTheNeighbourBelow) {
  EXPECT_EQ(RoundDownToBF16(1.0f), 1.0f);
  EXPECT_EQ(RoundDownToBF16(1.001f), 1.0f);
  EXPECT_EQ(RoundDownToBF16(-1.0f), -1.0f);
  EXPECT_EQ(RoundDownToBF16(-1.001f), -1.0078125f);
  EXPECT_EQ(RoundDownToBF16(0.0f), 0.0f);
  EXPECT_EQ(RoundDownToBF16(-0x1p-149f), -0x1p-133f);
  EXPECT_EQ(RoundDownToBF16(-std::numeric_limits<float>::max()),
            -std::numeric_limits<float>::infinity());
}

TEST(UniformTest, RoundUpToBF16IsTheNeighbourAbove) {
  EXPECT_EQ(RoundUpToBF16(1.0f), 1.0f);
  EXPECT_EQ(RoundUpToBF16(1.001f), 1.0078125f);
  EXPECT_EQ(RoundUpToBF16(0.0f), 0.0f);
  EXPECT_EQ(RoundUpToBF16(0x1p-149f), 0x1p-133f);
  EXPECT_EQ(RoundUpToBF16(std::numeric_limits<float>::max()),
            std::numeric_limits<float>::infinity());
}

TEST(UniformTest, UlpIsTheSpacingOfBF16) {
  EXPECT_EQ(UlpOfBF16(1.0f), 0x1p-7f);
  EXPECT_EQ(UlpOfBF16(-1.9921875f), 0x1p-7f);
  EXPECT_EQ(UlpOfBF16(1000.0f), 4.0f);
  EXPECT_EQ(UlpOfBF16(0.0f), 0x1p-133f);
  EXPECT_EQ(UlpOfBF16(0x1p-126f), 0x1p-133f);
  EXPECT_EQ(UlpOfBF16(0x1p-120f), 0x1p-127f);
  EXPECT_EQ(UlpOfBF16(0x1p-119f), 0x1p-126f);
}

TEST(UniformTest, NearestEqualsRintOnEveryHalfAndNeighbour) {
  for (int half = 0; half <= 512; ++half) {
    const float tie = static_cast<float>(half) * 0.5f;
    for (const float t : {tie, std::nextafter(tie, 1e9f), std::nextafter(tie, -1.0f)}) {
      if (t < 0) continue;
      const float expected = std::fmin(std::rint(t), 255.0f);
      EXPECT_EQ(QuantizeNearest(t, 0.0f, 1.0f, 255.0f), expected) << t;
    }
  }
}

TEST(UniformTest, NoFusedMultiplyAddInTheBuild) {
  // (x * x) - y with x * x rounded is 0; fused it is the rounding error.
  volatile float x = 1.0f + 0x1p-23f;
  volatile float y = x * x;
  const float difference = x * x - y;
  EXPECT_EQ(difference, 0.0f);
}

TEST(UniformTest, StochasticRoundsUpExactlyBelowTheFraction) {
  const float t = 2.25f;  // threshold 2^22
  EXPECT_EQ(QuantizeStochastic(t, 0, 1, 7, 0u), 3.0f);
  EXPECT_EQ(QuantizeStochastic(t, 0, 1, 7, ((1u << 22) - 1) << 8), 3.0f);
  EXPECT_EQ(QuantizeStochastic(t, 0, 1, 7, (1u << 22) << 8), 2.0f);
  EXPECT_EQ(QuantizeStochastic(2.0f, 0, 1, 7, 0u), 2.0f);
  EXPECT_EQ(QuantizeStochastic(7.5f, 0, 1, 7, 0u), 7.0f);
}

TEST(UniformTest, LargeMeanKeepsTheLowEndInFP32) {
  const ChannelRange large = MakeRange(1000.5f, 1001.0f, 2);
  EXPECT_TRUE(large.lo_is_fp32);
  EXPECT_EQ(large.lo, 1000.5f);
  EXPECT_EQ(large.step, 0.1669921875f);

  const ChannelRange plain = MakeRange(-1.0f, 2.0f, 2);
  EXPECT_FALSE(plain.lo_is_fp32);
  EXPECT_EQ(plain.step, 1.0f);
}

TEST(UniformTest, TheFallbackBeginsAboveAQuarterStep) {
  // lo = 1: ulp 2^-7. step 2^-5 is just enough for bf16, 2^-6 is not.
  EXPECT_FALSE(MakeRange(1.0f, 1.0f + 3 * 0x1p-5f, 2).lo_is_fp32);
  EXPECT_TRUE(MakeRange(1.0f, 1.0f + 3 * 0x1p-6f, 2).lo_is_fp32);
}

TEST(UniformTest, ConstantAndVanishingRangesHaveNoStep) {
  for (const auto& [lo, hi] : {std::pair{3.14159f, 3.14159f}, {0.0f, 0.0f}, {-0.0f, 0.0f}}) {
    const ChannelRange range = MakeRange(lo, hi, 4);
    EXPECT_EQ(range.step, 0.0f);
    EXPECT_TRUE(range.lo_is_fp32);
    EXPECT_EQ(range.lo, lo);
    EXPECT_FALSE(std::signbit(range.lo));
  }
  EXPECT_EQ(MakeRange(0.0f, 14 * 0x1p-127f, 3).step, 0x1p-126f);
  EXPECT_EQ(MakeRange(0.0f, 6 * 0x1p-127f, 3).step, 0.0f);
}

TEST(UniformTest, WidthZeroDecodesToTheMiddle) {
  const ChannelRange range = MakeRange(-1.0f, 4.0f, 0);

  EXPECT_EQ(range.lo, 1.5f);
  EXPECT_EQ(range.step, 0.0f);
}

TEST(UniformTest, AnOverflowingRangeIsSeen) {
  EXPECT_FALSE(RangeIsFinite(MakeRange(-3e38f, 3e38f, 4), 4));
  EXPECT_FALSE(RangeIsFinite(MakeRange(-std::numeric_limits<float>::max(), 0, 4), 4));
  EXPECT_FALSE(RangeIsFinite(MakeRange(0, std::numeric_limits<float>::max(), 1), 1));
  EXPECT_TRUE(RangeIsFinite(MakeRange(-1e38f, 1e38f, 4), 4));
}

}  // namespace
}  // namespace amaq::quant
