// Method `linear`: one width for all channels that falls on a straight line from floor(b_max) at
// step 0 to target_bits at adapt_steps, rounded half to even at each step. It separates
// "progressive" from "mixed"; b_start and the schedule belong to the gate and are not read.

#include <algorithm>

#include "quant/gate.h"
#include "quant/methods/methods.h"

namespace amaq::quant {
namespace {

class LinearPolicy final : public WidthPolicyBase {
 public:
  LinearPolicy(const WidthConfig& config, size_t channels)
      : WidthPolicyBase(channels), config_(config) {
    Update();
  }
  PolicyPhase phase() const override {
    return steps_ < config_.adapt_steps ? PolicyPhase::kAdapting : PolicyPhase::kFrozen;
  }
  double target_bits() const override {
    const double progress = static_cast<double>(std::min(steps_, config_.adapt_steps)) /
                            static_cast<double>(config_.adapt_steps);
    const double start = HighestWidth(config_);
    return start + (config_.target_bits - start) * progress;
  }
  void Commit() override {
    ++steps_;
    Update();
  }

 private:
  void Update() {
    SetWidths(std::vector<uint8_t>(channels(), IntegerWidth(config_, target_bits())));
  }

  const WidthConfig config_;
  uint64_t steps_ = 0;
};

}  // namespace

std::unique_ptr<WidthPolicy> MakeLinearPolicy(const WidthConfig& config, size_t channels) {
  return std::make_unique<LinearPolicy>(config, channels);
}

}  // namespace amaq::quant
