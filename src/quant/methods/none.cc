// Method `none`: the tensor crosses as it is, in the wire's dtype.

#include "quant/methods/methods.h"

namespace amaq::quant {
namespace {

class NonePolicy final : public WidthPolicyBase {
 public:
  using WidthPolicyBase::WidthPolicyBase;
  PolicyPhase phase() const override { return PolicyPhase::kRaw; }
  double target_bits() const override { return 0; }
};

}  // namespace

std::unique_ptr<WidthPolicy> MakeNonePolicy(size_t channels) {
  return std::make_unique<NonePolicy>(channels);
}

}  // namespace amaq::quant
