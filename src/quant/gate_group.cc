#include "quant/gate_group.h"

#include <cmath>

#include "core/check.h"
#include "core/error.h"
#include "quant/methods/methods.h"

namespace amaq::quant {
namespace {

constexpr double kCurvatureDecay = 0.9;
constexpr double kNewtonDamping = 0.5;
constexpr double kAdamBeta1 = 0.9;
constexpr double kAdamBeta2 = 0.99;
// The penalty's gradient is beta / U times db/dQ: the usual 1e-8 would not be small beside it.
constexpr double kAdamEpsilon = 1e-15;
// Head room over the constant speed that falls from b_start to the target in adapt_steps.
constexpr double kAdamSpeed = 1.25;

std::vector<float> ToFloats(std::span<const double> values) {
  std::vector<float> out;
  out.reserve(values.size());
  for (const double value : values) out.push_back(static_cast<float>(value));
  return out;
}

void RequireFinite(const char* name, const std::vector<double>& values, size_t units, double low) {
  if (values.size() != units) {
    Throw(Code::kInvalidArgument, name, " has ", values.size(), " values for ", units, " channels");
  }
  for (size_t c = 0; c < units; ++c) {
    if (!std::isfinite(values[c]) || values[c] < low) {
      Throw(Code::kInvalidArgument, name, " of channel ", c, " must be finite",
            low == 0 ? " and not negative" : "", ", got ", values[c]);
    }
  }
}

double WeightedMean(std::span<const double> values, std::span<const double> weights) {
  double sum = 0;
  double total = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    sum += weights[i] * values[i];
    total += weights[i];
  }
  return sum / total;
}

}  // namespace

GateGroup::GateGroup(const WidthConfig& config, const std::vector<GateShape>& shapes)
    : config_(config), penalty_(config) {
  AMAQ_CHECK(!shapes.empty());
  first_.push_back(0);
  for (const GateShape& shape : shapes) {
    AMAQ_CHECK(shape.units > 0 && shape.elements_per_unit > 0);
    first_.push_back(first_.back() + shape.units);
    elements_per_unit_.resize(first_.back(), shape.elements_per_unit);
  }
  const size_t units = first_.back();
  q_.assign(units, QOfBits(config, config.b_start));
  for (auto* zeros : {&seen_, &average_, &adam_m_, &adam_v_}) zeros->assign(units, 0);
  Discard();
  widths_ = RoundedBits();
}

double GateGroup::target_bits() const {
  return is_adapting() ? TargetBits(config_, steps_) : config_.target_bits;
}

bool GateGroup::wants_error_dot() const {
  return is_adapting() && config_.update == GateUpdate::kAdam &&
         config_.gradient == GateGradient::kSte;
}

std::span<const uint8_t> GateGroup::widths(size_t gate) const {
  return std::span(widths_).subspan(first_[gate], first_[gate + 1] - first_[gate]);
}

std::span<const double> GateGroup::Part(const std::vector<double>& all, size_t gate) const {
  return std::span(all).subspan(first_[gate], first_[gate + 1] - first_[gate]);
}

void GateGroup::Observe(size_t gate, const ChannelStats& stats, uint64_t loss_tokens) {
  if (!is_adapting()) return;
  const size_t first = first_[gate];
  const size_t units = first_[gate + 1] - first;
  const std::vector<double> curvature = Curvature(stats, units, loss_tokens);
  if (wants_error_dot()) RequireFinite("error_dot", stats.error_dot, units, -HUGE_VAL);
  if (!stats.weight.empty()) {
    RequireFinite("weight", stats.weight, units, 0);
    counts_elements_ = true;
  }
  for (size_t c = 0; c < units; ++c) {
    pending_curvature_[first + c] += curvature[c];
    pending_gradient_[first + c] += TaskGradient(stats, gate, c, static_cast<double>(loss_tokens));
    pending_seen_[first + c] += stats.weight.empty() ? 1 : stats.weight[c];
  }
  has_pending_ = true;
}

void GateGroup::Discard() {
  for (auto* pending : {&pending_curvature_, &pending_gradient_, &pending_seen_}) {
    pending->assign(first_.back(), 0);
  }
  has_pending_ = false;
}

void GateGroup::Commit() {
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
  widths_ = is_adapting() ? RoundedBits() : FrozenWidths();
}

std::vector<double> GateGroup::Bits() const {
  std::vector<double> bits;
  bits.reserve(q_.size());
  for (const double q : q_) bits.push_back(BitsOfQ(config_, q));
  return bits;
}

std::vector<uint8_t> GateGroup::RoundedBits() const {
  std::vector<uint8_t> widths;
  widths.reserve(q_.size());
  for (const double bits : Bits()) widths.push_back(IntegerWidth(config_, bits));
  return widths;
}

// Elements of each unit. Messages of one tensor have the same elements in all channels, so without
// counts the shapes decide.
std::vector<double> GateGroup::Weights() const {
  std::vector<double> weights = elements_per_unit_;
  if (!counts_elements_) return weights;
  for (size_t i = 0; i < weights.size(); ++i) weights[i] *= seen_[i];
  return weights;
}

// Start at the rounded bits, then the least harmful moves to the budget.
std::vector<uint8_t> GateGroup::FrozenWidths() const {
  std::vector<double> curvature = MeasuredCurvature();
  const std::vector<double> weights = Weights();
  if (config_.freeze == GateFreeze::kGate) {
    // The sensitivity that Q implies: with weight w, b is optimal for w (2^b - 1)^2 about.
    curvature = Bits();
    for (size_t i = 0; i < curvature.size(); ++i) {
      curvature[i] = weights[i] * std::pow(std::exp2(curvature[i]) - 1, 2);
    }
  }
  return FitToBudget(RoundedBits(), curvature, config_.target_bits, LowestWidth(config_),
                     HighestWidth(config_), weights);
}

// dL/db of a unit in one micro-batch, at the widths that it was sent with.
double GateGroup::TaskGradient(const ChannelStats& stats, size_t gate, size_t unit,
                               double kappa) const {
  if (config_.update != GateUpdate::kAdam || stats.range[unit] == 0) return 0;
  const uint8_t width = widths(gate)[unit];
  if (config_.gradient == GateGradient::kSte) return SteGradient(width, stats.error_dot[unit]);
  return FisherGradient(width, stats.range[unit], stats.gradient_energy[unit], kappa);
}

void GateGroup::AverageCurvature() {
  for (size_t i = 0; i < q_.size(); ++i) {
    average_[i] = kCurvatureDecay * average_[i] + (1 - kCurvatureDecay) * pending_curvature_[i];
    seen_[i] += pending_seen_[i];
  }
  ++averaged_steps_;
}

std::vector<double> GateGroup::MeasuredCurvature() const {
  std::vector<double> curvature = average_;
  if (averaged_steps_ == 0) return curvature;
  const double correction = 1 - std::pow(kCurvatureDecay, static_cast<double>(averaged_steps_));
  for (double& value : curvature) value /= correction;
  return curvature;
}

// Half of the way to the minimiser of sum c / (2^b - 1)^2 at this moment's mean.
void GateGroup::StepNewton(double target) {
  const std::vector<double> best =
      WaterFill(MeasuredCurvature(), target, config_.b_min, config_.b_max, Weights());
  for (size_t i = 0; i < q_.size(); ++i) {
    const double bits = BitsOfQ(config_, q_[i]);
    q_[i] = QOfBits(config_, bits + kNewtonDamping * (best[i] - bits));
  }
}

// Adam on Q with the task gradient and the bit penalty, whose mean is that of the integers that
// were sent, straight-through.
void GateGroup::StepAdam(double target) {
  ++adam_steps_;
  std::vector<double> weights = Weights();
  double total = 0;
  for (const double weight : weights) total += weight;
  if (total <= 0) {  // nothing was ever seen
    weights = elements_per_unit_;
    for (const double weight : weights) total += weight;
  }
  const double mean = WeightedMean(std::vector<double>(widths_.begin(), widths_.end()), weights);
  const double penalty = penalty_.Next(mean, target) / total;
  // alpha * rate is what the argument of the sigmoid falls by in a step.
  const double rate = kAdamSpeed *
                      (QOfBits(config_, config_.b_start) - QOfBits(config_, config_.target_bits)) /
                      static_cast<double>(config_.adapt_steps);
  const double correction1 = 1 - std::pow(kAdamBeta1, adam_steps_);
  const double correction2 = 1 - std::pow(kAdamBeta2, adam_steps_);
  for (size_t i = 0; i < q_.size(); ++i) {
    const double gradient =
        (pending_gradient_[i] + penalty * weights[i]) * BitsSlope(config_, q_[i]);
    adam_m_[i] = kAdamBeta1 * adam_m_[i] + (1 - kAdamBeta1) * gradient;
    adam_v_[i] = kAdamBeta2 * adam_v_[i] + (1 - kAdamBeta2) * gradient * gradient;
    q_[i] -=
        rate * (adam_m_[i] / correction1) / (std::sqrt(adam_v_[i] / correction2) + kAdamEpsilon);
  }
}

WidthReport GateGroup::Report(size_t gate) const {
  WidthReport report;
  report.target_bits = target_bits();
  const std::vector<double> all_bits = Bits();
  const std::span<const double> bits = Part(all_bits, gate);
  report.spread_bits = StandardDeviation(bits);
  const std::vector<double> all_curvature = MeasuredCurvature();
  const std::vector<double> all_weights = Weights();
  std::span<const double> weights = Part(all_weights, gate);
  if (counts_elements_ && averaged_steps_ == 0) weights = Part(elements_per_unit_, gate);
  SummarizeWidths(widths(gate),
                  averaged_steps_ > 0 ? Part(all_curvature, gate) : std::span<const double>(),
                  weights, config_, &report);
  if (averaged_steps_ > 0) {
    report.correlation =
        Correlation(bits, WaterFill(Part(all_curvature, gate), WeightedMean(bits, weights),
                                    config_.b_min, config_.b_max, weights));
  }
  return report;
}

std::map<std::string, std::vector<float>> GateGroup::State(size_t gate) const {
  const std::vector<double> bits = Bits();
  const std::vector<double> curvature = MeasuredCurvature();
  const std::span<const uint8_t> sent = widths(gate);
  std::map<std::string, std::vector<float>> state = {
      {"Q", ToFloats(Part(q_, gate))},
      {"bits", ToFloats(Part(bits, gate))},
      {"curvature", ToFloats(Part(curvature, gate))},
      {"widths", std::vector<float>(sent.begin(), sent.end())}};
  if (config_.update == GateUpdate::kAdam) {
    state["penalty_beta"] = {static_cast<float>(penalty_.value())};
  }
  if (counts_elements_) state["elements"] = ToFloats(Part(seen_, gate));
  return state;
}

}  // namespace amaq::quant
