// Method `amaq`: a trainable gate Q a channel, whose bits fall from b_start to target_bits over
// adapt_steps and then freeze as integers. The gate's formula and the progressive fall are AMAQ's
// (arXiv 2510.05468); both updates, the schedule and the projection are our choice.

#include <cmath>
#include <utility>

#include "core/error.h"
#include "quant/gate.h"
#include "quant/methods/methods.h"

namespace amaq::quant {
namespace {

constexpr double kCurvatureDecay = 0.9;
constexpr double kNewtonDamping = 0.5;
constexpr double kAdamBeta1 = 0.9;
constexpr double kAdamBeta2 = 0.99;
// The penalty's gradient is beta / H times db/dQ: the usual 1e-8 would not be small beside it.
constexpr double kAdamEpsilon = 1e-15;
// Head room over the constant speed that falls from b_start to the target in adapt_steps.
constexpr double kAdamSpeed = 1.25;

float ToFloat(double value) { return static_cast<float>(value); }

std::vector<float> ToFloats(const std::vector<double>& values) {
  std::vector<float> out;
  out.reserve(values.size());
  for (const double value : values) out.push_back(ToFloat(value));
  return out;
}

class AmaqPolicy final : public WidthPolicyBase {
 public:
  AmaqPolicy(const WidthConfig& config, size_t channels)
      : WidthPolicyBase(channels),
        config_(config),
        q_(channels, QOfBits(config, config.b_start)),
        average_(channels, 0),
        adam_m_(channels, 0),
        adam_v_(channels, 0),
        penalty_(config),
        pending_curvature_(channels, 0),
        pending_gradient_(channels, 0) {
    SetWidths(RoundedBits());
  }

  PolicyPhase phase() const override {
    return is_adapting() ? PolicyPhase::kAdapting : PolicyPhase::kFrozen;
  }
  double target_bits() const override {
    return is_adapting() ? TargetBits(config_, steps_) : config_.target_bits;
  }
  bool wants_stats() const override { return is_adapting(); }
  bool wants_error_dot() const override {
    return is_adapting() && config_.update == GateUpdate::kAdam &&
           config_.gradient == GateGradient::kSte;
  }

  void Observe(const ChannelStats& stats, uint64_t loss_tokens) override {
    if (!is_adapting()) return;
    const std::vector<double> curvature = Curvature(stats, channels(), loss_tokens);
    if (wants_error_dot()) RequireErrorDot(stats);
    for (size_t c = 0; c < channels(); ++c) {
      pending_curvature_[c] += curvature[c];
      pending_gradient_[c] += TaskGradient(stats, c, static_cast<double>(loss_tokens));
    }
    has_pending_ = true;
  }

  void Discard() override {
    pending_curvature_.assign(channels(), 0);
    pending_gradient_.assign(channels(), 0);
    has_pending_ = false;
  }

  void Commit() override {
    if (!is_adapting()) return;
    ++steps_;
    if (has_pending_) AverageCurvature();
    const double target = TargetBits(config_, steps_);
    if (config_.update == GateUpdate::kNewton) {
      StepNewton(target);
    } else {
      StepAdam(target);
    }
    Discard();
    SetWidths(is_adapting() ? RoundedBits() : FrozenWidths());
  }

  WidthReport Report() const override {
    WidthReport report = WidthPolicyBase::Report();
    const std::vector<double> bits = Bits();
    report.spread_bits = StandardDeviation(bits);
    if (averaged_steps_ > 0) {
      report.correlation = Correlation(
          bits, WaterFill(MeasuredCurvature(), Mean(bits), config_.b_min, config_.b_max));
    }
    return report;
  }

  std::map<std::string, std::vector<float>> State() const override {
    auto state = WidthPolicyBase::State();
    state["Q"] = ToFloats(q_);
    state["bits"] = ToFloats(Bits());
    state["curvature"] = ToFloats(MeasuredCurvature());
    return state;
  }

 private:
  bool is_adapting() const { return steps_ < config_.adapt_steps; }

  std::vector<double> Bits() const {
    std::vector<double> bits;
    bits.reserve(channels());
    for (const double q : q_) bits.push_back(BitsOfQ(config_, q));
    return bits;
  }

  std::vector<uint8_t> RoundedBits() const {
    std::vector<uint8_t> widths;
    widths.reserve(channels());
    for (const double bits : Bits()) widths.push_back(IntegerWidth(config_, bits));
    return widths;
  }

  // Start at the rounded bits, then the least harmful moves to the budget.
  std::vector<uint8_t> FrozenWidths() const {
    std::vector<double> curvature = MeasuredCurvature();
    if (config_.freeze == GateFreeze::kGate) {
      curvature = Bits();  // the sensitivity that Q implies: b is optimal for (2^b - 1)^2
      for (double& value : curvature) value = std::pow(std::exp2(value) - 1, 2);
    }
    return FitToBudget(RoundedBits(), curvature, config_.target_bits, LowestWidth(config_),
                       HighestWidth(config_));
  }

  void RequireErrorDot(const ChannelStats& stats) const {
    if (stats.error_dot.size() != channels()) {
      Throw(Code::kInvalidArgument, "error_dot has ", stats.error_dot.size(), " values for ",
            channels(), " channels");
    }
    for (size_t c = 0; c < channels(); ++c) {
      if (!std::isfinite(stats.error_dot[c])) {
        Throw(Code::kInvalidArgument, "error_dot of channel ", c, " must be finite, got ",
              stats.error_dot[c]);
      }
    }
  }

  // dL/db of a channel in one micro-batch, at the widths that it was sent with.
  double TaskGradient(const ChannelStats& stats, size_t c, double kappa) const {
    if (config_.update != GateUpdate::kAdam || stats.range[c] == 0) return 0;
    if (config_.gradient == GateGradient::kSte) {
      return SteGradient(widths()[c], stats.error_dot[c]);
    }
    return FisherGradient(widths()[c], stats.range[c], stats.gradient_energy[c], kappa);
  }

  void AverageCurvature() {
    for (size_t c = 0; c < channels(); ++c) {
      average_[c] = kCurvatureDecay * average_[c] + (1 - kCurvatureDecay) * pending_curvature_[c];
    }
    ++averaged_steps_;
  }

  std::vector<double> MeasuredCurvature() const {
    std::vector<double> curvature = average_;
    if (averaged_steps_ == 0) return curvature;
    const double correction = 1 - std::pow(kCurvatureDecay, static_cast<double>(averaged_steps_));
    for (double& value : curvature) value /= correction;
    return curvature;
  }

  // Half of the way to the minimiser of sum c / (2^b - 1)^2 at this moment's mean.
  void StepNewton(double target) {
    const std::vector<double> best =
        WaterFill(MeasuredCurvature(), target, config_.b_min, config_.b_max);
    for (size_t c = 0; c < channels(); ++c) {
      const double bits = BitsOfQ(config_, q_[c]);
      q_[c] = QOfBits(config_, bits + kNewtonDamping * (best[c] - bits));
    }
  }

  // Adam on Q with the task gradient and the bit penalty, whose mean is that of the integers that
  // were sent, straight-through.
  void StepAdam(double target) {
    ++adam_steps_;
    double sum = 0;
    for (const uint8_t width : widths()) sum += width;
    const double count = static_cast<double>(channels());
    const double penalty = penalty_.Next(sum / count, target) / count;
    // alpha * rate is what the argument of the sigmoid falls by in a step.
    const double rate =
        kAdamSpeed * (QOfBits(config_, config_.b_start) - QOfBits(config_, config_.target_bits)) /
        static_cast<double>(config_.adapt_steps);
    const double correction1 = 1 - std::pow(kAdamBeta1, adam_steps_);
    const double correction2 = 1 - std::pow(kAdamBeta2, adam_steps_);
    for (size_t c = 0; c < channels(); ++c) {
      const double gradient = (pending_gradient_[c] + penalty) * BitsSlope(config_, q_[c]);
      adam_m_[c] = kAdamBeta1 * adam_m_[c] + (1 - kAdamBeta1) * gradient;
      adam_v_[c] = kAdamBeta2 * adam_v_[c] + (1 - kAdamBeta2) * gradient * gradient;
      q_[c] -=
          rate * (adam_m_[c] / correction1) / (std::sqrt(adam_v_[c] / correction2) + kAdamEpsilon);
    }
  }

  const WidthConfig config_;
  std::vector<double> q_;
  uint64_t steps_ = 0;           // commits so far
  std::vector<double> average_;  // moving average of the curvature, not bias-corrected
  uint64_t averaged_steps_ = 0;
  std::vector<double> adam_m_;
  std::vector<double> adam_v_;
  double adam_steps_ = 0;
  PenaltyWeight penalty_;
  // Of the step under way.
  std::vector<double> pending_curvature_;
  std::vector<double> pending_gradient_;
  bool has_pending_ = false;
};

}  // namespace

std::unique_ptr<WidthPolicy> MakeAmaqPolicy(const WidthConfig& config, size_t channels) {
  return std::make_unique<AmaqPolicy>(config, channels);
}

}  // namespace amaq::quant
