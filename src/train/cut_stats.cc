// What the gate learns from a micro-batch: docs/formats/gate.md, "What a gate learns from".

#include <algorithm>
#include <cmath>

#include "core/check.h"
#include "quant/rd.h"
#include "tensor/bridge.h"
#include "train/cut.h"
#include "train/cut_rows.h"

namespace amaq::train {
namespace {

std::span<const float> ConstFloats(const at::Tensor& x) { return tensor::Floats(x); }

// R_c of a tensor that was sent raw: hi - lo over its rows but the sinks.
std::vector<double> RawRanges(const SentActivation& sent, uint32_t sink_tokens) {
  const at::Tensor host = tensor::OnHost(sent.x.to(at::kFloat));
  const std::span<const float> x = ConstFloats(host);
  const auto channels = static_cast<size_t>(sent.x.size(1));
  std::vector<float> low(channels, INFINITY);
  std::vector<float> high(channels, -INFINITY);
  const std::vector<uint32_t> sinks = SinkRows(sent.segments, sink_tokens);
  for (uint32_t row = 0; row < sent.segments.back(); ++row) {
    if (std::binary_search(sinks.begin(), sinks.end(), row)) continue;
    for (size_t c = 0; c < channels; ++c) {
      low[c] = std::min(low[c], x[row * channels + c]);
      high[c] = std::max(high[c], x[row * channels + c]);
    }
  }
  std::vector<double> range(channels, 0);
  for (size_t c = 0; c < channels; ++c) {
    if (high[c] > low[c]) range[c] = static_cast<double>(high[c]) - low[c];
  }
  return range;
}

// The error of a sum of differences is that of what the receiver sees; their ranges say nothing of
// x, so no value of it counts as clipped. g: the rows that crossed.
std::vector<double> ErrorDotOfDecoded(const SentActivation& sent, const at::Tensor& g,
                                      const GradientRows& plan) {
  const at::Tensor host = tensor::OnHost(sent.x.to(at::kFloat));
  const std::span<const float> x = ConstFloats(host);
  const std::span<const float> seen = ConstFloats(sent.coded.decoded);
  const std::span<const float> gradient = ConstFloats(g);
  const auto channels = static_cast<size_t>(sent.x.size(1));
  std::vector<double> error_dot(channels, 0);
  for (size_t i = 0; i < plan.rows.size(); ++i) {
    if (std::ranges::binary_search(plan.sink_rows, i)) continue;
    for (size_t c = 0; c < channels; ++c) {
      const size_t at = plan.rows[i] * channels + c;
      error_dot[c] += static_cast<double>(gradient[i * channels + c]) *
                      (static_cast<double>(seen[at]) - static_cast<double>(x[at]));
    }
  }
  return error_dot;
}

// Takes the rounding's noise out of the energies of a gradient that crossed in steps of one size.
// g: the rows that crossed.
void SubtractNoise(double step, std::span<const float> g, const GradientRows& plan,
                   std::vector<double>* energy) {
  const size_t channels = energy->size();
  const auto coded_rows = static_cast<double>(plan.num_coded());
  std::vector<double> magnitude(channels, 0);
  for (size_t i = 0; i < plan.rows.size(); ++i) {
    if (std::ranges::binary_search(plan.sink_rows, i)) continue;
    for (size_t c = 0; c < channels; ++c) {
      magnitude[c] += std::fabs(static_cast<double>(g[i * channels + c]));
    }
  }
  for (size_t c = 0; c < channels; ++c) {
    const double mean = coded_rows == 0 ? 0 : magnitude[c] / (coded_rows * step);
    const double noise = coded_rows * step * step * quant::RdRoundingNoise(mean);
    (*energy)[c] = std::max(0.0, (*energy)[c] - noise);
  }
}

}  // namespace

quant::GateSums CutCoder::DecodeAndSum(const GradientMessage& message, const SentActivation& sent,
                                       bool wants_error_dot, at::Tensor* rows) const {
  const GradientRows& plan = message.plan;
  const at::Tensor x = CodecInput(sent.x);
  const bool is_of_x = !sent.coded.raw_dtype && !quant::NeedsCache(options_.method);
  const quant::SentActivation known{tensor::ViewMatrix(x), &sent.coded.sections, sent.widths,
                                    options_.nested};
  const quant::SentActivation* activation = wants_error_dot && is_of_x ? &known : nullptr;
  quant::GateSums sums =
      gradient_->DecodeForGate(message.sections, message.raw_dtype,
                               {.widths = message.widths,
                                .rows = {plan.sink_rows, plan.rows},
                                .samples = quant::SampleContext{{}, {}, PlaceOf(message.id)}},
                               rows->size(0), rows->size(1), activation, tensor::Floats(*rows));
  if (wants_error_dot && activation == nullptr) {
    sums.error_dot = sent.coded.raw_dtype ? std::vector<double>(sums.energy.size(), 0)
                                          : ErrorDotOfDecoded(sent, *rows, plan);
  }
  return sums;
}

ObservedGradient CutCoder::ObserveGradient(const GradientMessage& message,
                                           const SentActivation& sent, bool wants_error_dot,
                                           at::Device device, at::ScalarType type) {
  const GradientRows& plan = message.plan;
  at::Tensor rows = tensor::EmptyFloats(static_cast<int64_t>(plan.rows.size()), sent.x.size(1));
  ObservedGradient observed;
  if (options_.positions > 0) {
    observed.stats = ObserveTokens(message, sent, wants_error_dot, &rows);
    observed.gradient = SpreadRows(rows, plan, sent.x.size(0), device, type);
    return observed;
  }
  quant::GateSums sums = DecodeAndSum(message, sent, wants_error_dot, &rows);
  observed.gradient = SpreadRows(rows, plan, sent.x.size(0), device, type);
  quant::ChannelStats& stats = observed.stats;
  stats.range = sent.coded.raw_dtype ? RawRanges(sent, options_.sink_tokens)
                                     : SentRanges(sent.coded.sections, sent.widths);
  stats.gradient_energy = std::move(sums.energy);
  stats.error_dot = std::move(sums.error_dot);
  if (message.raw_dtype) return observed;
  if (options_.gradient_rate > 0) {
    if (options_.gradient_rounding == quant::Rounding::kStochastic) {
      const Bytes* codes = FindSection(message.sections, SectionKind::kRdCodes);
      AMAQ_CHECK(codes != nullptr);  // they were decoded
      SubtractNoise(quant::RdStepOf(*codes).value(), ConstFloats(rows), plan,
                    &stats.gradient_energy);
    }
    return observed;
  }
  const quant::DecodedRanges ranges = quant::ReadRanges(message.sections, message.widths);
  const double share = options_.gradient_rounding == quant::Rounding::kStochastic ? 6 : 12;
  const auto coded_rows = static_cast<double>(plan.num_coded());
  for (size_t c = 0; c < ranges.step.size(); ++c) {
    const double noise = coded_rows * ranges.step[c] * ranges.step[c] / share;
    stats.gradient_energy[c] = std::max(0.0, stats.gradient_energy[c] - noise);
  }
  return observed;
}

}  // namespace amaq::train
