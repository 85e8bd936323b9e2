// Method amaq: does the gate learn what it is told, and nothing when it is told nothing?

#include <cmath>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "quant/gate.h"
#include "quant/width_policy.h"
#include "tests/quant/samples.h"

namespace amaq::quant {
namespace {

using ::testing::Each;
using ::testing::ElementsAreArray;

constexpr size_t kChannels = 96;
constexpr uint64_t kLossTokens = 100;

std::vector<double> Sensitivities(uint64_t seed, double spread = 1.5) {
  Random random(seed);
  std::vector<double> curvature(kChannels);
  for (double& value : curvature) value = std::exp(spread * random.Normal());
  return curvature;
}

// A noisy look at known sensitivities: the range differs from message to message, the energy is
// right on average (its noise is that of 30 rows), and so is the dot product of ste.
ChannelStats Look(const std::vector<double>& curvature, std::span<const uint8_t> widths,
                  Random* random) {
  ChannelStats stats;
  for (size_t c = 0; c < curvature.size(); ++c) {
    const double range = 1 + 3 * random->Uniform();
    const double noise = std::exp(0.25 * random->Normal() - 0.03);
    stats.range.push_back(range);
    stats.gradient_energy.push_back(curvature[c] / (range * range * kLossTokens) * noise);
    const double levels = std::exp2(widths[c]) - 1;
    // E sum g (x_hat - x) = kappa S step^2 / 12
    stats.error_dot.push_back(curvature[c] / (levels * levels) / 12 * noise);
  }
  return stats;
}

void Train(WidthPolicy* policy, const std::vector<double>& curvature, uint64_t steps,
           uint64_t seed = 7) {
  Random random(seed);
  for (uint64_t step = 0; step < steps; ++step) {
    for (int micro_batch = 0; micro_batch < 2; ++micro_batch) {
      policy->Observe(Look(curvature, policy->widths(), &random), kLossTokens);
    }
    policy->Commit();
  }
}

std::vector<double> ToDoubles(std::span<const uint8_t> widths) {
  return {widths.begin(), widths.end()};
}

std::vector<double> WaterFilledWidths(const std::vector<double>& curvature, double target) {
  return ToDoubles(FitToBudget(std::vector<uint8_t>(kChannels, 2), curvature, target, 2, 8));
}

WidthConfig Config(double target, uint64_t adapt_steps = 40) {
  return {.target_bits = target, .adapt_steps = adapt_steps};
}

TEST(AmaqPolicyTest, StartsAtEightBitsAndEndsFrozenAtTheBudget) {
  const auto policy = MakeWidthPolicy(Config(3), kChannels);
  EXPECT_THAT(policy->widths(), Each(8));
  EXPECT_EQ(policy->version(), 1u);
  EXPECT_EQ(policy->phase(), PolicyPhase::kAdapting);
  EXPECT_DOUBLE_EQ(policy->target_bits(), 7.7);

  Train(policy.get(), Sensitivities(1), 40);

  EXPECT_EQ(policy->phase(), PolicyPhase::kFrozen);
  EXPECT_FALSE(policy->wants_stats());
  EXPECT_EQ(policy->Report().mean_bits, 3);
  EXPECT_EQ(policy->target_bits(), 3);
}

TEST(AmaqPolicyTest, NewtonReachesTheWaterFillingWidths) {
  for (const double target : {2.5, 3.0, 4.0, 5.0}) {
    const std::vector<double> curvature = Sensitivities(2);
    const auto policy = MakeWidthPolicy(Config(target), kChannels);

    Train(policy.get(), curvature, 40);

    const std::vector<double> best = WaterFilledWidths(curvature, target);
    EXPECT_GE(Correlation(ToDoubles(policy->widths()), best), 0.95) << "target " << target;
    EXPECT_GE(policy->Report().correlation, 0.95);
    EXPECT_DOUBLE_EQ(Mean(ToDoubles(policy->widths())), Mean(best));
  }
}

TEST(AmaqPolicyTest, WidthsOfOtherSensitivitiesDoNotCorrelate) {  // negative control
  const auto policy = MakeWidthPolicy(Config(3), kChannels);
  Train(policy.get(), Sensitivities(2), 40);

  const std::vector<double> other = WaterFilledWidths(Sensitivities(3), 3);

  EXPECT_LT(Correlation(ToDoubles(policy->widths()), other), 0.5);
}

TEST(AmaqPolicyTest, DifferentTargetsGiveDifferentWidths) {
  std::set<std::vector<uint8_t>> seen;
  for (const double target : {2.5, 3.0, 3.5, 4.0}) {
    const auto policy = MakeWidthPolicy(Config(target), kChannels);
    Train(policy.get(), Sensitivities(4), 40);
    EXPECT_DOUBLE_EQ(policy->Report().mean_bits, target);
    seen.insert({policy->widths().begin(), policy->widths().end()});
  }
  EXPECT_EQ(seen.size(), 4u);
}

TEST(AmaqPolicyTest, ZeroedGradientsGiveUniformWidths) {
  for (const GateUpdate update : {GateUpdate::kNewton, GateUpdate::kAdam}) {
    WidthConfig config = Config(3);
    config.update = update;
    const auto policy = MakeWidthPolicy(config, kChannels);
    const std::vector<double> zero(kChannels, 0.0);
    Random random(8);

    for (int step = 0; step < 40; ++step) {
      std::vector<double> range(kChannels);
      for (double& value : range) value = random.Uniform();
      policy->Observe({range, zero, zero}, kLossTokens);
      policy->Commit();
      EXPECT_THAT(policy->widths(), Each(policy->widths()[0])) << "step " << step;
    }

    EXPECT_THAT(policy->widths(), Each(3));
    EXPECT_NEAR(policy->Report().spread_bits, 0, 1e-9);
    EXPECT_EQ(policy->Report().correlation, 0);
  }
}

TEST(AmaqPolicyTest, ZeroedGradientsAtAFractionalBudgetAreAsEvenAsCanBe) {
  const auto policy = MakeWidthPolicy(Config(3.25), 8);
  const std::vector<double> zero(8, 0.0);
  for (int step = 0; step < 40; ++step) {
    policy->Observe({std::vector<double>(8, 1.0), zero, {}}, kLossTokens);
    policy->Commit();
  }

  EXPECT_THAT(policy->widths(), ElementsAreArray({4, 4, 3, 3, 3, 3, 3, 3}));
}

TEST(AmaqPolicyTest, AdamMovesTheMeanToTheTarget) {
  for (const GateGradient gradient : {GateGradient::kSte, GateGradient::kFisher}) {
    WidthConfig config = Config(3, 60);
    config.update = GateUpdate::kAdam;
    config.gradient = gradient;
    const auto policy = MakeWidthPolicy(config, kChannels);
    EXPECT_EQ(policy->wants_error_dot(), gradient == GateGradient::kSte);

    // A task gradient well below the penalty's beta / H, as in real runs.
    std::vector<double> curvature = Sensitivities(5);
    for (double& value : curvature) value *= 1e-6;
    Train(policy.get(), curvature, 59);

    EXPECT_NEAR(policy->Report().mean_bits, 3, 0.5);
    Train(policy.get(), curvature, 1);
    EXPECT_EQ(policy->phase(), PolicyPhase::kFrozen);
    EXPECT_EQ(policy->Report().mean_bits, 3);
  }
}

TEST(AmaqPolicyTest, AdamHoldsUpWhereTheTaskGradientIsLarge) {
  WidthConfig config = Config(3, 60);
  config.update = GateUpdate::kAdam;
  config.gradient = GateGradient::kFisher;
  config.freeze = GateFreeze::kGate;
  const auto policy = MakeWidthPolicy(config, kChannels);
  std::vector<double> curvature(kChannels, 1e-9);
  curvature[5] = 1e6;

  Train(policy.get(), curvature, 60);

  EXPECT_EQ(policy->widths()[5], 8);
  EXPECT_EQ(policy->Report().mean_bits, 3);
}

// Mean width one step before the freeze, when the projection has not yet corrected it.
double MeanBeforeTheFreeze(GatePenalty penalty, double task_scale, double beta = 1) {
  WidthConfig config = Config(3, 150);
  config.update = GateUpdate::kAdam;
  config.gradient = GateGradient::kFisher;
  config.penalty = penalty;
  config.penalty_beta = beta;
  const auto policy = MakeWidthPolicy(config, kChannels);
  std::vector<double> curvature = Sensitivities(5);
  for (double& value : curvature) value *= task_scale;
  Train(policy.get(), curvature, 149);
  return policy->Report().mean_bits;
}

TEST(AmaqPolicyTest, TheHingeStopsAtTheTargetAndTheMeanDoesNot) {
  EXPECT_NEAR(MeanBeforeTheFreeze(GatePenalty::kHinge, 1e-6), 3, 0.5);
  EXPECT_LT(MeanBeforeTheFreeze(GatePenalty::kMean, 1e-6), 2.2);
  EXPECT_GT(MeanBeforeTheFreeze(GatePenalty::kMean, 1e6), 6);
}

TEST(AmaqPolicyTest, TheDualPenaltyFindsItsWeightWhateverTheTasksScale) {
  for (const double scale : {1e-3, 1.0, 1e3}) {
    EXPECT_NEAR(MeanBeforeTheFreeze(GatePenalty::kDual, scale), 3, 0.5) << scale;
  }
  EXPECT_GT(MeanBeforeTheFreeze(GatePenalty::kMean, 1e3, 1e-3), 3.5);  // its start, kept
}

TEST(AmaqPolicyTest, FreezingByTheGateAloneKeepsItsOrder) {
  WidthConfig config = Config(3.5);
  config.freeze = GateFreeze::kGate;
  const std::vector<double> curvature = Sensitivities(6);
  const auto policy = MakeWidthPolicy(config, kChannels);

  Train(policy.get(), curvature, 40);

  EXPECT_EQ(policy->Report().mean_bits, 3.5);
  EXPECT_GE(Correlation(ToDoubles(policy->widths()), WaterFilledWidths(curvature, 3.5)), 0.9);
}

TEST(AmaqPolicyTest, TheVersionRisesExactlyWhenTheWidthsChange) {
  const auto policy = MakeWidthPolicy(Config(3), kChannels);
  const std::vector<double> curvature = Sensitivities(7);
  uint64_t changes = 0;
  for (int step = 0; step < 50; ++step) {
    const std::vector<uint8_t> before(policy->widths().begin(), policy->widths().end());
    const uint64_t version = policy->version();
    Train(policy.get(), curvature, 1, static_cast<uint64_t>(step));
    const bool changed = !std::equal(before.begin(), before.end(), policy->widths().begin());
    EXPECT_EQ(policy->version(), version + (changed ? 1 : 0)) << "step " << step;
    changes += changed ? 1 : 0;
    if (step >= 40) {
      EXPECT_FALSE(changed);
    }
  }
  EXPECT_GT(changes, 5u);
}

TEST(AmaqPolicyTest, WidthsFallStepByStep) {
  const auto policy = MakeWidthPolicy(Config(3), kChannels);
  const std::vector<double> curvature = Sensitivities(8);
  double before = 8;
  for (int step = 0; step < 40; ++step) {
    Train(policy.get(), curvature, 1, static_cast<uint64_t>(step));
    const double mean = policy->Report().mean_bits;
    EXPECT_LE(mean, before + 0.1) << "step " << step;
    EXPECT_GE(mean, before - 1.0) << "step " << step;
    before = mean;
  }
}

TEST(AmaqPolicyTest, ADiscardedStepLeavesNoTrace) {
  const auto a = MakeWidthPolicy(Config(3), kChannels);
  const auto b = MakeWidthPolicy(Config(3), kChannels);
  Random random(9);
  a->Observe(Look(Sensitivities(10), a->widths(), &random), kLossTokens);
  a->Discard();

  Train(a.get(), Sensitivities(11), 20);
  Train(b.get(), Sensitivities(11), 20);

  EXPECT_EQ(a->State(), b->State());
}

TEST(AmaqPolicyTest, MicroBatchesOfAStepAddUp) {
  const auto a = MakeWidthPolicy(Config(3), 2);
  const auto b = MakeWidthPolicy(Config(3), 2);
  a->Observe({{2, 1}, {1, 3}, {}}, 5);  // c = 20, 15
  a->Observe({{1, 2}, {4, 1}, {}}, 5);  // c = 20, 20
  a->Commit();
  b->Observe({{1, 1}, {8, 7}, {}}, 5);  // c = 40, 35
  b->Commit();

  EXPECT_EQ(a->State().at("curvature"), (std::vector<float>{40, 35}));
  EXPECT_EQ(a->State(), b->State());
}

TEST(AmaqPolicyTest, StateHasWhatTheGateFileStores) {
  const auto policy = MakeWidthPolicy(Config(3), kChannels);
  Train(policy.get(), Sensitivities(12), 3);

  const auto state = policy->State();

  for (const char* name : {"Q", "bits", "curvature", "widths"}) {
    ASSERT_EQ(state.count(name), 1u) << name;
    EXPECT_EQ(state.at(name).size(), kChannels);
  }
  const WidthConfig config = Config(3);
  EXPECT_NEAR(BitsOfQ(config, state.at("Q")[0]), state.at("bits")[0], 1e-5);
}

}  // namespace
}  // namespace amaq::quant
