// GatherStats of cut.h against sums written out once more, in double.

#include <ATen/ops/zeros_like.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "tests/support/tensor_matchers.h"
#include "tests/support/tiny_model.h"
#include "train/cut.h"

namespace amaq::train {
namespace {

using test::NamedTensor;

constexpr size_t kStatsChannels = 7;
const std::vector<uint32_t> kStatsSegments = {0, 1, 30, 34, 90};
const std::vector<uint32_t> kStatsTargets = {10, 11, 12, 32, 40, 80};
// Rows up to the last supervised one of each segment, without its first: what is summed over.
std::set<uint32_t> SummedRows() {
  std::set<uint32_t> rows;
  for (uint32_t row = 2; row <= 12; ++row) rows.insert(row);
  for (uint32_t row = 31; row <= 32; ++row) rows.insert(row);
  for (uint32_t row = 35; row <= 80; ++row) rows.insert(row);
  return rows;
}

// One micro-batch's way over the cut and back.
struct StatsCase {
  explicit StatsCase(const CutOptions& cut,
                     std::vector<uint8_t> channel_widths = {2, 3, 4, 5, 6, 7, 8})
      : options(cut), widths(std::move(channel_widths)) {
    x = NamedTensor("x", 90, kStatsChannels, 3, at::kFloat);
    x.select(1, 2).fill_(1.5);  // a constant channel
    coded = CutCoder(options).EncodeActivation(x, kStatsSegments, widths, {}, KeepDecoded::kYes);
    plan = PlanGradientRows(kStatsSegments, kStatsTargets, options.sink_tokens);
    gradient_widths = GradientWidths(options, widths);
    const CodedTensor sent = CutCoder(options).EncodeGradient(
        NamedTensor("g", 90, kStatsChannels, 0.1, at::kFloat), plan, gradient_widths, {3, 0});
    gradient_sections = sent.sections;
    is_gradient_raw = sent.raw_dtype.has_value();
    gradient =
        CutCoder(options).DecodeGradient(sent.sections, sent.raw_dtype, plan, 90, gradient_widths,
                                         kStatsChannels, at::kCPU, at::kFloat);
  }
  quant::ChannelStats Gather(bool wants_error_dot = true) const {
    return GatherStats(options, {x, coded, widths, kStatsSegments, gradient, gradient_sections,
                                 gradient_widths, plan, wants_error_dot});
  }

  CutOptions options;
  std::vector<uint8_t> widths, gradient_widths;
  at::Tensor x, gradient;
  CodedTensor coded;
  GradientRows plan;
  std::vector<Section> gradient_sections;
  bool is_gradient_raw = false;
};

double At(const at::Tensor& x, uint32_t row, size_t channel) {
  return x[row][static_cast<int64_t>(channel)].item<double>();
}

// sum g^2 - N s^2 / share, not below zero.
std::vector<double> BruteForceEnergy(const StatsCase& c, double share) {
  const std::set<uint32_t> rows = SummedRows();
  std::vector<double> energy(kStatsChannels, 0);
  for (size_t channel = 0; channel < kStatsChannels; ++channel) {
    for (const uint32_t row : rows) energy[channel] += std::pow(At(c.gradient, row, channel), 2);
    if (c.is_gradient_raw) continue;
    const double step = quant::ReadRanges(c.gradient_sections, c.gradient_widths).step[channel];
    energy[channel] =
        std::max(0.0, energy[channel] - static_cast<double>(rows.size()) * step * step / share);
  }
  return energy;
}

void ExpectNear(const std::vector<double>& actual, const std::vector<double>& expected) {
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t c = 0; c < actual.size(); ++c) {
    EXPECT_NEAR(actual[c], expected[c], 1e-12 * (std::abs(expected[c]) + 1)) << "channel " << c;
  }
}

TEST(GatherStatsTest, EnergyIsTheGradientsSquaresWithoutTheNoiseOfStochasticRounding) {
  const StatsCase c{CutOptions{}};
  ASSERT_FALSE(c.is_gradient_raw);

  const quant::ChannelStats stats = c.Gather();

  ExpectNear(stats.gradient_energy, BruteForceEnergy(c, 6));
  EXPECT_GT(stats.gradient_energy[6], 0);
}

TEST(GatherStatsTest, EnergyLosesHalfAsMuchWhenRoundedToNearest) {
  CutOptions options;
  options.gradient_rounding = quant::Rounding::kNearestEven;
  const StatsCase c(options);

  ExpectNear(c.Gather().gradient_energy, BruteForceEnergy(c, 12));
}

// One step size for channels of different scale, at a rate where most values are below it.
TEST(GatherStatsTest, EnergyOfARateDistortionCodedGradientIsNearThatOfTheGradient) {
  constexpr int64_t kTokens = 4000;
  CutOptions options;
  options.gradient_rate = 1.6;
  const std::vector<uint32_t> segments = {0, kTokens};
  const GradientRows plan =
      PlanGradientRows(segments, std::vector<uint32_t>{kTokens - 1}, options.sink_tokens);
  at::Tensor g = NamedTensor("g", kTokens, kStatsChannels, 1, at::kFloat);
  g = g * g * g;  // heavy tails
  for (int64_t c = 0; c < 7; ++c) g.select(1, c).mul_(std::exp2(static_cast<double>(c - 3)));
  const CodedTensor sent = CutCoder(options).EncodeGradient(g, plan, {}, {0, 0});
  ASSERT_FALSE(sent.raw_dtype);
  const at::Tensor decoded = CutCoder(options).DecodeGradient(sent.sections, {}, plan, kTokens, {},
                                                              kStatsChannels, at::kCPU, at::kFloat);
  const CodedTensor raw{{}, DType::kBF16, {}};

  const quant::ChannelStats stats =
      GatherStats(options, {g, raw, {}, segments, decoded, sent.sections, {}, plan, false});

  for (int64_t c = 2; c < 7; ++c) {
    double energy = 0, with_noise = 0;
    for (uint32_t row = 1; row < kTokens; ++row) {
      energy += std::pow(At(g, row, static_cast<size_t>(c)), 2);
      with_noise += std::pow(At(decoded, row, static_cast<size_t>(c)), 2);
    }
    const double gathered = stats.gradient_energy[static_cast<size_t>(c)];
    EXPECT_LT(std::abs(gathered - energy), std::abs(with_noise - energy)) << "channel " << c;
    EXPECT_GT(gathered, 0) << "channel " << c;
  }
}

TEST(GatherStatsTest, EnergyOfARawGradientIsItsSquares) {
  const StatsCase c(CutOptions{}, {});
  ASSERT_TRUE(c.is_gradient_raw);

  ExpectNear(c.Gather().gradient_energy, BruteForceEnergy(c, 6));
}

TEST(GatherStatsTest, EnergyIsNeverNegative) {
  StatsCase c{CutOptions{}};
  c.gradient = at::zeros_like(c.gradient);  // less than its own rounding noise

  for (const double energy : c.Gather().gradient_energy) EXPECT_EQ(energy, 0);
}

TEST(GatherStatsTest, ErrorDotIsTheGradientTimesTheErrorOfTheCodedRows) {
  const StatsCase c{CutOptions{}};
  const at::Tensor decoded =
      CutCoder(c.options).DecodeActivation(c.coded.sections, c.coded.raw_dtype, kStatsSegments,
                                           c.widths, kStatsChannels, at::kCPU, at::kFloat);
  std::vector<double> expected(kStatsChannels, 0);
  for (const uint32_t row : SummedRows()) {
    for (size_t channel = 0; channel < kStatsChannels; ++channel) {
      expected[channel] +=
          At(c.gradient, row, channel) * (At(decoded, row, channel) - At(c.x, row, channel));
    }
  }

  const quant::ChannelStats stats = c.Gather();

  ASSERT_EQ(stats.error_dot.size(), kStatsChannels);
  for (size_t channel = 0; channel < kStatsChannels; ++channel) {
    EXPECT_NEAR(stats.error_dot[channel], expected[channel], 1e-13) << channel;
  }
  EXPECT_GT(std::abs(expected[0]), 1e-3) << "or the comparison means nothing";
  EXPECT_EQ(stats.error_dot[2], 0) << "a constant channel has no error";
}

TEST(GatherStatsTest, ErrorDotIsEmptyUnlessAskedForAndZeroForARawTensor) {
  const StatsCase coded{CutOptions{}};
  const StatsCase raw(CutOptions{}, {});

  EXPECT_TRUE(coded.Gather(false).error_dot.empty());
  EXPECT_EQ(raw.Gather().error_dot, std::vector<double>(kStatsChannels, 0));
}

TEST(GatherStatsTest, RangesAreThoseSentOrThoseOfTheRawTensorWithoutItsSinks) {
  const StatsCase coded{CutOptions{}};
  StatsCase raw(CutOptions{}, {});
  for (const uint32_t sink : SinkRows(kStatsSegments, 1)) raw.x[sink].mul_(1000);

  const std::vector<double> sent = coded.Gather().range;
  const std::vector<double> measured = raw.Gather().range;

  const quant::DecodedRanges ranges = quant::ReadRanges(coded.coded.sections, coded.widths);
  for (size_t channel = 0; channel < kStatsChannels; ++channel) {
    float low = INFINITY;
    float high = -INFINITY;
    for (uint32_t row = 2; row < 90; ++row) {
      if (row == 30 || row == 34) continue;
      low = std::min(low, static_cast<float>(At(raw.x, row, channel)));
      high = std::max(high, static_cast<float>(At(raw.x, row, channel)));
    }
    EXPECT_EQ(measured[channel], static_cast<double>(high) - low) << channel;
    EXPECT_EQ(sent[channel], ranges.step[channel] * (std::exp2(coded.widths[channel]) - 1));
    // lo rounded down to bf16 and the step up: at most 2^-7 of each more than the true range.
    EXPECT_GE(sent[channel], measured[channel]) << channel;
    EXPECT_LE(sent[channel], measured[channel] * (1 + 0x1p-7) + 0x1p-6 * std::abs(low)) << channel;
  }
  EXPECT_EQ(measured[2], 0);
  EXPECT_EQ(sent[2], 0);
}

TEST(GatherStatsTest, WithoutCodedRowsEverySumIsZero) {
  const std::vector<uint32_t> segments = {0, 1, 2};  // sinks alone
  const at::Tensor x = NamedTensor("x", 2, kStatsChannels, 3, at::kFloat);
  const CodedTensor coded = CutCoder({}).EncodeActivation(x, segments, {}, {}, KeepDecoded::kYes);
  const GradientRows plan = PlanGradientRows(segments, std::vector<uint32_t>{0, 1}, 1);
  const CodedTensor gradient = CutCoder({}).EncodeGradient(x, plan, {}, {0, 0});

  const quant::ChannelStats stats =
      GatherStats({}, {x, coded, {}, segments, x, gradient.sections, {}, plan, true});

  const std::vector<double> zeros(kStatsChannels, 0);
  EXPECT_EQ(stats.range, zeros);
  EXPECT_EQ(stats.gradient_energy, zeros);
  EXPECT_EQ(stats.error_dot, zeros);
}

}  // namespace
}  // namespace amaq::train
