#ifndef AMAQ_QUANT_METHODS_METHODS_H_
#define AMAQ_QUANT_METHODS_METHODS_H_

// The methods behind MakeWidthPolicy, one file each. The configuration was validated there.

#include <memory>
#include <string_view>

#include "quant/width_policy.h"

namespace amaq::quant {

std::unique_ptr<WidthPolicy> MakeNonePolicy(size_t channels);
std::unique_ptr<WidthPolicy> MakeFixedPolicy(const WidthConfig& config, size_t channels);
std::unique_ptr<WidthPolicy> MakeLinearPolicy(const WidthConfig& config, size_t channels);
std::unique_ptr<WidthPolicy> MakeWaterfillPolicy(const WidthConfig& config, size_t channels);
std::unique_ptr<WidthPolicy> MakeAmaqPolicy(const WidthConfig& config, size_t channels);
std::unique_ptr<WidthPolicy> MakeRdPolicy(const WidthConfig& config, size_t channels);

// What all methods share: the widths with their version, and answers for those who learn nothing.
class WidthPolicyBase : public WidthPolicy {
 public:
  explicit WidthPolicyBase(size_t channels) : channels_(channels) {}

  std::span<const uint8_t> widths() const override { return widths_; }
  uint64_t version() const override { return version_; }
  bool wants_stats() const override { return false; }
  bool wants_error_dot() const override { return false; }
  void Observe(const ChannelStats&, uint64_t) override {}
  void Discard() override {}
  void Commit() override {}
  uint32_t calibration_micro_batches() const override { return 0; }
  void FinishCalibration() override {}
  WidthReport Report() const override;
  std::map<std::string, std::vector<float>> State() const override;

 protected:
  size_t channels() const { return channels_; }
  // The version rises when the widths differ from those before.
  void SetWidths(std::vector<uint8_t> widths);

 private:
  const size_t channels_;
  std::vector<uint8_t> widths_;
  uint64_t version_ = 0;
};

// Fills mean_bits (weighted), the histogram, and spread and correlation of the integer widths with
// the water-filling optimum for `curvature` (empty: not measured) at their own mean.
void SummarizeWidths(std::span<const uint8_t> widths, std::span<const double> curvature,
                     std::span<const double> weights, const WidthConfig& config,
                     WidthReport* report);

// Errors: kInvalidArgument.
void ValidateGradientGate(const WidthConfig& config, int64_t channels);
void RequireChannelValues(std::string_view name, const std::vector<double>& values,
                          size_t channels);

// kappa * range^2 * gradient_energy of each channel: the curvature of the loss in the channel's
// rounding error, of one micro-batch. Errors: kInvalidArgument for a span that is not [H] or a
// value that is negative or not finite.
std::vector<double> Curvature(const ChannelStats& stats, size_t channels, uint64_t loss_tokens);

}  // namespace amaq::quant

#endif  // AMAQ_QUANT_METHODS_METHODS_H_
