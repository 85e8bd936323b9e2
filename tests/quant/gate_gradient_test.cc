// The gate's gradients against central differences of a loss that is known exactly.
//
// Loss of a channel: sum over its rows of h/2 * (x_hat - x)^2 with known h, so the gradient that
// the receiver sends is g = h * (x_hat - x). Bits are integers on the wire, but the loss can be
// formed at real-valued bits b: with L = 2^b - 1 no whole number, the quantizer's formula stands as
// it is: step = R / L, q = clamp(rint((x - lo) / step), 0, L), with lo and R = step * (2^n - 1) as
// they were sent. Codes are whole numbers; the clamp lets the last one be L itself. The central
// difference is
//     D(b) = [loss(b + 0.25) - loss(b - 0.25)] / 0.5.
// Two known effects part D from the derivative:
// - Away from the ends the error is uniform in +-step/2, hence E loss ~ f(b) = (2^b - 1)^-2, and D,
//   the chord of a convex function, exceeds f'(b) by
//       rho(b) = [f(b + 0.25) - f(b - 0.25)] / (0.5 f'(b)),   1.020 at large b, 1.028 at 3 bits;
// - at the upper end the last code is L, and how far it lies from the whole number before it
//   differs between b - 0.25, b and b + 0.25: a share of 1/rows of the loss, with either sign.
// The first test takes D as it is, over channels of very different scale. The second brings the
// channels to one scale, so that its standard error is 0.4 %, and divides by rho: what is left is
// the effect of the ends.

#include <algorithm>
#include <cmath>
#include <numbers>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "quant/codec.h"
#include "quant/gate.h"
#include "tests/quant/samples.h"

namespace amaq::quant {
namespace {

constexpr double kDelta = 0.25;
constexpr int64_t kRows = 400;
constexpr int64_t kChannels = 100;
constexpr uint64_t kMessages = 25;  // kMessages * kChannels = 2500 draws of (channel, message)

// The loss of one channel at real-valued bits; lo and range (hi - lo) are those that were sent.
double LossAt(double bits, const Matrix& x, const Matrix& h, int64_t channel, double lo,
              double range) {
  const double largest = std::exp2(bits) - 1;
  const double step = range / largest;
  double loss = 0;
  for (int64_t n = 0; n < x.rows; ++n) {
    const double q = std::clamp(std::nearbyint((x.at(n, channel) - lo) / step), 0.0, largest);
    const double error = lo + q * step - x.at(n, channel);
    loss += 0.5 * h.at(n, channel) * error * error;
  }
  return loss;
}

double ChordFactor(double bits) {
  const auto f = [](double b) { return std::pow(std::exp2(b) - 1, -2); };
  const double slope = -2 * std::numbers::ln2 * std::exp2(bits) * std::pow(std::exp2(bits) - 1, -3);
  return (f(bits + kDelta) - f(bits - kDelta)) / (2 * kDelta * slope);
}

// A gradient and a central difference a draw, in the same order.
struct Draws {
  std::vector<double> ste, fisher, differences;
};

enum class Scale { kAsIs, kOneForAllChannels };

Matrix Weights(uint64_t seed) {
  Random random(seed);
  Matrix h{kRows, kChannels, std::vector<float>(kRows * kChannels)};
  for (int64_t c = 0; c < kChannels; ++c) {
    const double scale = std::exp(random.Normal());
    for (int64_t n = 0; n < kRows; ++n) {
      h.at(n, c) = static_cast<float>(scale * std::exp(random.Normal()));
    }
  }
  return h;
}

// Gradients as a party forms them, from the coded and decoded message.
Draws Draw(uint8_t width, Scale channel_scale, uint64_t seed) {
  Draws draws;
  const std::vector<uint8_t> widths(kChannels, width);
  const double largest = std::exp2(width) - 1;
  for (uint64_t message = 0; message < kMessages; ++message) {
    const Matrix x = Activations(seed + 2 * message, kRows, kChannels);
    Matrix h = Weights(seed + 2 * message + 1);
    Matrix x_hat = x;
    const auto sections = Encode(x.view(), widths, {}, {});
    Decode(sections, widths, {}, kRows, kChannels, x_hat.values);
    const DecodedRanges ranges = ReadRanges(sections, widths);
    for (int64_t c = 0; c < kChannels; ++c) {
      const double step = ranges.step[static_cast<size_t>(c)];
      const double lo = ranges.lo[static_cast<size_t>(c)];
      double dot = 0, energy = 0;
      for (int64_t n = 0; n < kRows; ++n) {
        const double error = double{x_hat.at(n, c)} - double{x.at(n, c)};
        dot += h.at(n, c) * error * error;
        energy += h.at(n, c);
      }
      const double scale = channel_scale == Scale::kOneForAllChannels ? step * step * energy : 1;
      const double above = LossAt(width + kDelta, x, h, c, lo, step * largest);
      const double below = LossAt(width - kDelta, x, h, c, lo, step * largest);
      draws.ste.push_back(SteGradient(width, dot) / scale);
      // kappa * S stands for the expected curvature, here the sum of h.
      draws.fisher.push_back(FisherGradient(width, step * largest, energy, 1) / scale);
      draws.differences.push_back((above - below) / (2 * kDelta) / scale);
    }
  }
  return draws;
}

struct Comparison {
  double ratio = 0;            // mean gradient / mean difference
  double standard_errors = 0;  // by which the two means lie apart
};

Comparison Compare(const std::vector<double>& gradients, std::vector<double> differences,
                   double factor) {
  std::vector<double> gaps;
  for (size_t i = 0; i < gradients.size(); ++i) {
    differences[i] /= factor;
    gaps.push_back(gradients[i] - differences[i]);
  }
  const double standard_error =
      StandardDeviation(gaps) / std::sqrt(static_cast<double>(gaps.size()));
  return {Mean(gradients) / Mean(differences), std::fabs(Mean(gaps)) / standard_error};
}

bool Agrees(const Comparison& c) {
  return std::fabs(c.ratio - 1) <= 0.05 && c.standard_errors <= 3;
}

TEST(GateGradientTest, SteAgreesWithCentralDifferencesOnAverage) {
  for (const uint8_t width : {uint8_t{3}, uint8_t{4}, uint8_t{6}}) {
    const Draws draws = Draw(width, Scale::kAsIs, 1000u * width);
    ASSERT_GE(draws.ste.size(), 2000u);

    const Comparison c = Compare(draws.ste, draws.differences, 1);

    RecordProperty(StrCat("ste_over_difference_at_", int{width}), StrCat(c.ratio));
    RecordProperty(StrCat("standard_errors_at_", int{width}), StrCat(c.standard_errors));
    EXPECT_TRUE(Agrees(c)) << int{width} << " bits: ratio " << c.ratio << ", " << c.standard_errors
                           << " standard errors";
  }
}

TEST(GateGradientTest, SteAndFisherAreTheDerivativeOnceTheChordIsTakenOut) {
  for (const uint8_t width : {uint8_t{3}, uint8_t{4}, uint8_t{6}}) {
    const Draws draws = Draw(width, Scale::kOneForAllChannels, 2000u * width);
    const double rho = ChordFactor(width);

    EXPECT_NEAR(Compare(draws.ste, draws.differences, rho).ratio, 1, 0.02) << int{width};
    EXPECT_NEAR(Compare(draws.fisher, draws.differences, rho).ratio, 1, 0.02) << int{width};
  }
}

TEST(GateGradientTest, AWrongSignAndAWrongFactorAreCaught) {  // negative controls
  const Draws draws = Draw(4, Scale::kAsIs, 4000);
  std::vector<double> wrong_sign = draws.ste;
  std::vector<double> without_ln2 = draws.ste;
  for (double& value : wrong_sign) value = -value;
  for (double& value : without_ln2) value /= std::numbers::ln2;

  EXPECT_TRUE(Agrees(Compare(draws.ste, draws.differences, 1)));
  EXPECT_FALSE(Agrees(Compare(wrong_sign, draws.differences, 1)));
  EXPECT_FALSE(Agrees(Compare(without_ln2, draws.differences, 1)));
}

TEST(GateGradientTest, SlopeOfTheBitsIsTheirCentralDifference) {
  const WidthConfig config{.b_min = 2, .b_max = 8, .alpha = 0.7};
  for (const double q : {-3.0, -0.5, 0.0, 1.25, 4.0}) {
    const double h = 1e-6;
    const double difference = (BitsOfQ(config, q + h) - BitsOfQ(config, q - h)) / (2 * h);
    EXPECT_NEAR(BitsSlope(config, q), difference, 1e-8);
  }
}

}  // namespace
}  // namespace amaq::quant
