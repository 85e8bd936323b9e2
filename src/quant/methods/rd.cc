// Method `amaq-rd`: no widths. What its messages cost follows the target all the same (rd_rate.h);
// this is the target as the log shows it.

#include "quant/gate.h"
#include "quant/methods/methods.h"
#include "quant/rd_rate.h"

namespace amaq::quant {
namespace {

class RdPolicy final : public WidthPolicyBase {
 public:
  RdPolicy(const WidthConfig& config, size_t channels) : WidthPolicyBase(channels), rate_(config) {}

  // Not raw: messages are coded, by one version of the basis.
  uint64_t version() const override { return 1; }
  PolicyPhase phase() const override { return PolicyPhase::kFrozen; }
  double target_bits() const override { return rate_.target_bits(); }
  void Commit() override { rate_.Commit(); }

 private:
  RdRateControl rate_;
};

}  // namespace

std::unique_ptr<WidthPolicy> MakeRdPolicy(const WidthConfig& config, size_t channels) {
  return std::make_unique<RdPolicy>(config, channels);
}

}  // namespace amaq::quant
