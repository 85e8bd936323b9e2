// The rate-distortion coder: what comes back, what it costs, what both ends know.

#include "quant/rd.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "quant/codec.h"
#include "quant/rd_format.h"
#include "tests/quant/rd_samples.h"

namespace amaq::quant {
namespace {

using ::testing::HasSubstr;

constexpr size_t kChannels = 96;

TEST(Rd, ErrorIsBelowOneStepWhenRoundedStochastically) {
  RdSource source(1, kChannels, Shape::kLaplace);
  for (const int32_t index : {-100, -31, 0, 17}) {
    const std::vector<float> y = source.Next(400);
    RdEnds ends(kChannels);
    const RdOptions options = Stochastic(y, index, 7);
    const auto sent = ends.Send(y, options, {});
    const float step = options.step.value();
    for (size_t i = 0; i < y.size(); ++i) {
      ASSERT_LE(std::fabs(sent.decoded[i] - y[i]), 1.0001f * step + 1e-6f * std::fabs(y[i]));
    }
  }
}

TEST(Rd, ErrorWithinTheDeadZoneIsTheValueAndElseBelowOneStep) {
  RdSource source(2, kChannels, Shape::kGauss);
  const std::vector<float> y = source.Next(400);
  RdEnds ends(kChannels);
  const RdOptions options = DeadZone(5);
  const auto sent = ends.Send(y, options, {});
  const float step = options.step.value();
  size_t zeros = 0;
  for (size_t i = 0; i < y.size(); ++i) {
    if (std::fabs(y[i]) < 0.6499f * step) {
      ASSERT_EQ(sent.decoded[i], 0);
      ++zeros;
    } else {
      ASSERT_LE(std::fabs(sent.decoded[i] - y[i]), step);
    }
  }
  EXPECT_GT(zeros, y.size() / 10);
}

TEST(Rd, StochasticRoundingHasNoBias) {
  const size_t rows = 20000;
  std::vector<float> y(rows * 2);
  for (size_t r = 0; r < rows; ++r) {
    y[2 * r] = 0.3f;
    y[2 * r + 1] = -0.2f;
  }
  RdEnds ends(2);
  RdOptions options = DeadZone(0);
  options.rounding = Rounding::kStochastic;
  options.rounding_key = 3;
  const auto sent = ends.Send(y, options, {});
  double first = 0, second = 0;
  for (size_t r = 0; r < rows; ++r) {
    first += sent.decoded[2 * r];
    second += sent.decoded[2 * r + 1];
  }
  EXPECT_NEAR(first / rows, 0.3, 0.015);
  EXPECT_NEAR(second / rows, -0.2, 0.015);
}

TEST(Rd, CentroidsLowerTheError) {
  RdSource source(4, kChannels, Shape::kLaplace);
  const std::vector<float> y = source.Next(600);
  RdEnds ends(kChannels);
  const RdOptions options = DeadZone(8);
  const auto sent = ends.Send(y, options, {});
  const float step = options.step.value();
  double with = 0, without = 0;
  for (size_t i = 0; i < y.size(); ++i) {
    const double plain = std::rint(sent.decoded[i] / step) * step;
    with += std::pow(sent.decoded[i] - y[i], 2);
    without += std::pow(plain - y[i], 2);
  }
  EXPECT_LT(with, 0.97 * without);
}

TEST(Rd, SizeIsNearTheEntropyOfClassesAndRows) {
  for (const Shape shape : {Shape::kLaplace, Shape::kGauss}) {
    RdSource source(5, 2 * kChannels, shape);
    RdEnds ends(2 * kChannels);
    double bits = 0, entropy = 0;
    for (uint64_t step = 0; step < 12; ++step) {
      const std::vector<float> y = source.Next(500);
      const auto sent = ends.Send(y, Stochastic(y, 10, step), {step, 0, 0});
      ends.Keep(step + 1);
      if (step < 2) continue;
      bits += BitsOf(sent.coded.sections);
      entropy += EntropyBits(sent.coded.counts);
    }
    EXPECT_LT(bits, 1.05 * entropy);
    EXPECT_GE(bits, 0.999 * entropy);
  }
}

// The negative control: with a model that never learns the same messages are larger.
TEST(Rd, WhatWasKeptMakesMessagesSmaller) {
  RdSource source(6, kChannels, Shape::kLaplace);
  RdEnds learning(kChannels), forgetful(kChannels);
  double learned = 0, forgot = 0;
  for (uint64_t step = 0; step < 6; ++step) {
    const std::vector<float> y = source.Next(500);
    learned += BitsOf(learning.Send(y, Stochastic(y, 8, step), {step, 0, 0}).coded.sections);
    forgot += BitsOf(forgetful.Send(y, Stochastic(y, 8, step), {step, 0, 0}).coded.sections);
    learning.Keep(step + 1);
    forgetful.TakeBack(step);
  }
  EXPECT_LT(learned, 0.99 * forgot);
  EXPECT_EQ(forgetful.sender.generation(), 0u);
}

TEST(Rd, EndsStayEqualOverHundredsOfStepsWithAbortedAndSkippedOnes) {
  RdSource source(7, 24, Shape::kLaplace);
  Random random(8);
  RdEnds ends(24), undisturbed(24);
  int32_t index = 0;
  uint32_t attempt = 0;
  for (uint64_t step = 0; step < 300;) {
    index += static_cast<int32_t>(random.Below(5)) - 2;
    const std::vector<float> first = source.Next(1 + random.Below(40));
    const std::vector<float> second = source.Next(1 + random.Below(40));
    ends.Send(first, Stochastic(first, index, step), {step, attempt, 0});
    ends.Send(second, DeadZone(index - 3), {step, attempt, 1});
    if (random.Below(4) == 0) {
      ends.TakeBack(step);
      ++attempt;
      if (random.Below(2) == 0) continue;  // aborted, else skipped
    } else {
      undisturbed.Send(first, Stochastic(first, index, step), {step, 0, 0});
      undisturbed.Send(second, DeadZone(index - 3), {step, 0, 1});
      ends.Keep(step + 1);
      undisturbed.Keep(step + 1);
    }
    ASSERT_EQ(ends.sender.Digest(), ends.receiver.Digest()) << "step " << step;
    ASSERT_EQ(ends.sender.Digest(), undisturbed.sender.Digest()) << "step " << step;
    ++step;
    attempt = 0;
  }
  EXPECT_GT(ends.sender.generation(), 150u);
}

TEST(Rd, MessagesThatAreNotAddedChangeNothing) {
  RdSource source(9, kChannels, Shape::kGauss);
  RdEnds ends(kChannels);
  const std::vector<float> y = source.Next(50);
  ends.Send(y, DeadZone(0), {0, 0, 0});
  ends.Keep(1);
  const uint64_t before = ends.sender.Digest();

  const RdEncoded coded = RdEncode(y, DeadZone(3), ends.sender, {}).value();
  std::vector<float> out(y.size());
  RdDecode(coded.sections, ends.receiver, out);

  EXPECT_EQ(ends.sender.Digest(), before);
  EXPECT_EQ(ends.receiver.Digest(), before);
}

TEST(Rd, OneTokenCostsLittleMoreThanItsShareOfALargeMessage) {
  RdSource source(10, 576, Shape::kLaplace);
  RdEnds ends(576);
  for (uint64_t step = 0; step < 4; ++step) {
    ends.Send(source.Next(300), DeadZone(24), {step, 0, 0});
    ends.Keep(step + 1);
  }
  const std::vector<float> large = source.Next(300);
  const double a_row = BitsOf(ends.Send(large, DeadZone(24), {4, 0, 0}).coded.sections) / 300;

  double one_row = 0;
  for (int i = 0; i < 30; ++i) {
    const std::vector<float> y = source.Next(1);
    one_row += BitsOf(ends.Send(y, DeadZone(24), {4, 0, 1}).coded.sections) / 30;
  }

  EXPECT_LT(one_row, 1.2 * a_row + 8 * 24);
}

TEST(Rd, MatricesWithoutRowsOrOfOneElementComeBack) {
  RdEnds ends(1);
  EXPECT_LE(BytesOf(ends.Send({}, DeadZone(0), {0, 0, 0}).coded.sections), 19u);
  const auto sent = ends.Send({3.0f}, DeadZone(0), {0, 0, 1});
  EXPECT_EQ(sent.decoded, std::vector<float>{3.0f});
  ends.Keep(1);
  EXPECT_EQ(ends.Send({-0.0f}, DeadZone(0), {1, 0, 0}).decoded, std::vector<float>{0.0f});
  EXPECT_EQ(ends.sender.Digest(), ends.receiver.Digest());
}

TEST(Rd, EscapesAndTablesWithLowBitsComeBackExactly) {
  const size_t channels = 8;
  RdEnds ends(channels);
  Random random(11);
  std::vector<float> y;
  for (size_t r = 0; r < 300; ++r) {
    for (size_t c = 0; c < channels; ++c) {
      y.push_back(
          static_cast<float>(std::rint(std::exp2(2.0 * static_cast<double>(c)) * random.Normal())));
    }
  }
  y[3] = kRdLargest - 1;
  y[4] = -(kRdLargest - 1);
  y[8] = 200;  // far above the scale of its channel
  y[16] = -9000;
  RdOptions options = DeadZone(0);
  options.dead_zone = 0;
  for (uint64_t step = 0; step < 3; ++step) {
    EXPECT_EQ(ends.Send(y, options, {step, 0, 0}).decoded, y);
    ends.Keep(step + 1);
  }
}

TEST(Rd, BytesAreTheSameAgain) {
  RdSource source(12, kChannels, Shape::kLaplace);
  const std::vector<float> y = source.Next(500);
  const RdModel model(kChannels);
  const auto a = RdEncode(y, Stochastic(y, 4, 1), model, {}).value();
  const auto b = RdEncode(y, Stochastic(y, 4, 1), model, {}).value();
  ASSERT_EQ(a.sections.size(), b.sections.size());
  for (size_t i = 0; i < a.sections.size(); ++i)
    EXPECT_EQ(a.sections[i].bytes, b.sections[i].bytes);
  const auto other = RdEncode(y, Stochastic(y, 4, 2), model, {}).value();
  EXPECT_NE(a.sections.back().bytes, other.sections.back().bytes);
}

TEST(Rd, WhatCannotBeCodedIsRefusedOrHandedBack) {
  const RdModel model(4);
  const std::vector<float> large(8, 1e9f);
  EXPECT_FALSE(RdEncode(large, DeadZone(0), model, {}).has_value());
  EXPECT_TRUE(std::isinf(RdEstimateBits(large, DeadZone(0), model)));

  std::vector<float> broken(8, 1.0f);
  broken[6] = NAN;
  try {
    RdEncode(broken, DeadZone(0), model, {});
    FAIL();
  } catch (const NonFiniteError& error) {
    EXPECT_EQ(error.row(), 1u);
    EXPECT_EQ(error.channel(), 2u);
  }
  const std::vector<float> odd(7, 1.0f);
  EXPECT_ERROR(RdEncode(odd, DeadZone(0), model, {}), Code::kInvalidArgument, "no rows of 4");
  RdOptions options = DeadZone(kRdLargestIndex + 1);
  EXPECT_ERROR(RdEncode(broken, options, model, {}), Code::kInvalidArgument, "index 641");
}

TEST(Rd, AModelFromAStateIsThatModel) {
  RdSource source(15, kChannels, Shape::kLaplace);
  RdEnds ends(kChannels);
  for (uint64_t step = 0; step < 3; ++step) {
    ends.Send(source.Next(400), DeadZone(-5), {step, 0, 0});
    ends.Keep(step + 1);
  }
  const RdModel model = RdModel::FromState(ends.sender.State(), kChannels);
  const std::vector<float> y = source.Next(300);
  EXPECT_EQ(model.Digest(), ends.sender.Digest());
  EXPECT_EQ(RdEncode(y, DeadZone(2), model, {}).value().sections.back().bytes,
            RdEncode(y, DeadZone(2), ends.sender, {}).value().sections.back().bytes);
  EXPECT_NE(RdModel(kChannels).Digest(), model.Digest());
}

TEST(Rd, BytesThatAreNoStateAreRefused) {
  const Bytes state = RdModel(3).State();
  EXPECT_EQ(RdModel::FromState(state, 3).Digest(), RdModel(3).Digest());
  EXPECT_ERROR(RdModel::FromState(state, 2), Code::kDataLoss, "too many");
  EXPECT_ERROR(RdModel::FromState(state, 4), Code::kDataLoss, "ends early");
  Bytes index = state;
  index[5] = 3;  // 768
  EXPECT_ERROR(RdModel::FromState(index, 3), Code::kDataLoss, "step index");
  Bytes sum = state;
  sum[8 + 8 + 4] = 1;  // the first channel's scale is 2^32
  EXPECT_ERROR(RdModel::FromState(sum, 3), Code::kDataLoss, "4294967296");
}

TEST(Rd, EstimateIsWithinAFewPercentOfTheSize) {
  RdSource source(13, kChannels, Shape::kLaplace);
  RdEnds ends(kChannels);
  for (uint64_t step = 0; step < 4; ++step) {
    const std::vector<float> y = source.Next(500);
    const RdOptions options = Stochastic(y, 40 - 20 * static_cast<int32_t>(step), step);
    const double estimate = RdEstimateBits(y, options, ends.sender);
    const double bits = BitsOf(ends.Send(y, options, {step, 0, 0}).coded.sections);
    EXPECT_NEAR(estimate / bits, 1, 0.03);
    ends.Keep(step + 1);
  }
}

TEST(Rd, SolvedIndexIsTheSmallestThatFits) {
  RdSource source(14, kChannels, Shape::kLaplace);
  const std::vector<float> y = source.Next(200);
  const RdModel model(kChannels);
  RdOptions options = Stochastic(y, 0, 1);
  const double bits = 1.5 * static_cast<double>(y.size());
  options.step.index = RdSolveIndex(y, options, model, bits);
  EXPECT_LE(RdEstimateBits(y, options, model), bits);
  --options.step.index;
  EXPECT_GT(RdEstimateBits(y, options, model), bits);
}

}  // namespace
}  // namespace amaq::quant
