// Method `waterfill`: widths from one calibration pass, fixed from step 0 on. It separates "mixed"
// from "learned". While calibrating, tensors cross raw.

#include <utility>

#include "core/error.h"
#include "quant/gate.h"
#include "quant/methods/methods.h"

namespace amaq::quant {
namespace {

constexpr uint32_t kCalibrationMicroBatches = 2;

class WaterfillPolicy final : public WidthPolicyBase {
 public:
  WaterfillPolicy(const WidthConfig& config, size_t channels)
      : WidthPolicyBase(channels), config_(config), curvature_(channels), weights_(channels) {}

  PolicyPhase phase() const override {
    return is_calibrated() ? PolicyPhase::kFrozen : PolicyPhase::kCalibrating;
  }
  double target_bits() const override { return config_.target_bits; }
  bool wants_stats() const override { return !is_calibrated(); }
  uint32_t calibration_micro_batches() const override {
    return is_calibrated() ? 0 : kCalibrationMicroBatches - observed_;
  }

  void Observe(const ChannelStats& stats, uint64_t loss_tokens) override {
    if (is_calibrated()) return;
    const std::vector<double> observed = Curvature(stats, channels(), loss_tokens);
    if (!stats.weight.empty()) RequireChannelValues("weight", stats.weight, channels());
    for (size_t c = 0; c < channels(); ++c) {
      curvature_[c] += observed[c];
      weights_[c] += stats.weight.empty() ? 1 : stats.weight[c];
    }
    if (observed_ < kCalibrationMicroBatches) ++observed_;
  }

  void Discard() override {
    if (is_calibrated()) return;
    curvature_.assign(channels(), 0);
    weights_.assign(channels(), 0);
    observed_ = 0;
  }

  void FinishCalibration() override {
    if (is_calibrated()) return;
    if (observed_ == 0) {
      Throw(Code::kFailedPrecondition, "waterfill saw none of its ", kCalibrationMicroBatches,
            " calibration micro-batches");
    }
    // Units of which nothing was seen (positions) get the target, whole bits of it.
    const uint8_t lowest = LowestWidth(config_);
    std::vector<uint8_t> widths(channels(), lowest);
    for (size_t c = 0; c < channels(); ++c) {
      if (weights_[c] <= 0) widths[c] = static_cast<uint8_t>(config_.target_bits);
    }
    SetWidths(FitToBudget(std::move(widths), curvature_, config_.target_bits, lowest,
                          HighestWidth(config_), weights_));
  }

  WidthReport Report() const override {
    WidthReport report = WidthPolicyBase::Report();
    if (!is_calibrated()) return report;
    SummarizeWidths(widths(), curvature_, weights_, config_, &report);
    report.spread_bits = report.widths_spread;
    report.correlation = report.widths_correlation;
    return report;
  }

  std::map<std::string, std::vector<float>> State() const override {
    auto state = WidthPolicyBase::State();
    state["curvature"] = std::vector<float>(curvature_.begin(), curvature_.end());
    return state;
  }

 private:
  bool is_calibrated() const { return version() != 0; }

  const WidthConfig config_;
  std::vector<double> curvature_;  // sums over the calibration micro-batches
  std::vector<double> weights_;    // elements seen
  uint32_t observed_ = 0;
};

}  // namespace

std::unique_ptr<WidthPolicy> MakeWaterfillPolicy(const WidthConfig& config, size_t channels) {
  return std::make_unique<WaterfillPolicy>(config, channels);
}

}  // namespace amaq::quant
