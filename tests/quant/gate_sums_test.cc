// DecodeForGate against Decode and sums written out, in double.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "quant/codec.h"
#include "quant/kernels.h"
#include "tests/quant/samples.h"

namespace amaq::quant {
namespace {

constexpr int64_t kChannels = 37;
constexpr int64_t kActivationRows = 40;

// A gradient of every third row of the activation, the first of them a sink of both.
struct Messages {
  explicit Messages(bool nested) {
    EncodeOptions forward;
    forward.nested = nested;
    activation = Encode(x.view(), widths, {sinks, {}}, forward);
    for (uint32_t row = 0; row < kActivationRows; row += 3) row_ids.push_back(row);
    const auto rows = static_cast<int64_t>(row_ids.size());
    g = Activations(9, rows, kChannels);
    EncodeOptions backward;
    backward.rounding = Rounding::kStochastic;
    gradient = Encode(g.view(), widths, plan(), backward);
  }
  RowPlan plan() const { return {sinks, row_ids}; }

  Matrix x = Activations(8, kActivationRows, kChannels);
  Matrix g{0, 0, {}};
  std::vector<uint8_t> widths = std::vector<uint8_t>(kChannels, 3);
  std::vector<uint32_t> sinks = {0}, row_ids;
  std::vector<Section> activation, gradient;
};

TEST(GateSumsTest, SumsAndValuesAreThoseOfTheTwoDecodedMessages) {
  for (const bool nested : {false, true}) {
    const Messages m(nested);
    std::vector<float> x_hat(m.x.values.size()), g_hat(m.g.values.size()), out(m.g.values.size());
    Decode(m.activation, m.widths, {m.sinks, {}}, m.x.rows, kChannels, x_hat);
    Decode(m.gradient, m.widths, m.plan(), m.g.rows, kChannels, g_hat);
    std::vector<double> energy(kChannels, 0), error_dot(kChannels, 0);
    for (size_t i = 1; i < m.row_ids.size(); ++i) {  // row 0 is a sink
      for (size_t c = 0; c < kChannels; ++c) {
        const double g = g_hat[i * kChannels + c];
        const size_t at = m.row_ids[i] * kChannels + c;
        energy[c] += g * g;
        error_dot[c] += g * (static_cast<double>(x_hat[at]) - static_cast<double>(m.x.values[at]));
      }
    }
    const SentActivation activation{m.x.view(), &m.activation, m.widths, nested};
    for (const KernelSet& set : AllKernelSets()) {
      const GateSums sums =
          DecodeForGate(m.gradient, m.widths, m.plan(), m.g.rows, &activation, out, &set);
      EXPECT_EQ(out, g_hat) << set.name;
      EXPECT_EQ(sums.energy, energy) << set.name;
      if (!nested) {
        EXPECT_EQ(sums.error_dot, error_dot) << set.name;
      } else {  // the last code clips where rounding up to 2^n was due; x_hat is the same
        for (size_t c = 0; c < kChannels; ++c) EXPECT_NEAR(sums.error_dot[c], error_dot[c], 1e-9);
      }
      const GateSums again =
          DecodeForGate(m.gradient, m.widths, m.plan(), m.g.rows, &activation, {}, &set);
      EXPECT_EQ(again.error_dot, sums.error_dot) << set.name;
    }
  }
}

TEST(GateSumsTest, WithoutAnActivationThereIsTheEnergyOnly) {
  const Messages m(false);
  const GateSums sums = DecodeForGate(m.gradient, m.widths, m.plan(), m.g.rows, nullptr, {});
  EXPECT_EQ(sums.energy.size(), m.widths.size());
  EXPECT_TRUE(sums.error_dot.empty());
}

TEST(GateSumsTest, OfAGradientAtHandAreThoseOfItsMessage) {
  const Messages m(false);
  Matrix g = m.g;
  Decode(m.gradient, m.widths, m.plan(), m.g.rows, kChannels, g.values);
  const SentActivation activation{m.x.view(), &m.activation, m.widths, false};
  for (const SentActivation* known : {&activation, static_cast<const SentActivation*>(nullptr)}) {
    const GateSums coded = DecodeForGate(m.gradient, m.widths, m.plan(), m.g.rows, known, {});
    const GateSums sums = SumForGate(g.view(), m.plan(), known);
    EXPECT_EQ(sums.energy, coded.energy);
    EXPECT_EQ(sums.error_dot, coded.error_dot);
  }
}

TEST(GateSumsTest, RowsThatWereClippedCountInTheEnergyOnly) {
  Messages m(false);
  EncodeOptions clipping;
  clipping.range = Range::kPercentile;
  clipping.range_percentile = 50;
  m.activation = Encode(m.x.view(), m.widths, {m.sinks, {}}, clipping);
  const DecodedRanges ranges = ReadRanges(m.activation, m.widths);
  std::vector<float> x_hat(m.x.values.size()), g_hat(m.g.values.size());
  Decode(m.activation, m.widths, {m.sinks, {}}, m.x.rows, kChannels, x_hat);
  Decode(m.gradient, m.widths, m.plan(), m.g.rows, kChannels, g_hat);
  std::vector<double> error_dot(kChannels, 0);
  uint64_t clipped = 0;
  for (size_t i = 1; i < m.row_ids.size(); ++i) {
    for (size_t c = 0; c < kChannels; ++c) {
      const size_t at = m.row_ids[i] * kChannels + c;
      const double t = (m.x.values[at] - ranges.lo[c]) / ranges.step[c];
      if (t < -0.5 || t > 7.5) {
        ++clipped;
        continue;
      }
      error_dot[c] += static_cast<double>(g_hat[i * kChannels + c]) *
                      (static_cast<double>(x_hat[at]) - static_cast<double>(m.x.values[at]));
    }
  }
  EXPECT_GT(clipped, 20u);
  const SentActivation activation{m.x.view(), &m.activation, m.widths, false};
  EXPECT_EQ(DecodeForGate(m.gradient, m.widths, m.plan(), m.g.rows, &activation, {}).error_dot,
            error_dot);
}

}  // namespace
}  // namespace amaq::quant
