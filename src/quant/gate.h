#ifndef AMAQ_QUANT_GATE_H_
#define AMAQ_QUANT_GATE_H_

// The gate's mathematics: bits from Q, their gradient, the falling target, reverse water-filling
// and the projection to integers. No state: methods/amaq.cc owns Q. Thread-safety: pure functions.
// Source: BitsOfQ is AMAQ's formula (arXiv 2510.05468); all else is our choice
// (docs/architecture.md).

#include <cstdint>
#include <span>
#include <vector>

#include "quant/config.h"

namespace amaq::quant {

// b = b_min + (b_max - b_min) * sigmoid(alpha * Q), and its inverse. Bits nearer to a bound than a
// millionth of the interval map to that distance, so Q stays finite.
double BitsOfQ(const WidthConfig& config, double q);
double QOfBits(const WidthConfig& config, double bits);
// db/dQ at Q.
double BitsSlope(const WidthConfig& config, double q);

// Smallest and largest integer width: ceil(b_min), floor(b_max).
uint8_t LowestWidth(const WidthConfig& config);
uint8_t HighestWidth(const WidthConfig& config);
// round_half_even(bits), clamped to the two above.
uint8_t IntegerWidth(const WidthConfig& config, double bits);

// Mean bits wanted after `steps` optimizer steps: from b_start to target_bits, reached at
// 0.8 * adapt_steps; without adapt_steps target_bits from the start.
double TargetBits(const WidthConfig& config, uint64_t steps);

// dL/db of a channel sent at the integer width n, straight-through:
// -ln2 * 2^n / (2^n - 1) * error_dot, error_dot = sum of g * (x_hat - x).
double SteGradient(uint8_t width, double error_dot);
// Its expectation under uniform rounding error:
// -(ln2 / 12) * 2^n / (2^n - 1) * kappa * step^2 * gradient_energy, step = range / (2^n - 1).
double FisherGradient(uint8_t width, double range, double gradient_energy, double kappa);

// Weight of the bit penalty of `adam`, L_bits = weight * mean of the bits, as the straight-through
// gradient of the mean sees it. hinge: beta while the mean of the widths sent is above the target,
// else 0. mean: beta always. dual: log beta moves by 0.3 * (mean - target) a step from 1e-3, within
// [1e-9, 1e6]. hinge and mean are plain readings of the paper's bit regularization, dual is ours.
class PenaltyWeight {
 public:
  explicit PenaltyWeight(const WidthConfig& config);
  double Next(double mean_width, double target);  // once per COMMIT
  double value() const { return value_; }         // of the last step

 private:
  const GatePenalty penalty_;
  const double beta_;
  double log_beta_;
  double value_ = 0;
};

// Fall of the modelled loss c / (2^n - 1)^2 when n is raised by one; n >= 1. From 0 it is infinite
// for c > 0.
double RaiseGain(double curvature, uint8_t width);

// Both solve one budget over many units, the channels (or positions) of one gate or of several:
// curvature [U]: >= 0. weights [U]: how many elements a unit has, >= 0; empty: all alike. What is
// held to mean_bits is the weighted mean.

// Real-valued bits that minimise sum c / (2^b - 1)^2 within [b_min, b_max] (reverse water-filling;
// the mean is met to 1e-9). Units of zero curvature get b_min, or alike what the others at b_max
// leave: with no curvature at all every unit gets the mean. So do units of no weight. mean_bits
// within the bounds.
std::vector<double> WaterFill(std::span<const double> curvature, double mean_bits, double b_min,
                              double b_max, std::span<const double> weights = {});

// Raises (lowers) one unit by one, the largest gain (smallest loss) an element first, until nothing
// more fits below mean_bits; with equal weights the mean then is the largest that is not above it.
// Ties go to the unit that is lowest (highest) in bits, then to the lowest number, so without
// curvature the widths end as even as they can. Units of no weight stay.
// lowest <= mean_bits; widths stay in [lowest, highest]. Cost O(U) a move.
std::vector<uint8_t> FitToBudget(std::vector<uint8_t> widths, std::span<const double> curvature,
                                 double mean_bits, uint8_t lowest, uint8_t highest,
                                 std::span<const double> weights = {});

// Pearson's; 0 when one of the two does not vary.
double Correlation(std::span<const double> a, std::span<const double> b);
double Mean(std::span<const double> values);
double StandardDeviation(std::span<const double> values);

}  // namespace amaq::quant

#endif  // AMAQ_QUANT_GATE_H_
