// Method `amaq`: the group of one gate (gate_group.h), whose bits fall from b_start to target_bits
// over adapt_steps and then freeze as integers.

#include "quant/gate_group.h"
#include "quant/methods/methods.h"

namespace amaq::quant {
namespace {

class AmaqPolicy final : public WidthPolicyBase {
 public:
  AmaqPolicy(const WidthConfig& config, size_t channels)
      : WidthPolicyBase(channels), gates_(config, {{channels, 1}}) {
    Publish();
  }

  PolicyPhase phase() const override {
    return gates_.is_adapting() ? PolicyPhase::kAdapting : PolicyPhase::kFrozen;
  }
  double target_bits() const override { return gates_.target_bits(); }
  bool wants_stats() const override { return gates_.is_adapting(); }
  bool wants_error_dot() const override { return gates_.wants_error_dot(); }
  void Observe(const ChannelStats& stats, uint64_t loss_tokens) override {
    gates_.Observe(0, stats, loss_tokens);
  }
  void Discard() override { gates_.Discard(); }
  void Commit() override {
    gates_.Commit();
    Publish();
  }
  WidthReport Report() const override { return gates_.Report(0); }
  std::map<std::string, std::vector<float>> State() const override { return gates_.State(0); }

 private:
  void Publish() { SetWidths({gates_.widths(0).begin(), gates_.widths(0).end()}); }

  GateGroup gates_;
};

}  // namespace

std::unique_ptr<WidthPolicy> MakeAmaqPolicy(const WidthConfig& config, size_t channels) {
  return std::make_unique<AmaqPolicy>(config, channels);
}

}  // namespace amaq::quant
