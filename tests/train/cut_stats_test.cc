// ObserveGradient of cut.h against sums written out once more, in double.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "quant/range_modes.h"
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

CutOptions WithRange(quant::Range range) {
  CutOptions options;
  options.range = range;
  options.range_percentile = 80;
  options.range_margin = 1;
  options.range_max_clipped = 1;
  return options;
}

// With tails, so that clipping serves.
at::Tensor StatsActivation(double scale = 3) {
  const at::Tensor uniform = NamedTensor("x", 90, kStatsChannels, 1, at::kFloat);
  at::Tensor x = uniform * uniform * uniform * scale;
  x.select(1, 2).fill_(1.5);  // a constant channel
  return x;
}

// One micro-batch's way over the cut and back.
struct StatsCase {
  explicit StatsCase(const CutOptions& cut,
                     std::vector<uint8_t> channel_widths = {2, 3, 4, 5, 6, 7, 8})
      : options(cut), widths(std::move(channel_widths)), coder(cut) {
    x = StatsActivation();
    // A step with a narrower activation, so that `delayed` has something to go by.
    coder.EncodeActivation(StatsActivation(2), kStatsSegments, widths, Samples(0));
    coder.KeepSteps(1);
    coded = coder.EncodeActivation(x, kStatsSegments, widths, Samples(1), KeepDecoded::kYes);
    plan = PlanGradientRows(kStatsSegments, kStatsTargets, options.sink_tokens);
    gradient_widths = GradientWidths(options, widths);
    CodedTensor sent = coder.EncodeGradient(NamedTensor("g", 90, kStatsChannels, 0.1, at::kFloat),
                                            plan, gradient_widths, {3, 0});
    TakeGradient(std::move(sent));
  }
  void TakeGradient(CodedTensor sent) {
    gradient_sections = std::move(sent.sections);
    gradient_raw_dtype = sent.raw_dtype;
    gradient = coder.DecodeGradient(gradient_sections, gradient_raw_dtype, plan, 90,
                                    gradient_widths, kStatsChannels, at::kCPU, at::kFloat);
  }
  quant::SampleContext Samples(uint64_t step) const { return {kStatsSegments, keys, {step, 0, 0}}; }
  ObservedGradient Observe(bool wants_error_dot = true) {
    return coder.ObserveGradient({gradient_sections, gradient_raw_dtype, gradient_widths, plan},
                                 {x, coded, widths, kStatsSegments}, wants_error_dot, at::kCPU,
                                 at::kFloat);
  }
  quant::ChannelStats Gather(bool wants_error_dot = true) { return Observe(wants_error_dot).stats; }

  CutOptions options;
  std::vector<uint8_t> widths, gradient_widths;
  CutCoder coder;
  const std::vector<uint64_t> keys = {11, 12, 13, 14};
  at::Tensor x, gradient;
  CodedTensor coded;
  GradientRows plan;
  std::vector<Section> gradient_sections;
  std::optional<DType> gradient_raw_dtype;
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
    if (c.gradient_raw_dtype) continue;
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

TEST(ObserveGradientTest, EnergyIsTheGradientsSquaresWithoutTheNoiseOfStochasticRounding) {
  StatsCase c{CutOptions{}};
  ASSERT_FALSE(c.gradient_raw_dtype);

  const quant::ChannelStats stats = c.Gather();

  ExpectNear(stats.gradient_energy, BruteForceEnergy(c, 6));
  EXPECT_GT(stats.gradient_energy[6], 0);
}

TEST(ObserveGradientTest, EnergyLosesHalfAsMuchWhenRoundedToNearest) {
  CutOptions options;
  options.gradient_rounding = quant::Rounding::kNearestEven;
  StatsCase c(options);

  ExpectNear(c.Gather().gradient_energy, BruteForceEnergy(c, 12));
}

// One step size for channels of different scale, at a rate where most values are below it.
TEST(ObserveGradientTest, EnergyOfARateDistortionCodedGradientIsNearThatOfTheGradient) {
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
  const CodedTensor raw{{}, DType::kBF16, {}};

  const ObservedGradient observed = CutCoder(options).ObserveGradient(
      {sent.sections, {}, {}, plan}, {g, raw, {}, segments}, false, at::kCPU, at::kFloat);

  for (int64_t c = 2; c < 7; ++c) {
    double energy = 0, with_noise = 0;
    for (uint32_t row = 1; row < kTokens; ++row) {
      energy += std::pow(At(g, row, static_cast<size_t>(c)), 2);
      with_noise += std::pow(At(observed.gradient, row, static_cast<size_t>(c)), 2);
    }
    const double gathered = observed.stats.gradient_energy[static_cast<size_t>(c)];
    EXPECT_LT(std::abs(gathered - energy), std::abs(with_noise - energy)) << "channel " << c;
    EXPECT_GT(gathered, 0) << "channel " << c;
  }
}

TEST(ObserveGradientTest, EnergyOfARateDistortionCodedGradientRoundedToNearestIsItsSquares) {
  CutOptions options;
  options.gradient_rate = 1.6;
  options.gradient_rounding = quant::Rounding::kNearestEven;
  const StatsCase c(options);
  ASSERT_FALSE(c.gradient_raw_dtype);

  std::vector<double> expected(kStatsChannels, 0);
  for (size_t channel = 0; channel < kStatsChannels; ++channel) {
    for (const uint32_t row : SummedRows())
      expected[channel] += std::pow(At(c.gradient, row, channel), 2);
  }
  StatsCase observed(options);
  ExpectNear(observed.Gather(false).gradient_energy, expected);
}

// What the gate learns does not depend on a section that does not belong there.
TEST(ObserveGradientTest, AStraySectionOfRateDistortionCodesChangesNothing) {
  StatsCase plain{CutOptions{}}, stray{CutOptions{}};
  stray.gradient_sections.push_back({SectionKind::kRdCodes, Bytes(6, 0x7f)});
  EXPECT_EQ(stray.Gather().gradient_energy, plain.Gather().gradient_energy);
}

TEST(ObserveGradientTest, EnergyOfARawGradientIsItsSquares) {
  StatsCase c(CutOptions{}, {});
  ASSERT_TRUE(c.gradient_raw_dtype);

  ExpectNear(c.Gather().gradient_energy, BruteForceEnergy(c, 6));
}

TEST(ObserveGradientTest, EnergyIsNeverNegative) {
  StatsCase c{CutOptions{}};
  // Values of one step and of none, which are then sent as none: less than their rounding noise.
  CodedTensor sent = c.coder.EncodeGradient(
      NamedTensor("g", 90, kStatsChannels, 0.1, at::kFloat).abs().ge(0.05).to(at::kFloat), c.plan,
      c.gradient_widths, {3, 0});
  for (Section& section : sent.sections) {
    if (section.kind == SectionKind::kCodes) std::ranges::fill(section.bytes, uint8_t{0});
  }
  c.TakeGradient(std::move(sent));
  const quant::DecodedRanges ranges = quant::ReadRanges(c.gradient_sections, c.gradient_widths);

  const quant::ChannelStats stats = c.Gather();

  for (size_t channel = 0; channel < kStatsChannels; ++channel) {
    EXPECT_GT(ranges.step[channel], 0) << "or there is no noise";
    EXPECT_EQ(stats.gradient_energy[channel], 0);
  }
}

TEST(ObserveGradientTest, TheGradientIsTheDecodedOne) {
  for (const bool is_raw : {false, true}) {
    StatsCase c(CutOptions{}, is_raw ? std::vector<uint8_t>{} : std::vector<uint8_t>(7, 3));
    EXPECT_TRUE(c.Observe().gradient.equal(c.gradient));
    EXPECT_TRUE(c.Observe(false).gradient.equal(c.gradient));
  }
}

struct ErrorDotSums {
  std::vector<double> error_dot = std::vector<double>(kStatsChannels, 0);
  uint64_t clipped = 0;
};

// A value counts as clipped where its code would lie outside; not a constant channel's.
ErrorDotSums BruteForceErrorDot(StatsCase& c, bool leaves_out_clipped) {
  const at::Tensor decoded =
      c.coder.DecodeActivation(c.coded.sections, c.coded.raw_dtype, kStatsSegments, c.widths,
                               kStatsChannels, at::kCPU, at::kFloat);
  const quant::DecodedRanges sent = quant::ReadRanges(c.coded.sections, c.widths);
  ErrorDotSums sums;
  for (const uint32_t row : SummedRows()) {
    for (size_t channel = 0; channel < kStatsChannels; ++channel) {
      const double step = sent.step[channel];
      const double x = At(c.x, row, channel);
      const double code = step > 0 ? std::nearbyint((x - sent.lo[channel]) / step) : 0;
      if (leaves_out_clipped && (code < 0 || code > std::exp2(c.widths[channel]) - 1)) {
        ++sums.clipped;
        continue;
      }
      sums.error_dot[channel] += At(c.gradient, row, channel) * (At(decoded, row, channel) - x);
    }
  }
  return sums;
}

TEST(ObserveGradientTest, ErrorDotIsTheGradientTimesTheErrorOfTheCodedRowsThatWereNotClipped) {
  for (const quant::Range range :
       {quant::Range::kMinMax, quant::Range::kAbsMax, quant::Range::kPercentile, quant::Range::kMae,
        quant::Range::kDelayed}) {
    SCOPED_TRACE(static_cast<uint32_t>(range));
    StatsCase c(WithRange(range));
    const ErrorDotSums expected = BruteForceErrorDot(c, /*leaves_out_clipped=*/true);

    const quant::ChannelStats stats = c.Gather();

    ASSERT_EQ(stats.error_dot.size(), kStatsChannels);
    for (size_t channel = 0; channel < kStatsChannels; ++channel) {
      EXPECT_NEAR(stats.error_dot[channel], expected.error_dot[channel], 1e-13) << channel;
    }
    EXPECT_GT(std::abs(expected.error_dot[0]), 1e-3) << "or the comparison means nothing";
    if (range != quant::Range::kAbsMax) {
      EXPECT_EQ(stats.error_dot[2], 0) << "a constant channel has no error";
    }
    const bool clips = quant::LooksBeyondExtremes(range);
    EXPECT_EQ(expected.clipped > 0, clips) << expected.clipped;
    if (clips) {  // negative control: the clipped ones would be seen
      const ErrorDotSums all = BruteForceErrorDot(c, /*leaves_out_clipped=*/false);
      double seen = 0;
      for (size_t channel = 0; channel < kStatsChannels; ++channel) {
        seen += std::abs(all.error_dot[channel] - stats.error_dot[channel]);
      }
      EXPECT_GT(seen, 0.01);
    }
    ExpectNear(stats.gradient_energy, BruteForceEnergy(c, 6));
  }
}

// The codes of eight bits end where those of fewer would round up once more: nothing is clipped.
TEST(ObserveGradientTest, ErrorDotOfNestedCodesIsThatOfAllCodedRows) {
  CutOptions options;
  options.nested = true;
  StatsCase c(options);
  const ErrorDotSums expected = BruteForceErrorDot(c, /*leaves_out_clipped=*/false);

  const quant::ChannelStats stats = c.Gather();

  for (size_t channel = 0; channel < kStatsChannels; ++channel) {
    EXPECT_NEAR(stats.error_dot[channel], expected.error_dot[channel], 1e-13) << channel;
  }
}

// A gradient of few rows crosses raw though its activation was coded.
TEST(ObserveGradientTest, ErrorDotOfARawGradientIsThatOfACodedOne) {
  StatsCase c(WithRange(quant::Range::kPercentile));
  const at::Tensor crossed = c.gradient;
  CutOptions raw = c.options;
  raw.wire_dtype = DType::kF32;
  c.TakeGradient(CutCoder(raw).EncodeGradient(crossed, c.plan, {}, {3, 0}));
  ASSERT_TRUE(c.gradient_raw_dtype);
  const ErrorDotSums expected = BruteForceErrorDot(c, /*leaves_out_clipped=*/true);

  const quant::ChannelStats stats = c.Gather();

  for (size_t channel = 0; channel < kStatsChannels; ++channel) {
    EXPECT_NEAR(stats.error_dot[channel], expected.error_dot[channel], 1e-13) << channel;
  }
  ExpectNear(stats.gradient_energy, BruteForceEnergy(c, 6));
}

TEST(ObserveGradientTest, ErrorDotOfDifferencesIsThatOfTheirSum) {
  CutOptions options;
  options.method = quant::Method::kAmaqDelta;
  options.cache_bytes = 1 << 20;
  options.cache_dir = ::testing::TempDir() + "amaq-cut-stats-cache";
  StatsCase c(options);
  std::vector<double> expected(kStatsChannels, 0);
  for (const uint32_t row : SummedRows()) {
    for (size_t channel = 0; channel < kStatsChannels; ++channel) {
      expected[channel] += At(c.gradient, row, channel) *
                           (At(c.coded.decoded, row, channel) - At(c.x, row, channel));
    }
  }

  ExpectNear(c.Gather().error_dot, expected);
  EXPECT_GT(std::abs(expected[0]), 1e-3);
}

TEST(ObserveGradientTest, ErrorDotIsEmptyUnlessAskedForAndZeroForARawTensor) {
  StatsCase coded{CutOptions{}};
  StatsCase raw(CutOptions{}, {});

  EXPECT_TRUE(coded.Gather(false).error_dot.empty());
  EXPECT_EQ(raw.Gather().error_dot, std::vector<double>(kStatsChannels, 0));
}

TEST(ObserveGradientTest, RangesAreThoseSentOrThoseOfTheRawTensorWithoutItsSinks) {
  StatsCase coded{CutOptions{}};
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

TEST(ObserveGradientTest, WithoutCodedRowsEverySumIsZero) {
  const std::vector<uint32_t> segments = {0, 1, 2};  // sinks alone
  const at::Tensor x = NamedTensor("x", 2, kStatsChannels, 3, at::kFloat);
  const CodedTensor coded = CutCoder({}).EncodeActivation(x, segments, {}, {}, KeepDecoded::kYes);
  const GradientRows plan = PlanGradientRows(segments, std::vector<uint32_t>{0, 1}, 1);
  const CodedTensor gradient = CutCoder({}).EncodeGradient(x, plan, {}, {0, 0});

  const quant::ChannelStats stats =
      CutCoder({})
          .ObserveGradient({gradient.sections, gradient.raw_dtype, {}, plan},
                           {x, coded, {}, segments}, true, at::kCPU, at::kFloat)
          .stats;

  const std::vector<double> zeros(kStatsChannels, 0);
  EXPECT_EQ(stats.range, zeros);
  EXPECT_EQ(stats.gradient_energy, zeros);
  EXPECT_EQ(stats.error_dot, zeros);
}

}  // namespace
}  // namespace amaq::train
