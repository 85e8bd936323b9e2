// quant.axis: token at a cut: what its gate learns from a micro-batch, against sums written out in
// double, and that this leads the gate to the widths that serve best.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "core/rng.h"
#include "quant/gate.h"
#include "quant/token_axis.h"
#include "tensor/bridge.h"
#include "tests/support/tensor_matchers.h"
#include "tests/support/tiny_model.h"
#include "train/cut.h"

namespace amaq::train {
namespace {

using test::NamedTensor;

constexpr int64_t kTokenChannels = 19;
constexpr uint32_t kPositions = 12;  // rows of the longest segments lie beyond
const std::vector<uint32_t> kTokenSegments = {0, 1, 15, 22, 40};
const std::vector<uint32_t> kTokenTargets = {3, 4, 12, 20, 38};
// Rows up to the last supervised one of each segment, without its first.
const std::vector<uint32_t> kTokenRows = [] {
  std::vector<uint32_t> rows;
  for (uint32_t row = 2; row <= 12; ++row) rows.push_back(row);
  for (uint32_t row = 16; row <= 20; ++row) rows.push_back(row);
  for (uint32_t row = 23; row <= 38; ++row) rows.push_back(row);
  return rows;
}();

size_t UnitOf(uint32_t row) {
  for (size_t s = 0; s + 1 < kTokenSegments.size(); ++s) {
    if (row < kTokenSegments[s + 1]) {
      return std::min<size_t>(row - kTokenSegments[s], kPositions - 1);
    }
  }
  return 0;
}

struct TokenCase {
  explicit TokenCase(quant::Range range, bool is_raw = false) : coder(Options(range)) {
    if (is_raw) widths.clear();
    const at::Tensor uniform = NamedTensor("x", 40, kTokenChannels, 1, at::kFloat);
    x = uniform * uniform * uniform * 3;  // with tails, so that clipping serves
    x[5].fill_(2.5);                      // a token whose values are all alike
    coded = coder.EncodeActivation(x, kTokenSegments, widths);
    plan = PlanGradientRows(kTokenSegments, kTokenTargets, 1);
    sent = coder.EncodeGradient(NamedTensor("g", 40, kTokenChannels, 0.1, at::kFloat), plan, widths,
                                {3, 0});
  }
  static CutOptions Options(quant::Range range) {
    CutOptions options;
    options.range = range;
    options.range_percentile = 80;
    options.positions = kPositions;
    return options;
  }
  ObservedGradient Observe(bool wants_error_dot = true) {
    return coder.ObserveGradient({sent.sections, sent.raw_dtype, widths, plan},
                                 {x, coded, widths, kTokenSegments}, wants_error_dot, at::kCPU,
                                 at::kFloat);
  }

  CutCoder coder;
  std::vector<uint8_t> widths = {2, 3, 4, 5, 6, 7, 8, 4, 3, 5, 6, 3};  // by position
  at::Tensor x;
  CodedTensor coded, sent;
  GradientRows plan;
};

double ValueAt(const at::Tensor& x, uint32_t row, int64_t channel) {
  return x[row][channel].item<double>();
}

struct TokenSums {
  std::vector<double> curvature = std::vector<double>(kPositions, 0);  // R^2 S
  std::vector<double> weight = curvature, error_dot = curvature;
  uint64_t clipped = 0;
};

// From the decoded tensors and the steps that crossed.
TokenSums SumsByHand(TokenCase& c) {
  const auto steps_of = [&c](const std::vector<Section>& sections,
                             const std::vector<uint32_t>& rows) {
    std::vector<uint8_t> widths;
    for (const uint32_t row : rows) widths.push_back(c.widths[UnitOf(row)]);
    return quant::ReadRanges(sections, widths);
  };
  std::vector<uint32_t> forward_rows;
  for (uint32_t row = 0; row < 40; ++row) {
    if (std::ranges::find(kTokenSegments, row) == kTokenSegments.end()) forward_rows.push_back(row);
  }
  const bool is_raw = c.widths.empty();
  const quant::DecodedRanges x_ranges =
      is_raw ? quant::DecodedRanges() : steps_of(c.coded.sections, forward_rows);
  const quant::DecodedRanges g_ranges =
      is_raw ? quant::DecodedRanges() : steps_of(c.sent.sections, kTokenRows);
  const at::Tensor x_hat =
      c.coder.DecodeActivation(c.coded.sections, c.coded.raw_dtype, kTokenSegments, c.widths,
                               kTokenChannels, at::kCPU, at::kFloat);
  const at::Tensor g = c.coder.DecodeGradient(c.sent.sections, c.sent.raw_dtype, c.plan, 40,
                                              c.widths, kTokenChannels, at::kCPU, at::kFloat);
  TokenSums sums;
  for (const uint32_t row : forward_rows) {
    sums.weight[UnitOf(row)] += static_cast<double>(kTokenChannels);
  }
  for (size_t i = 0; i < kTokenRows.size(); ++i) {
    const uint32_t row = kTokenRows[i];
    const auto place =
        static_cast<size_t>(std::ranges::find(forward_rows, row) - forward_rows.begin());
    const double levels = is_raw ? 0 : std::exp2(c.widths[UnitOf(row)]) - 1;
    const double step = is_raw ? 0 : x_ranges.step[place];
    const double g_step = is_raw ? 0 : g_ranges.step[i];
    const double range =
        is_raw ? c.x[row].max().item<double>() - c.x[row].min().item<double>() : step * levels;
    double energy = -static_cast<double>(kTokenChannels) * g_step * g_step / 6;
    for (int64_t channel = 0; channel < kTokenChannels; ++channel) {
      energy += std::pow(ValueAt(g, row, channel), 2);
      const double x = ValueAt(c.x, row, channel);
      if (is_raw) continue;
      const double code = step > 0 ? std::nearbyint((x - x_ranges.lo[place]) / step) : 0;
      if (code < 0 || code > levels) {
        ++sums.clipped;
        continue;
      }
      sums.error_dot[UnitOf(row)] += ValueAt(g, row, channel) * (ValueAt(x_hat, row, channel) - x);
    }
    sums.curvature[UnitOf(row)] += range * range * energy;
  }
  return sums;
}

TEST(ObserveTokensTest, StatsAreTheSumsOverThePositionsRows) {
  for (const quant::Range range :
       {quant::Range::kMinMax, quant::Range::kPercentile, quant::Range::kMae}) {
    SCOPED_TRACE(static_cast<uint32_t>(range));
    TokenCase c(range);
    ASSERT_FALSE(c.sent.raw_dtype || c.coded.raw_dtype);
    const TokenSums expected = SumsByHand(c);

    const quant::ChannelStats stats = c.Observe().stats;

    ASSERT_EQ(stats.range.size(), kPositions);
    EXPECT_EQ(stats.weight, expected.weight);
    for (size_t p = 0; p < kPositions; ++p) {
      const double curvature = std::max(0.0, expected.curvature[p]);
      EXPECT_NEAR(stats.range[p] * stats.range[p] * stats.gradient_energy[p], curvature,
                  1e-9 * (curvature + 1))
          << p;
      EXPECT_NEAR(stats.error_dot[p], expected.error_dot[p], 1e-12) << p;
    }
    EXPECT_EQ(stats.weight[0], 0) << "the sinks";
    EXPECT_GT(stats.gradient_energy[3], 0);
    if (range == quant::Range::kMinMax) {
      EXPECT_EQ(expected.clipped, 0u);
    }
    if (range == quant::Range::kPercentile) {
      EXPECT_GT(expected.clipped, 10u);
    }
  }
}

TEST(ObserveTokensTest, OfRawTensorsRangesAreTheirOwnAndNothingErrs) {
  TokenCase c(quant::Range::kMinMax, /*is_raw=*/true);
  ASSERT_TRUE(c.sent.raw_dtype && c.coded.raw_dtype);
  const TokenSums expected = SumsByHand(c);

  const quant::ChannelStats stats = c.Observe().stats;

  for (size_t p = 0; p < kPositions; ++p) {
    EXPECT_NEAR(stats.range[p] * stats.range[p] * stats.gradient_energy[p], expected.curvature[p],
                1e-9 * (expected.curvature[p] + 1));
  }
  EXPECT_EQ(stats.error_dot, std::vector<double>(kPositions, 0));
  EXPECT_TRUE(c.Observe(false).stats.error_dot.empty());
}

TEST(ObserveTokensTest, TheGradientIsTheDecodedOne) {
  TokenCase c(quant::Range::kMinMax);
  EXPECT_TRUE(c.Observe().gradient.equal(
      c.coder.DecodeGradient(c.sent.sections, c.sent.raw_dtype, c.plan, 40, c.widths,
                             kTokenChannels, at::kCPU, at::kFloat)));
}

// Tokens of known sensitivity: position p has activations of size SizeAt(p) and gradients of size
// SlopeAt(p), so the curvature of its widths is in the ratio of (SizeAt SlopeAt)^2.
constexpr uint32_t kLearned = 20;
double SizeAt(uint32_t p) { return std::exp2(p % 5) / 4; }
double SlopeAt(uint32_t p) { return std::exp2(-0.5 * (p * 3 % 7)); }

// Frozen widths after 30 steps on segments of different length, whose positions are known or not.
std::vector<uint8_t> Learn(quant::GateUpdate update, bool knows_positions) {
  const std::vector<uint32_t> segments = {0, 20, 40, 52, 60};
  CutOptions options;
  options.positions = kLearned;
  options.gradient_bits = 6;
  CutCoder coder(options);
  quant::WidthConfig config;
  config.adapt_steps = 30;
  config.target_bits = 4;
  config.update = update;
  config.gradient = quant::GateGradient::kFisher;
  const auto gate = quant::MakeWidthPolicy(config, kLearned);
  std::vector<uint32_t> targets(60);
  for (uint32_t row = 0; row < 60; ++row) targets[row] = row;
  const GradientRows plan = PlanGradientRows(segments, targets, 1);
  const std::vector<uint32_t> positions = quant::PositionsOfRows(segments);
  for (uint64_t step = 0; step < config.adapt_steps; ++step) {
    at::Tensor x = tensor::UniformTensor(60, 64, 1, NamedKey(step, "x"), at::kCPU);
    at::Tensor g = tensor::UniformTensor(60, 64, 1e-3, NamedKey(step, "g"), at::kCPU);
    for (int64_t row = 0; row < 60; ++row) {
      // Unknown: every token is of a random kind.
      const uint32_t p = knows_positions ? positions[static_cast<size_t>(row)]
                                         : PhiloxWord(99, step * 60 + static_cast<uint64_t>(row));
      x[row].mul_(SizeAt(p));
      g[row].mul_(SlopeAt(p));
    }
    const std::vector<uint8_t> widths(gate->widths().begin(), gate->widths().end());
    const CodedTensor coded = coder.EncodeActivation(x, segments, widths);
    const std::vector<uint8_t> gradient_widths = GradientWidths(options, widths);
    const CodedTensor sent = coder.EncodeGradient(g, plan, gradient_widths, {step, 0});
    gate->Observe(coder
                      .ObserveGradient({sent.sections, sent.raw_dtype, gradient_widths, plan},
                                       {x, coded, widths, segments}, gate->wants_error_dot(),
                                       at::kCPU, at::kFloat)
                      .stats,
                  60);
    gate->Commit();
  }
  EXPECT_EQ(gate->phase(), quant::PolicyPhase::kFrozen);
  return {gate->widths().begin(), gate->widths().end()};
}

// Correlation of the widths of positions 1 to 19 with the water-filling optimum.
double CorrelationWithOptimum(const std::vector<uint8_t>& widths) {
  std::vector<double> curvature(kLearned, 0), weight(kLearned, 0);
  for (uint32_t p = 1; p < kLearned; ++p) {
    weight[p] = p < 8 ? 4 : p < 12 ? 3 : 2;  // segments that reach so far
    curvature[p] = weight[p] * std::pow(SizeAt(p) * SlopeAt(p), 2);
  }
  const std::vector<double> best = quant::WaterFill(curvature, 4, 2, 8, weight);
  const std::vector<double> got(widths.begin() + 1, widths.end());
  return quant::Correlation(got, std::span(best).subspan(1));
}

TEST(ObserveTokensTest, TheGateReachesTheWaterFillingSolutionOfItsPositions) {
  const std::vector<uint8_t> widths = Learn(quant::GateUpdate::kNewton, true);

  EXPECT_GT(CorrelationWithOptimum(widths), 0.97);
  double sum = 0;
  double elements = 0;
  for (uint32_t p = 1; p < kLearned; ++p) {
    const double weight = p < 8 ? 4 : p < 12 ? 3 : 2;
    sum += weight * widths[p];
    elements += weight;
  }
  EXPECT_LE(sum / elements, 4);
  EXPECT_GT(sum / elements, 3.9) << "the budget counts elements, not positions";
  EXPECT_LT(std::abs(CorrelationWithOptimum(Learn(quant::GateUpdate::kNewton, false))), 0.6)
      << "negative control: a gate that cannot tell positions apart";
}

TEST(ObserveTokensTest, AdamLearnsWhichPositionsMatter) {
  EXPECT_GT(CorrelationWithOptimum(Learn(quant::GateUpdate::kAdam, true)), 0.5);
}

}  // namespace
}  // namespace amaq::train
