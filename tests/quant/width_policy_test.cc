// The plain methods, the bad configurations, and what holds for every method.

#include "quant/width_policy.h"

#include <cmath>
#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "quant/gate.h"
#include "tests/quant/samples.h"

namespace amaq::quant {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

ChannelStats Stats(std::vector<double> range, std::vector<double> energy,
                   std::vector<double> dot = {}) {
  return {std::move(range), std::move(energy), std::move(dot)};
}

TEST(WidthPolicyTest, MethodNamesParseBack) {
  for (const char* name : {"none", "fixed", "linear", "waterfill", "group", "aqsgd", "tahquant",
                           "amaq", "amaq-delta"}) {
    ASSERT_TRUE(ParseMethod(name).has_value()) << name;
    EXPECT_EQ(MethodName(*ParseMethod(name)), name);
  }
  EXPECT_FALSE(ParseMethod("Fixed").has_value());
}

TEST(WidthPolicyTest, NoneStaysRawForEver) {
  const auto policy = MakeWidthPolicy({.method = Method::kNone}, 4);
  policy->Commit();

  EXPECT_THAT(policy->widths(), IsEmpty());
  EXPECT_EQ(policy->version(), 0u);
  EXPECT_EQ(policy->phase(), PolicyPhase::kRaw);
  EXPECT_FALSE(policy->wants_stats());
}

TEST(WidthPolicyTest, FixedIsOneWidthAndOneVersion) {
  const auto policy = MakeWidthPolicy({.method = Method::kFixed, .bits = 5}, 3);
  policy->Commit();

  EXPECT_THAT(policy->widths(), ElementsAre(5, 5, 5));
  EXPECT_EQ(policy->version(), 1u);
  EXPECT_EQ(policy->phase(), PolicyPhase::kFrozen);
  EXPECT_EQ(policy->Report().mean_bits, 5);
  EXPECT_THAT(policy->Report().histogram, ElementsAre(0, 0, 0, 0, 0, 3, 0, 0, 0));
}

TEST(WidthPolicyTest, LinearFallsFromEightToTheTargetInAdaptSteps) {
  const auto policy =
      MakeWidthPolicy({.method = Method::kLinear, .target_bits = 3, .adapt_steps = 10}, 2);
  std::vector<int> widths;
  std::vector<uint64_t> versions;
  for (int step = 0; step < 13; ++step) {
    EXPECT_EQ(policy->phase(), step < 10 ? PolicyPhase::kAdapting : PolicyPhase::kFrozen);
    widths.push_back(policy->widths()[0]);
    versions.push_back(policy->version());
    policy->Commit();
  }

  // 8 - step / 2, half to even
  EXPECT_THAT(widths, ElementsAre(8, 8, 7, 6, 6, 6, 5, 4, 4, 4, 3, 3, 3));
  EXPECT_THAT(versions, ElementsAre(1, 1, 2, 3, 3, 3, 4, 5, 5, 5, 6, 6, 6));
}

TEST(WidthPolicyTest, WaterfillIsRawUntilItsCalibrationEnds) {
  const auto policy = MakeWidthPolicy({.method = Method::kWaterfill, .target_bits = 4}, 4);
  EXPECT_EQ(policy->phase(), PolicyPhase::kCalibrating);
  EXPECT_THAT(policy->widths(), IsEmpty());
  EXPECT_EQ(policy->version(), 0u);
  EXPECT_EQ(policy->calibration_micro_batches(), 2u);
  EXPECT_TRUE(policy->wants_stats());

  policy->Observe(Stats({1, 1, 1, 1}, {1, 8, 64, 512}), 10);
  EXPECT_EQ(policy->calibration_micro_batches(), 1u);
  policy->Observe(Stats({1, 1, 1, 1}, {1, 8, 64, 512}), 10);
  EXPECT_EQ(policy->calibration_micro_batches(), 0u);
  policy->FinishCalibration();

  EXPECT_EQ(policy->phase(), PolicyPhase::kFrozen);
  EXPECT_EQ(policy->version(), 1u);
  EXPECT_FALSE(policy->wants_stats());
  EXPECT_EQ(policy->Report().mean_bits, 4);
  EXPECT_GT(policy->Report().correlation, 0.95);
  const std::vector<uint8_t> greedy =
      FitToBudget({2, 2, 2, 2}, std::vector<double>{1, 8, 64, 512}, 4, 2, 8);
  EXPECT_THAT(policy->widths(), ::testing::ElementsAreArray(greedy));
  EXPECT_LT(policy->widths()[0], policy->widths()[3]);
}

TEST(WidthPolicyTest, WaterfillWeighsTheRangeSquared) {
  const auto policy = MakeWidthPolicy({.method = Method::kWaterfill, .target_bits = 4}, 2);
  policy->Observe(Stats({16, 1}, {1, 16}), 10);  // c = 256 and 16
  policy->FinishCalibration();

  EXPECT_GT(policy->widths()[0], policy->widths()[1]);
}

// Positions: the first has many elements, the last was never seen.
TEST(WidthPolicyTest, WaterfillHoldsTheMeanOfElementsAndGivesTheUnseenTheTarget) {
  const auto policy = MakeWidthPolicy({.method = Method::kWaterfill, .target_bits = 3.5}, 4);
  ChannelStats stats = Stats({1, 1, 1, 0}, {100, 1, 1, 0});
  stats.weight = {6, 1, 1, 0};
  policy->Observe(stats, 1);

  policy->FinishCalibration();

  const std::span<const uint8_t> widths = policy->widths();
  EXPECT_EQ(widths[3], 3);
  const double mean = (6.0 * widths[0] + widths[1] + widths[2]) / 8;
  EXPECT_LE(mean, 3.5);
  EXPECT_GT(widths[0], widths[1]);
  EXPECT_EQ(policy->Report().mean_bits, mean);
}

TEST(WidthPolicyTest, WaterfillWithoutCalibrationIsRefused) {
  const auto policy = MakeWidthPolicy({.method = Method::kWaterfill}, 4);
  policy->Observe(Stats({1, 1, 1, 1}, {1, 1, 1, 1}), 10);
  policy->Discard();

  EXPECT_ERROR(policy->FinishCalibration(), Code::kFailedPrecondition, "waterfill");
  EXPECT_EQ(policy->version(), 0u);
}

TEST(WidthPolicyTest, StatsOfTheWrongShapeOrNotFiniteAreRefused) {
  WidthConfig config{.adapt_steps = 5, .update = GateUpdate::kAdam};
  const auto policy = MakeWidthPolicy(config, 2);
  const double nan = std::numeric_limits<double>::quiet_NaN();

  EXPECT_ERROR(policy->Observe(Stats({1}, {1, 1}, {0, 0}), 1), Code::kInvalidArgument, "range");
  EXPECT_ERROR(policy->Observe(Stats({1, 1}, {1, nan}, {0, 0}), 1), Code::kInvalidArgument,
               "gradient_energy of channel 1");
  EXPECT_ERROR(policy->Observe(Stats({1, -1}, {1, 1}, {0, 0}), 1), Code::kInvalidArgument,
               "range of channel 1");
  EXPECT_ERROR(policy->Observe(Stats({1, 1}, {1, 1}), 1), Code::kInvalidArgument, "error_dot");
  EXPECT_ERROR(policy->Observe(Stats({1, 1}, {1, 1}, {nan, 0}), 1), Code::kInvalidArgument,
               "error_dot of channel 0");
}

TEST(WidthPolicyTest, ConfigurationsThatMakeNoSenseAreRefusedByName) {
  const auto expect_refused = [](const WidthConfig& config, const char* text) {
    EXPECT_ERROR(MakeWidthPolicy(config, 8), Code::kInvalidArgument, text);
  };
  expect_refused({.method = Method::kFixed, .bits = 1}, "bits must be in [2, 8], got 1");
  expect_refused({.method = Method::kFixed, .bits = 9}, "got 9");
  expect_refused({.adapt_steps = 0}, "adapt_steps");
  expect_refused({.method = Method::kLinear, .adapt_steps = 0}, "adapt_steps");
  expect_refused({.target_bits = 2, .adapt_steps = 9}, "target_bits must be above b_min");
  expect_refused({.target_bits = 7.8, .adapt_steps = 9}, "not above b_start");
  expect_refused({.target_bits = 1.5, .adapt_steps = 9}, "target_bits");
  expect_refused({.b_start = 8, .adapt_steps = 9}, "b_start");
  expect_refused({.b_start = 8.5, .adapt_steps = 9}, "b_start");
  expect_refused({.b_min = 0.5, .adapt_steps = 9}, "b_min");
  expect_refused({.b_max = 9, .adapt_steps = 9}, "b_max");
  expect_refused({.b_min = 3.2, .b_max = 3.8, .adapt_steps = 9}, "whole number");
  expect_refused({.adapt_steps = 9, .alpha = 0}, "alpha");
  expect_refused({.adapt_steps = 9, .penalty_beta = -1}, "penalty_beta");
  expect_refused({.target_bits = std::numeric_limits<double>::quiet_NaN(), .adapt_steps = 9},
                 "target_bits");
  EXPECT_ERROR(MakeWidthPolicy({.adapt_steps = 9}, 0), Code::kInvalidArgument, "channel");
}

}  // namespace
}  // namespace amaq::quant
