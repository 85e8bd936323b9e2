#include "quant/gate.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "core/check.h"

namespace amaq::quant {
namespace {

constexpr double kLn2 = std::numbers::ln2;
constexpr double kDualStart = 1e-3;
constexpr double kDualRate = 0.3;
constexpr double kDualLeast = 1e-9;
constexpr double kDualMost = 1e6;
constexpr double kEdge = 1e-6;  // least distance of sigmoid(alpha * Q) from 0 and 1

double Sigmoid(double value) { return 1 / (1 + std::exp(-value)); }

// 2^b / (2^b - 1)^3: -1 / (2 ln2 c) times the slope of c / (2^b - 1)^2.
double SlopeShape(double bits) {
  const double v = std::exp2(bits) - 1;
  return (v + 1) / (v * v * v);
}

// The b with SlopeShape(b) = k: v = 2^b - 1 is the one positive root of k v^3 - v - 1. Newton from
// v0 = k^(-1/2) + k^(-1/3), where the cubic is positive (expand k v0^3) and convex: the iterates
// fall to the root without passing it.
double BitsAtSlope(double k) {
  double v = 1 / std::sqrt(k) + 1 / std::cbrt(k);
  for (int i = 0; i < 60; ++i) {
    const double next = v - (k * v * v * v - v - 1) / (3 * k * v * v - 1);
    if (!(next < v)) break;
    const bool converged = v - next <= 1e-15 * v;
    v = next;
    if (converged) break;
  }
  return std::log2(1 + v);
}

}  // namespace

double BitsOfQ(const WidthConfig& config, double q) {
  return config.b_min + (config.b_max - config.b_min) * Sigmoid(config.alpha * q);
}

double QOfBits(const WidthConfig& config, double bits) {
  const double r =
      std::clamp((bits - config.b_min) / (config.b_max - config.b_min), kEdge, 1 - kEdge);
  return std::log(r / (1 - r)) / config.alpha;
}

double BitsSlope(const WidthConfig& config, double q) {
  const double s = Sigmoid(config.alpha * q);
  return config.alpha * (config.b_max - config.b_min) * s * (1 - s);
}

uint8_t LowestWidth(const WidthConfig& config) {
  return static_cast<uint8_t>(std::ceil(config.b_min));
}

uint8_t HighestWidth(const WidthConfig& config) {
  return static_cast<uint8_t>(std::floor(config.b_max));
}

uint8_t IntegerWidth(const WidthConfig& config, double bits) {
  // nearbyint in the default mode is round half to even.
  const double rounded = std::nearbyint(bits);
  return static_cast<uint8_t>(std::clamp(rounded, static_cast<double>(LowestWidth(config)),
                                         static_cast<double>(HighestWidth(config))));
}

double TargetBits(const WidthConfig& config, uint64_t steps) {
  if (config.schedule == TargetSchedule::kConstant) return config.target_bits;
  const double end = 0.8 * static_cast<double>(config.adapt_steps);
  const double progress = std::min(1.0, static_cast<double>(steps) / end);
  const double left = config.schedule == TargetSchedule::kLinear
                          ? 1 - progress
                          : 0.5 * (1 + std::cos(std::numbers::pi * progress));
  return config.target_bits + (config.b_start - config.target_bits) * left;
}

double SteGradient(uint8_t width, double error_dot) {
  const double levels = std::exp2(width);
  return -kLn2 * levels / (levels - 1) * error_dot;
}

double FisherGradient(uint8_t width, double range, double gradient_energy, double kappa) {
  const double levels = std::exp2(width);
  const double step = range / (levels - 1);
  return -kLn2 / 12 * levels / (levels - 1) * kappa * step * step * gradient_energy;
}

PenaltyWeight::PenaltyWeight(const WidthConfig& config)
    : penalty_(config.penalty), beta_(config.penalty_beta), log_beta_(std::log(kDualStart)) {}

double PenaltyWeight::Next(double mean_width, double target) {
  switch (penalty_) {
    case GatePenalty::kHinge:
      return value_ = mean_width > target ? beta_ : 0;
    case GatePenalty::kMean:
      return value_ = beta_;
    case GatePenalty::kDual:
      log_beta_ = std::clamp(log_beta_ + kDualRate * (mean_width - target), std::log(kDualLeast),
                             std::log(kDualMost));
      return value_ = std::exp(log_beta_);
  }
  return value_ = 0;
}

double RaiseGain(double curvature, uint8_t width) {
  if (width == 0) return curvature > 0 ? std::numeric_limits<double>::infinity() : 0;
  const double coarse = 1 / (std::exp2(width) - 1);
  const double fine = 1 / (std::exp2(width + 1) - 1);
  return curvature * (coarse * coarse - fine * fine);
}

std::vector<double> WaterFill(std::span<const double> curvature, double mean_bits, double b_min,
                              double b_max) {
  const size_t channels = curvature.size();
  const double largest = *std::max_element(curvature.begin(), curvature.end());
  const double floor = largest * 1e-200;  // below it a channel counts as zero
  double smallest = largest;
  size_t positive = 0;
  for (const double c : curvature) {
    if (c <= floor) continue;
    smallest = std::min(smallest, c);
    ++positive;
  }
  const double budget = mean_bits * static_cast<double>(channels);
  const double positive_count = static_cast<double>(positive);
  const size_t zero = channels - positive;
  const double left = budget - positive_count * b_max;
  if (positive == 0 || (zero > 0 && left >= static_cast<double>(zero) * b_min)) {
    // Even at b_max the others leave bits over.
    std::vector<double> bits(channels, b_max);
    for (size_t c = 0; c < channels; ++c) {
      if (curvature[c] <= floor) bits[c] = std::min(b_max, left / static_cast<double>(zero));
    }
    return bits;
  }
  // log of lambda / (2 ln2 largest), between "all positive at b_max" and "all at b_min".
  const double slope_at_max = SlopeShape(b_max);
  const double slope_at_min = SlopeShape(b_min);
  double low = std::log(smallest / largest) + std::log(slope_at_max);
  double high = std::log(slope_at_min);
  std::vector<double> bits(channels, b_min);
  for (int i = 0; i < 64; ++i) {
    const double middle = 0.5 * (low + high);
    const double scale = std::exp(middle);
    double sum = 0;
    for (size_t c = 0; c < channels; ++c) {
      if (curvature[c] > floor) {
        const double k = scale / (curvature[c] / largest);
        bits[c] = k <= slope_at_max ? b_max : k >= slope_at_min ? b_min : BitsAtSlope(k);
      }
      sum += bits[c];
    }
    (sum > budget ? low : high) = middle;
  }
  return bits;
}

std::vector<uint8_t> FitToBudget(std::vector<uint8_t> widths, std::span<const double> curvature,
                                 double mean_bits, uint8_t lowest, uint8_t highest) {
  AMAQ_CHECK(widths.size() == curvature.size());
  const size_t channels = widths.size();
  // The billionth keeps a whole budget such as 2.1 * 10 whole.
  const auto budget =
      static_cast<int64_t>(std::floor(mean_bits * static_cast<double>(channels) + 1e-9));
  int64_t sum = 0;
  for (const uint8_t width : widths) sum += width;
  while (sum > budget) {
    size_t best = channels;
    double least = 0;
    for (size_t c = 0; c < channels; ++c) {
      if (widths[c] <= lowest) continue;
      const double loss = RaiseGain(curvature[c], static_cast<uint8_t>(widths[c] - 1));
      if (best == channels || loss < least || (loss == least && widths[c] > widths[best])) {
        best = c;
        least = loss;
      }
    }
    if (best == channels) break;
    --widths[best];
    --sum;
  }
  while (sum < budget) {
    size_t best = channels;
    double most = 0;
    for (size_t c = 0; c < channels; ++c) {
      if (widths[c] >= highest) continue;
      const double gain = RaiseGain(curvature[c], widths[c]);
      if (best == channels || gain > most || (gain == most && widths[c] < widths[best])) {
        best = c;
        most = gain;
      }
    }
    if (best == channels) break;
    ++widths[best];
    ++sum;
  }
  return widths;
}

double Mean(std::span<const double> values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return sum / static_cast<double>(values.size());
}

double StandardDeviation(std::span<const double> values) {
  const double mean = Mean(values);
  double sum = 0;
  for (const double value : values) sum += (value - mean) * (value - mean);
  return std::sqrt(sum / static_cast<double>(values.size()));
}

double Correlation(std::span<const double> a, std::span<const double> b) {
  AMAQ_CHECK(a.size() == b.size());
  const double mean_a = Mean(a);
  const double mean_b = Mean(b);
  double covariance = 0;
  for (size_t i = 0; i < a.size(); ++i) covariance += (a[i] - mean_a) * (b[i] - mean_b);
  covariance /= static_cast<double>(a.size());
  const double scale = StandardDeviation(a) * StandardDeviation(b);
  constexpr double kNoVariation = 1e-12;  // squared bits: rounding of equal numbers
  return scale < kNoVariation ? 0 : covariance / scale;
}

}  // namespace amaq::quant
