// Method `fixed`: one width for all channels, from the first message on.

#include "quant/methods/methods.h"

namespace amaq::quant {
namespace {

class FixedPolicy final : public WidthPolicyBase {
 public:
  FixedPolicy(const WidthConfig& config, size_t channels)
      : WidthPolicyBase(channels), bits_(config.bits) {
    SetWidths(std::vector<uint8_t>(channels, static_cast<uint8_t>(bits_)));
  }
  PolicyPhase phase() const override { return PolicyPhase::kFrozen; }
  double target_bits() const override { return bits_; }

 private:
  const uint32_t bits_;
};

}  // namespace

std::unique_ptr<WidthPolicy> MakeFixedPolicy(const WidthConfig& config, size_t channels) {
  return std::make_unique<FixedPolicy>(config, channels);
}

}  // namespace amaq::quant
