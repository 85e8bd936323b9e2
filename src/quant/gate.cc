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
  if (config.schedule == TargetSchedule::kConstant || config.adapt_steps == 0) {
    return config.target_bits;
  }
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
                              double b_max, std::span<const double> weights) {
  const size_t units = curvature.size();
  AMAQ_CHECK(weights.empty() || weights.size() == units);
  const auto weight = [weights](size_t i) { return weights.empty() ? 1.0 : weights[i]; };
  // What counts is the curvature an element.
  std::vector<double> density(units, 0);
  double largest = 0;
  double total_weight = 0;
  for (size_t i = 0; i < units; ++i) {
    if (weight(i) <= 0) continue;
    density[i] = curvature[i] / weight(i);
    largest = std::max(largest, density[i]);
    total_weight += weight(i);
  }
  const double floor = largest * 1e-200;  // below it a unit counts as zero
  double smallest = largest;
  double positive = 0;  // weight
  for (size_t i = 0; i < units; ++i) {
    if (density[i] <= floor) continue;
    smallest = std::min(smallest, density[i]);
    positive += weight(i);
  }
  std::vector<double> bits(units, mean_bits);
  const double zero = total_weight - positive;
  const double left = mean_bits * total_weight - positive * b_max;
  if (positive <= 0 || (zero > 0 && left >= zero * b_min)) {
    // Even at b_max the others leave bits over.
    for (size_t i = 0; i < units; ++i) {
      if (weight(i) > 0) bits[i] = density[i] > floor ? b_max : std::min(b_max, left / zero);
    }
    return bits;
  }
  // log of lambda / (2 ln2 largest), between "all positive at b_max" and "all at b_min".
  const double slope_at_max = SlopeShape(b_max);
  const double slope_at_min = SlopeShape(b_min);
  double low = std::log(smallest / largest) + std::log(slope_at_max);
  double high = std::log(slope_at_min);
  for (int step = 0; step < 64; ++step) {
    const double middle = 0.5 * (low + high);
    const double scale = std::exp(middle);
    double sum = 0;
    for (size_t i = 0; i < units; ++i) {
      if (weight(i) <= 0) continue;
      bits[i] = b_min;
      if (density[i] > floor) {
        const double k = scale / (density[i] / largest);
        bits[i] = k <= slope_at_max ? b_max : k >= slope_at_min ? b_min : BitsAtSlope(k);
      }
      sum += weight(i) * bits[i];
    }
    (sum > mean_bits * total_weight ? low : high) = middle;
  }
  return bits;
}

std::vector<uint8_t> FitToBudget(std::vector<uint8_t> widths, std::span<const double> curvature,
                                 double mean_bits, uint8_t lowest, uint8_t highest,
                                 std::span<const double> weights) {
  AMAQ_CHECK(widths.size() == curvature.size());
  const size_t units = widths.size();
  AMAQ_CHECK(weights.empty() || weights.size() == units);
  const auto weight = [weights](size_t i) { return weights.empty() ? 1.0 : weights[i]; };
  double sum = 0;
  double total_weight = 0;
  for (size_t i = 0; i < units; ++i) {
    sum += weight(i) * widths[i];
    total_weight += weight(i);
  }
  // The billionth keeps a whole budget such as 2.1 * 10 whole.
  const double budget = mean_bits * total_weight + 1e-9;
  while (sum > budget) {
    size_t best = units;
    double least = 0;
    for (size_t i = 0; i < units; ++i) {
      if (widths[i] <= lowest || weight(i) <= 0) continue;
      const double loss = RaiseGain(curvature[i], static_cast<uint8_t>(widths[i] - 1)) / weight(i);
      if (best == units || loss < least || (loss == least && widths[i] > widths[best])) {
        best = i;
        least = loss;
      }
    }
    if (best == units) break;
    --widths[best];
    sum -= weight(best);
  }
  while (true) {
    size_t best = units;
    double most = 0;
    for (size_t i = 0; i < units; ++i) {
      if (widths[i] >= highest || weight(i) <= 0 || sum + weight(i) > budget) continue;
      const double gain = RaiseGain(curvature[i], widths[i]) / weight(i);
      if (best == units || gain > most || (gain == most && widths[i] < widths[best])) {
        best = i;
        most = gain;
      }
    }
    if (best == units) break;
    ++widths[best];
    sum += weight(best);
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
