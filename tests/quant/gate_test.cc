#include "quant/gate.h"

#include <cmath>
#include <numeric>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/quant/samples.h"

namespace amaq::quant {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;

std::vector<double> Sensitivities(uint64_t seed, size_t channels) {
  Random random(seed);
  std::vector<double> curvature(channels);
  for (double& value : curvature) value = std::exp(1.5 * random.Normal());
  return curvature;
}

double ModelledLoss(const std::vector<double>& curvature, const std::vector<double>& bits) {
  double loss = 0;
  for (size_t c = 0; c < bits.size(); ++c)
    loss += curvature[c] / std::pow(std::exp2(bits[c]) - 1, 2);
  return loss;
}

TEST(GateTest, QAndBitsAreInverse) {
  const WidthConfig config{.alpha = 2};
  for (const double bits : {2.01, 3.0, 5.5, 7.7, 7.99}) {
    EXPECT_NEAR(BitsOfQ(config, QOfBits(config, bits)), bits, 1e-12);
  }
  EXPECT_NEAR(BitsOfQ(config, 0), 5, 1e-12);
}

TEST(GateTest, BitsAtTheBoundsKeepQFinite) {
  const WidthConfig config;
  EXPECT_TRUE(std::isfinite(QOfBits(config, config.b_min)));
  EXPECT_TRUE(std::isfinite(QOfBits(config, config.b_max)));
  EXPECT_NEAR(BitsOfQ(config, QOfBits(config, config.b_min)), config.b_min, 1e-5);
}

TEST(GateTest, IntegerWidthRoundsHalfToEvenWithinTheBounds) {
  const WidthConfig config{.b_min = 2.2, .b_max = 7.9};
  EXPECT_EQ(IntegerWidth(config, 2.2), 3);
  EXPECT_EQ(IntegerWidth(config, 3.5), 4);
  EXPECT_EQ(IntegerWidth(config, 4.5), 4);
  EXPECT_EQ(IntegerWidth(config, 4.51), 5);
  EXPECT_EQ(IntegerWidth(config, 7.9), 7);
}

TEST(GateTest, TargetFallsFromStartAndIsReachedAtFourFifths) {
  WidthConfig config{.b_start = 7.7, .target_bits = 3, .adapt_steps = 100};
  for (const TargetSchedule schedule : {TargetSchedule::kCosine, TargetSchedule::kLinear}) {
    config.schedule = schedule;
    EXPECT_DOUBLE_EQ(TargetBits(config, 0), 7.7);
    EXPECT_NEAR(TargetBits(config, 40), 5.35, 1e-12);
    EXPECT_NEAR(TargetBits(config, 80), 3, 1e-12);
    EXPECT_NEAR(TargetBits(config, 100), 3, 1e-12);
    for (uint64_t t = 0; t < 100; ++t) {
      EXPECT_GE(TargetBits(config, t), TargetBits(config, t + 1));
    }
  }
  EXPECT_EQ(TargetBits({.b_start = 7.7, .target_bits = 3, .adapt_steps = 0}, 0), 3);
  config.schedule = TargetSchedule::kCosine;
  EXPECT_GT(TargetBits(config, 10), 7.4);  // slow at first
  config.schedule = TargetSchedule::kLinear;
  EXPECT_LT(TargetBits(config, 10), 7.2);
  config.schedule = TargetSchedule::kConstant;
  EXPECT_DOUBLE_EQ(TargetBits(config, 0), 3);
}

TEST(GateTest, WaterFillMeetsItsMean) {
  const std::vector<double> curvature = Sensitivities(51, 200);
  for (const double mean : {2.05, 2.5, 3.0, 4.7, 7.9}) {
    EXPECT_NEAR(Mean(WaterFill(curvature, mean, 2, 8)), mean, 1e-9);
  }
}

TEST(GateTest, NoExchangeOfBitsBeatsWaterFill) {
  const std::vector<double> curvature = Sensitivities(52, 30);
  const std::vector<double> best = WaterFill(curvature, 3.3, 2, 8);
  const double loss = ModelledLoss(curvature, best);

  for (size_t from = 0; from < 30; ++from) {
    for (size_t to = 0; to < 30; ++to) {
      std::vector<double> moved = best;
      moved[from] -= 1e-3;
      moved[to] += 1e-3;
      if (from == to || moved[from] < 2 || moved[to] > 8) continue;
      EXPECT_GE(ModelledLoss(curvature, moved), loss);
    }
  }
}

TEST(GateTest, WaterFillIgnoresTheScaleOfTheCurvature) {
  std::vector<double> curvature = Sensitivities(53, 40);
  const std::vector<double> best = WaterFill(curvature, 4, 2, 8);
  for (double& value : curvature) value *= 1e-60;

  const std::vector<double> scaled = WaterFill(curvature, 4, 2, 8);

  for (size_t c = 0; c < 40; ++c) EXPECT_NEAR(scaled[c], best[c], 1e-9);
}

TEST(GateTest, WaterFillSurvivesExtremeSensitivities) {
  const std::vector<double> curvature = {1e300, 1e-300, 1, 0, 1e150, 1e-150};

  const std::vector<double> bits = WaterFill(curvature, 4, 2, 8);

  EXPECT_NEAR(Mean(bits), 4, 1e-9);
  EXPECT_DOUBLE_EQ(bits[0], 8);
  EXPECT_DOUBLE_EQ(bits[3], 2);
}

TEST(GateTest, WithoutCurvatureEveryChannelGetsTheMean) {
  EXPECT_THAT(WaterFill(std::vector<double>(5, 0.0), 3.4, 2, 8), Each(::testing::DoubleEq(3.4)));
  EXPECT_THAT(WaterFill(std::vector<double>(5, 7.0), 3.4, 2, 8),
              Each(::testing::DoubleNear(3.4, 1e-9)));
}

TEST(GateTest, ChannelsWithoutCurvatureShareWhatTheOthersLeave) {
  EXPECT_THAT(WaterFill(std::vector<double>{0, 1, 0}, 6, 2, 8), ElementsAre(5, 8, 5));
  const std::vector<double> tight = WaterFill(std::vector<double>{0, 1, 0}, 3, 2, 8);
  EXPECT_THAT(tight, ElementsAre(2, ::testing::DoubleNear(5, 1e-9), 2));
}

// All width vectors of [low, high]^channels with the budget's sum: the least modelled loss.
double BruteForceLoss(const std::vector<double>& curvature, uint32_t low, uint32_t high,
                      int64_t budget) {
  std::vector<double> bits(curvature.size(), low);
  double best = INFINITY;
  for (;;) {
    if (std::accumulate(bits.begin(), bits.end(), 0.0) == static_cast<double>(budget)) {
      best = std::min(best, ModelledLoss(curvature, bits));
    }
    size_t c = 0;
    while (c < bits.size() && bits[c] == high) bits[c++] = low;
    if (c == bits.size()) return best;
    bits[c] += 1;
  }
}

TEST(GateTest, GreedyFromTheBottomIsTheBruteForceOptimum) {
  for (uint64_t seed = 0; seed < 5; ++seed) {
    const std::vector<double> curvature = Sensitivities(60 + seed, 6);
    const std::vector<uint8_t> widths =
        FitToBudget(std::vector<uint8_t>(6, 2), curvature, 3.5, 2, 6);
    const std::vector<double> bits(widths.begin(), widths.end());

    EXPECT_NEAR(ModelledLoss(curvature, bits), BruteForceLoss(curvature, 2, 6, 21), 1e-12);
  }
}

TEST(GateTest, TheMeanIsTheLargestNotAboveTheBudget) {
  const std::vector<double> curvature = Sensitivities(54, 10);
  for (const double mean : {2.0, 2.1, 2.55, 3.0, 3.49, 8.0}) {
    for (const uint8_t start : {uint8_t{2}, uint8_t{4}, uint8_t{8}}) {
      const std::vector<uint8_t> widths =
          FitToBudget(std::vector<uint8_t>(10, start), curvature, mean, 2, 8);
      EXPECT_EQ(std::accumulate(widths.begin(), widths.end(), 0), std::floor(mean * 10 + 1e-9));
    }
  }
}

TEST(GateTest, WithoutCurvatureTheWidthsAreEvenAndTheLowestChannelsMove) {
  const std::vector<double> none(4, 0.0);
  EXPECT_THAT(FitToBudget({3, 3, 3, 3}, none, 3.5, 2, 8), ElementsAre(4, 4, 3, 3));
  EXPECT_THAT(FitToBudget({4, 4, 4, 4}, none, 3.75, 2, 8), ElementsAre(3, 4, 4, 4));
  EXPECT_THAT(FitToBudget({2, 2, 2, 2}, none, 4.5, 2, 8), ElementsAre(5, 5, 4, 4));
}

TEST(GateTest, TiesGoToTheLowestChannel) {
  EXPECT_THAT(FitToBudget({2, 2, 2}, std::vector<double>{1, 5, 5}, 2.34, 2, 8),
              ElementsAre(2, 3, 2));
  EXPECT_THAT(FitToBudget({4, 4, 4}, std::vector<double>{5, 1, 1}, 3.67, 2, 8),
              ElementsAre(4, 3, 4));
}

TEST(GateTest, GainIsOfTheLevelsNotOfFourToTheMinusN) {
  EXPECT_DOUBLE_EQ(RaiseGain(3, 1), 3 * (1.0 - 1.0 / 9));
  EXPECT_DOUBLE_EQ(RaiseGain(2, 2), 2 * (1.0 / 9 - 1.0 / 49));
  EXPECT_TRUE(std::isinf(RaiseGain(1, 0)));
  EXPECT_EQ(RaiseGain(0, 0), 0);
}

TEST(GateTest, CorrelationIsPearsons) {
  const std::vector<double> a = {1, 2, 3, 4};
  EXPECT_NEAR(Correlation(a, std::vector<double>{2, 4, 6, 8}), 1, 1e-12);
  EXPECT_NEAR(Correlation(a, std::vector<double>{4, 3, 2, 1}), -1, 1e-12);
  EXPECT_NEAR(Correlation(a, std::vector<double>{1, 3, 2, 4}), 0.8, 1e-12);
  EXPECT_EQ(Correlation(a, std::vector<double>{5, 5, 5, 5}), 0);
}

TEST(PenaltyWeightTest, HingeIsBetaAboveTheTargetAndMeanIsBetaAlways) {
  WidthConfig config{.penalty = GatePenalty::kHinge, .penalty_beta = 3};
  PenaltyWeight hinge(config);
  EXPECT_EQ(hinge.Next(4.01, 4), 3);
  EXPECT_EQ(hinge.Next(4, 4), 0);
  EXPECT_EQ(hinge.Next(3.9, 4), 0);
  config.penalty = GatePenalty::kMean;
  PenaltyWeight mean(config);
  EXPECT_EQ(mean.Next(5, 4), 3);
  EXPECT_EQ(mean.Next(3, 4), 3);
}

TEST(PenaltyWeightTest, DualMovesByThreeTenthsOfTheDistanceWithinItsLimits) {
  PenaltyWeight dual({.penalty = GatePenalty::kDual, .penalty_beta = 77});
  EXPECT_NEAR(dual.Next(6, 4), 1e-3 * std::exp(0.6), 1e-15);
  EXPECT_NEAR(dual.Next(3, 4), 1e-3 * std::exp(0.3), 1e-15);
  for (int i = 0; i < 100; ++i) dual.Next(8, 2);
  EXPECT_NEAR(dual.value(), 1e6, 1);
  for (int i = 0; i < 100; ++i) dual.Next(2, 8);
  EXPECT_NEAR(dual.value(), 1e-9, 1e-15);
}

}  // namespace
}  // namespace amaq::quant
