// The gradient's own gate, `gradient.bits: own`: widths with the least squared error of the
// gradient at this moment's target. Error of a channel ~ step^2 = (R / (2^n - 1))^2, so R^2 takes
// the place of the curvature and nothing else of the gate is needed. Refitted at every COMMIT,
// final from adapt_steps on. Our choice.

#include "quant/gate.h"
#include "quant/methods/methods.h"

namespace amaq::quant {
namespace {

constexpr double kDecay = 0.9;  // as the curvature of the activation's gate

class GradientPolicy final : public WidthPolicyBase {
 public:
  GradientPolicy(const WidthConfig& config, size_t channels)
      : WidthPolicyBase(channels), config_(config), average_(channels, 0), pending_(channels, 0) {
    Fit();
  }

  PolicyPhase phase() const override {
    return steps_ < config_.adapt_steps ? PolicyPhase::kAdapting : PolicyPhase::kFrozen;
  }
  double target_bits() const override { return TargetBits(config_, steps_); }
  bool wants_stats() const override { return steps_ < config_.adapt_steps; }

  // stats.range alone is read.
  void Observe(const ChannelStats& stats, uint64_t /*loss_tokens*/) override {
    if (!wants_stats()) return;
    RequireChannelValues("range", stats.range, channels());
    for (size_t c = 0; c < channels(); ++c) pending_[c] += stats.range[c] * stats.range[c];
  }
  void Discard() override { pending_.assign(channels(), 0); }
  void Commit() override {
    if (!wants_stats()) return;
    ++steps_;
    for (size_t c = 0; c < channels(); ++c) {
      average_[c] = kDecay * average_[c] + (1 - kDecay) * pending_[c];
    }
    Discard();
    Fit();
  }

  WidthReport Report() const override {
    WidthReport report = WidthPolicyBase::Report();
    const std::vector<double> alike(channels(), 1);
    SummarizeWidths(widths(), average_, alike, config_, &report);
    report.spread_bits = report.widths_spread;
    report.correlation = report.widths_correlation;
    return report;
  }

 private:
  // Rounded water-filling, then the greedy moves to the budget. The bias of the average is the same
  // factor in all channels and changes nothing.
  void Fit() {
    const double target = target_bits();
    std::vector<uint8_t> rounded;
    for (const double bits : WaterFill(average_, target, config_.b_min, config_.b_max)) {
      rounded.push_back(IntegerWidth(config_, bits));
    }
    SetWidths(FitToBudget(std::move(rounded), average_, target, LowestWidth(config_),
                          HighestWidth(config_)));
  }

  const WidthConfig config_;
  uint64_t steps_ = 0;
  std::vector<double> average_;  // of R^2
  std::vector<double> pending_;  // of the step under way
};

}  // namespace

std::unique_ptr<WidthPolicy> MakeGradientPolicy(const WidthConfig& config, int64_t channels) {
  ValidateGradientGate(config, channels);
  return std::make_unique<GradientPolicy>(config, static_cast<size_t>(channels));
}

}  // namespace amaq::quant
