#include "quant/width_policy.h"

#include <cmath>
#include <string_view>
#include <utility>

#include "core/error.h"
#include "quant/gate.h"
#include "quant/methods/methods.h"

namespace amaq::quant {
namespace {

void RequireIn(std::string_view name, double value, double low, double high) {
  if (!(value >= low && value <= high)) {
    Throw(Code::kInvalidArgument, name, " must be in [", low, ", ", high, "], got ", value);
  }
}

void ValidateBounds(const WidthConfig& config) {
  RequireIn("b_min", config.b_min, 1, 8);
  RequireIn("b_max", config.b_max, config.b_min, 8);
  if (LowestWidth(config) > HighestWidth(config) || config.b_min == config.b_max) {
    Throw(Code::kInvalidArgument, "no whole number of bits to move in between b_min ", config.b_min,
          " and b_max ", config.b_max);
  }
  RequireIn("target_bits", config.target_bits, std::ceil(config.b_min), std::floor(config.b_max));
}

void ValidateAdaptation(const WidthConfig& config) {
  if (config.adapt_steps == 0) {
    Throw(Code::kInvalidArgument, "adapt_steps must be at least 1 for quant.method ",
          MethodName(config.method), ", got 0");
  }
}

double LeastBits(Method method) {
  if (method == Method::kAqsgd) return 1;
  return method == Method::kTahquant ? 3 : 2;
}

void ValidateAmaq(const WidthConfig& config) {
  ValidateBounds(config);
  ValidateAdaptation(config);
  if (!(config.b_start > config.b_min && config.b_start < config.b_max)) {
    Throw(Code::kInvalidArgument, "b_start must lie between b_min ", config.b_min, " and b_max ",
          config.b_max, ", got ", config.b_start);
  }
  if (!(config.target_bits > config.b_min && config.target_bits <= config.b_start)) {
    Throw(Code::kInvalidArgument, "target_bits must be above b_min ", config.b_min,
          " and not above b_start ", config.b_start, ", got ", config.target_bits);
  }
  if (!(config.alpha > 0 && std::isfinite(config.alpha))) {
    Throw(Code::kInvalidArgument, "alpha must be positive, got ", config.alpha);
  }
  if (!(config.penalty_beta >= 0 && std::isfinite(config.penalty_beta))) {
    Throw(Code::kInvalidArgument, "penalty_beta must not be negative, got ", config.penalty_beta);
  }
}

}  // namespace

void RequireChannelValues(std::string_view name, const std::vector<double>& values,
                          size_t channels) {
  if (values.size() != channels) {
    Throw(Code::kInvalidArgument, name, " has ", values.size(), " values for ", channels,
          " channels");
  }
  for (size_t c = 0; c < channels; ++c) {
    if (!(values[c] >= 0 && std::isfinite(values[c]))) {
      Throw(Code::kInvalidArgument, name, " of channel ", c,
            " must be finite and not negative, got ", values[c]);
    }
  }
}

void SummarizeWidths(std::span<const uint8_t> widths, std::span<const double> curvature,
                     std::span<const double> weights, const WidthConfig& config,
                     WidthReport* report) {
  const std::vector<double> bits(widths.begin(), widths.end());
  report->histogram.assign(9, 0);
  double sum = 0;
  double total = 0;
  for (size_t i = 0; i < widths.size(); ++i) {
    ++report->histogram[widths[i]];
    sum += weights[i] * bits[i];
    total += weights[i];
  }
  report->mean_bits = total > 0 ? sum / total : Mean(bits);
  report->widths_spread = StandardDeviation(bits);
  if (curvature.empty() || !(total > 0)) return;
  report->widths_correlation = Correlation(
      bits, WaterFill(curvature, report->mean_bits, config.b_min, config.b_max, weights));
}

void ValidateGradientGate(const WidthConfig& config, int64_t channels) {
  if (channels < 1) {
    Throw(Code::kInvalidArgument, "a gate needs at least 1 channel, got ", channels);
  }
  ValidateBounds(config);
  ValidateAdaptation(config);
  RequireIn("b_start", config.b_start, config.target_bits, config.b_max);
}

WidthReport WidthPolicyBase::Report() const {
  WidthReport report;
  report.target_bits = target_bits();
  report.histogram.assign(9, 0);
  if (widths_.empty()) return report;
  uint64_t sum = 0;
  for (const uint8_t width : widths_) {
    ++report.histogram[width];
    sum += width;
  }
  report.mean_bits = static_cast<double>(sum) / static_cast<double>(widths_.size());
  return report;
}

std::map<std::string, std::vector<float>> WidthPolicyBase::State() const {
  if (widths_.empty()) return {};
  return {{"widths", std::vector<float>(widths_.begin(), widths_.end())}};
}

void WidthPolicyBase::SetWidths(std::vector<uint8_t> widths) {
  if (widths == widths_) return;
  widths_ = std::move(widths);
  ++version_;
}

std::vector<double> Curvature(const ChannelStats& stats, size_t channels, uint64_t loss_tokens) {
  RequireChannelValues("range", stats.range, channels);
  RequireChannelValues("gradient_energy", stats.gradient_energy, channels);
  std::vector<double> curvature(channels);
  for (size_t c = 0; c < channels; ++c) {
    curvature[c] = static_cast<double>(loss_tokens) * stats.range[c] * stats.range[c] *
                   stats.gradient_energy[c];
  }
  RequireChannelValues("curvature", curvature, channels);
  return curvature;
}

std::unique_ptr<WidthPolicy> MakeWidthPolicy(const WidthConfig& config, int64_t channels) {
  if (channels < 1) {
    Throw(Code::kInvalidArgument, "a gate needs at least 1 channel, got ", channels);
  }
  const auto count = static_cast<size_t>(channels);
  switch (config.method) {
    case Method::kNone:
      return MakeNonePolicy(count);
    case Method::kFixed:
    case Method::kGroup:
    case Method::kAqsgd:
    case Method::kTahquant:
      RequireIn("bits", config.bits, LeastBits(config.method), 8);
      return MakeFixedPolicy(config, count);
    case Method::kLinear:
      ValidateBounds(config);
      ValidateAdaptation(config);
      return MakeLinearPolicy(config, count);
    case Method::kWaterfill:
      ValidateBounds(config);
      return MakeWaterfillPolicy(config, count);
    case Method::kAmaqRd:
      return MakeRdPolicy(config, count);
    case Method::kAmaq:
    case Method::kAmaqDelta:
      ValidateAmaq(config);
      return MakeAmaqPolicy(config, count);
  }
  Throw(Code::kInvalidArgument, "unknown quant.method number ",
        static_cast<uint32_t>(config.method));
}

}  // namespace amaq::quant
