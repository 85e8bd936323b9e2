// Method `amaq-rd`: no widths. What its messages cost follows the target all the same, by the
// sender's controller (rd_rate.h); this is the target as headers and the log show it.

#include "quant/gate.h"
#include "quant/methods/methods.h"

namespace amaq::quant {
namespace {

class RdPolicy final : public WidthPolicyBase {
 public:
  RdPolicy(const WidthConfig& config, size_t channels)
      : WidthPolicyBase(channels), config_(config) {}

  // Not raw: messages are coded, by one version of the basis.
  uint64_t version() const override { return 1; }
  PolicyPhase phase() const override { return PolicyPhase::kFrozen; }
  double target_bits() const override { return TargetBits(config_, steps_); }
  void Commit() override { ++steps_; }

 private:
  const WidthConfig config_;
  uint64_t steps_ = 0;
};

}  // namespace

std::unique_ptr<WidthPolicy> MakeRdPolicy(const WidthConfig& config, size_t channels) {
  return std::make_unique<RdPolicy>(config, channels);
}

}  // namespace amaq::quant
