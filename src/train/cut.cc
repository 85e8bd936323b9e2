#include "train/cut.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <bit>
#include <cmath>

#include "core/check.h"
#include "core/rng.h"
#include "io/scratch_file.h"
#include "quant/range_modes.h"
#include "quant/rd.h"
#include "tensor/bridge.h"

namespace amaq::train {
namespace {

// The codec reads fp32, bf16 and fp16; fp64 (tests) is narrowed.
at::Tensor CodecInput(const at::Tensor& x) {
  return tensor::OnHost(x.scalar_type() == at::kDouble ? x.to(at::kFloat) : x);
}

// The cache's place on disk.
class ScratchStorage final : public quant::CacheStorage {
 public:
  ScratchStorage(std::string folder, uint64_t max_bytes)
      : file_(io::ScratchFile::Create(folder, max_bytes)) {}
  std::span<uint8_t> Grow(uint64_t bytes) override { return file_->Grow(bytes); }

 private:
  const std::unique_ptr<io::ScratchFile> file_;
};

std::unique_ptr<quant::Coder> CoderOf(const CutOptions& options, quant::TensorKind kind) {
  std::unique_ptr<quant::CacheStorage> storage;
  if (quant::NeedsCache(options.method) && kind == quant::TensorKind::kActivation) {
    storage = std::make_unique<ScratchStorage>(options.cache_dir, options.cache_bytes);
  }
  return quant::MakeCoder({options.method, options.wire_dtype, options.range, options.group_size,
                           options.cache_bytes, options.nested, options.range_percentile,
                           options.range_margin, options.range_max_clipped, options.gradient_rate},
                          kind, std::move(storage));
}

}  // namespace

std::vector<uint8_t> GradientWidths(const CutOptions& options,
                                    std::span<const uint8_t> forward_widths) {
  std::vector<uint8_t> widths(forward_widths.begin(), forward_widths.end());
  constexpr int32_t kTahquantBits = 6;  // TAH-Quant's own choice
  const bool is_tahquant = options.method == quant::Method::kTahquant;
  for (uint8_t& width : widths) {
    const int32_t same = is_tahquant ? kTahquantBits : width;
    const int32_t wanted = options.gradient_bits ? static_cast<int32_t>(*options.gradient_bits)
                                                 : same + options.gradient_bits_offset;
    width = static_cast<uint8_t>(std::clamp(wanted, 2, 8));
  }
  return widths;
}

CutCoder::CutCoder(const CutOptions& options)
    : options_(options),
      activation_(CoderOf(options, quant::TensorKind::kActivation)),
      gradient_(CoderOf(options, quant::TensorKind::kGradient)) {
  if (options.method == quant::Method::kAmaqRd) {
    rd_.emplace(RdActivationOptions{options.sink_tokens, options.rd_dead_zone, options.rd_rate});
  }
}

CodedTensor CutCoder::EncodeActivation(const at::Tensor& x, std::span<const uint32_t> segments,
                                       std::span<const uint8_t> widths,
                                       const std::optional<quant::SampleContext>& samples,
                                       KeepDecoded keep) {
  if (rd_) {
    AMAQ_CHECK(keep == KeepDecoded::kNo);
    const auto place = samples ? std::optional(samples->place) : std::nullopt;
    if (auto sections = rd_->Encode(x, segments, place)) return {std::move(*sections), {}, {}};
  }
  const std::vector<uint32_t> sinks = SinkRows(segments, options_.sink_tokens);
  const at::Tensor host = CodecInput(x);
  CodedTensor coded;
  std::span<float> decoded;
  if (keep == KeepDecoded::kYes) {
    coded.decoded = tensor::EmptyFloats(host.size(0), host.size(1));
    decoded = tensor::Floats(coded.decoded);
  }
  quant::CodedMatrix sent =
      activation_->Encode(tensor::ViewMatrix(host),
                          {.widths = widths, .rows = {sinks, {}}, .samples = samples}, decoded);
  coded.sections = std::move(sent.sections);
  coded.raw_dtype = sent.raw_dtype;
  return coded;
}

at::Tensor CutCoder::DecodeActivation(const std::vector<Section>& sections,
                                      std::optional<DType> raw_dtype,
                                      std::span<const uint32_t> segments,
                                      std::span<const uint8_t> widths, int64_t channels,
                                      at::Device device, at::ScalarType type,
                                      const std::optional<quant::SampleContext>& samples) {
  AMAQ_CHECK(!segments.empty());
  if (rd_ && !raw_dtype) {
    const auto place = samples ? std::optional(samples->place) : std::nullopt;
    return rd_->Decode(sections, segments, place).to(device, type);
  }
  const std::vector<uint32_t> sinks = SinkRows(segments, options_.sink_tokens);
  at::Tensor out = tensor::EmptyFloats(segments.back(), channels);
  activation_->Decode(sections, raw_dtype,
                      {.widths = widths, .rows = {sinks, {}}, .samples = samples}, segments.back(),
                      channels, tensor::Floats(out));
  return out.to(device, type);
}

CodedTensor CutCoder::EncodeGradient(const at::Tensor& gradient, const GradientRows& plan,
                                     std::span<const uint8_t> widths, const MicroBatchId& id) {
  const at::Tensor sent =
      CodecInput(gradient.index_select(0, tensor::FromRows(plan.rows, gradient.device())));
  constexpr uint32_t kBackwardDirection = 2;  // transport::Direction::kBackward
  const uint64_t key = StochasticRoundingKey(options_.seed, options_.cut, kBackwardDirection,
                                             id.step, id.micro_batch);
  const quant::MessagePlace place = {id.step, 0, id.micro_batch};
  quant::CodedMatrix coded =
      gradient_->Encode(tensor::ViewMatrix(sent),
                        {.widths = widths,
                         .rows = {plan.sink_rows, plan.rows},
                         .rounding = options_.gradient_rounding,
                         .rounding_key = key,
                         .samples = quant::SampleContext{{}, {}, place},
                         .micro_batch_rows = static_cast<uint64_t>(gradient.size(0))},
                        {});
  return {std::move(coded.sections), coded.raw_dtype, {}};
}

at::Tensor CutCoder::DecodeGradient(const std::vector<Section>& sections,
                                    std::optional<DType> raw_dtype, const GradientRows& plan,
                                    int64_t num_rows, std::span<const uint8_t> widths,
                                    int64_t channels, at::Device device, at::ScalarType type,
                                    const MicroBatchId& id) {
  const auto sent_rows = static_cast<int64_t>(plan.rows.size());
  at::Tensor sent = tensor::EmptyFloats(sent_rows, channels);
  const quant::MessagePlace place = {id.step, 0, id.micro_batch};
  gradient_->Decode(sections, raw_dtype,
                    {.widths = widths,
                     .rows = {plan.sink_rows, plan.rows},
                     .samples = quant::SampleContext{{}, {}, place}},
                    sent_rows, channels, tensor::Floats(sent));
  at::Tensor out = at::zeros({num_rows, channels}, at::TensorOptions().dtype(type).device(device));
  out.index_copy_(0, tensor::FromRows(plan.rows, device), sent.to(device, type));
  return out;
}

quant::CodesShape CutCoder::ActivationCodes(
    const std::vector<Section>& sections, std::span<const uint32_t> segments,
    std::span<const uint8_t> widths, const std::optional<quant::SampleContext>& samples) const {
  AMAQ_CHECK(!segments.empty());
  const std::vector<uint32_t> sinks = SinkRows(segments, options_.sink_tokens);
  return activation_->ShapeOf(sections, {.widths = widths, .rows = {sinks, {}}, .samples = samples},
                              segments.back());
}

quant::CodesShape CutCoder::GradientCodes(const std::vector<Section>& sections,
                                          const GradientRows& plan,
                                          std::span<const uint8_t> widths) const {
  return gradient_->ShapeOf(sections, {.widths = widths, .rows = {plan.sink_rows, plan.rows}},
                            static_cast<int64_t>(plan.rows.size()));
}

std::vector<double> SentRanges(const std::vector<Section>& sections,
                               std::span<const uint8_t> widths) {
  const quant::DecodedRanges sent = quant::ReadRanges(sections, widths);
  std::vector<double> range(widths.size(), 0);
  for (size_t c = 0; c < sent.step.size(); ++c) {
    range[c] = static_cast<double>(sent.step[c]) * ((1 << widths[c]) - 1);
  }
  return range;
}

void CutCoder::KeepSteps(uint64_t step) {
  for (quant::Coder* coder : {activation_.get(), gradient_.get()}) coder->Keep({step, 0, 0});
  if (rd_) rd_->Keep(step);
}
void CutCoder::TakeBackStep(uint64_t step) {
  for (quant::Coder* coder : {activation_.get(), gradient_.get()}) coder->TakeBack({step, 0, 0});
  if (rd_) rd_->TakeBack(step);
}

uint64_t CutCoder::MemoryDigest() const {
  return activation_->MemoryDigest() ^ std::rotl(gradient_->MemoryDigest(), 1);
}

namespace {

// Rows of the gradient that crossed and are not sinks, as rows of the micro-batch.
std::vector<uint32_t> CodedRows(const GradientRows& plan) {
  std::vector<uint32_t> rows;
  size_t next_sink = 0;
  for (uint32_t i = 0; i < plan.rows.size(); ++i) {
    if (next_sink < plan.sink_rows.size() && plan.sink_rows[next_sink] == i) {
      ++next_sink;
    } else {
      rows.push_back(plan.rows[i]);
    }
  }
  return rows;
}

// R_c: of the ranges that were sent, or of x itself when it was sent raw.
std::vector<double> ChannelRanges(const CutOptions& options, const StatsInput& input,
                                  std::span<const float> x, size_t channels) {
  if (!input.coded.raw_dtype) return SentRanges(input.coded.sections, input.widths);
  std::vector<double> range(channels, 0);
  std::vector<float> low(channels, INFINITY);
  std::vector<float> high(channels, -INFINITY);
  const std::vector<uint32_t> sinks = SinkRows(input.segments, options.sink_tokens);
  for (uint32_t row = 0; row < input.segments.back(); ++row) {
    if (std::binary_search(sinks.begin(), sinks.end(), row)) continue;
    for (size_t c = 0; c < channels; ++c) {
      const float value = x[row * channels + c];
      low[c] = std::min(low[c], value);
      high[c] = std::max(high[c], value);
    }
  }
  for (size_t c = 0; c < channels; ++c) {
    if (high[c] > low[c]) range[c] = static_cast<double>(high[c]) - low[c];
  }
  return range;
}

// Takes the rounding's noise out of the energies of a gradient that crossed in steps of one size.
void SubtractNoise(double step, std::span<const uint32_t> rows, std::span<const float> gradient,
                   std::span<double> energy) {
  const auto num_rows = static_cast<double>(rows.size());
  std::vector<double> magnitude(energy.size(), 0);
  for (const uint32_t row : rows) {
    for (size_t c = 0; c < energy.size(); ++c) {
      magnitude[c] += std::fabs(static_cast<double>(gradient[row * energy.size() + c]));
    }
  }
  for (size_t c = 0; c < energy.size(); ++c) {
    const double mean = num_rows == 0 ? 0 : magnitude[c] / (num_rows * step);
    const double noise = num_rows * step * step * quant::RdRoundingNoise(mean);
    energy[c] = std::max(0.0, energy[c] - noise);
  }
}

}  // namespace

quant::ChannelStats GatherStats(const CutOptions& options, const StatsInput& input) {
  const at::Tensor x_host = tensor::OnHost(input.x.to(at::kFloat));
  const at::Tensor gradient_host = tensor::OnHost(input.gradient.to(at::kFloat));
  const std::span<const float> x = tensor::Floats(x_host);
  const std::span<const float> gradient = tensor::Floats(gradient_host);
  const auto channels = static_cast<size_t>(input.x.size(1));
  const std::vector<uint32_t> rows = CodedRows(input.plan);

  quant::ChannelStats stats;
  stats.range = ChannelRanges(options, input, x, channels);
  stats.gradient_energy.assign(channels, 0);
  for (const uint32_t row : rows) {
    for (size_t c = 0; c < channels; ++c) {
      const double value = gradient[row * channels + c];
      stats.gradient_energy[c] += value * value;
    }
  }
  const Bytes* rd_codes = FindSection(input.gradient_sections, SectionKind::kRdCodes);
  if (rd_codes != nullptr) {
    if (options.gradient_rounding == quant::Rounding::kStochastic) {
      SubtractNoise(quant::RdStepOf(*rd_codes).value(), rows, gradient, stats.gradient_energy);
    }
  } else if (FindSection(input.gradient_sections, SectionKind::kRaw) == nullptr) {
    const quant::DecodedRanges sent =
        quant::ReadRanges(input.gradient_sections, input.gradient_widths);
    const double share = options.gradient_rounding == quant::Rounding::kStochastic ? 6 : 12;
    for (size_t c = 0; c < channels; ++c) {
      const double noise = static_cast<double>(rows.size()) * sent.step[c] * sent.step[c] / share;
      stats.gradient_energy[c] = std::max(0.0, stats.gradient_energy[c] - noise);
    }
  }
  if (!input.wants_error_dot) return stats;
  stats.error_dot.assign(channels, 0);
  if (input.coded.raw_dtype) return stats;
  const std::span<const float> decoded =
      tensor::Floats(static_cast<const at::Tensor&>(input.coded.decoded));
  const quant::DecodedRanges sent = quant::ReadRanges(input.coded.sections, input.widths);
  for (const uint32_t row : rows) {
    for (size_t c = 0; c < channels; ++c) {
      const size_t i = row * channels + c;
      // Ranges of differences say nothing of x; no row of theirs is left out.
      const bool is_of_x = !quant::NeedsCache(options.method);
      if (is_of_x && quant::IsClipped(x[i], sent.lo[c], sent.step[c], input.widths[c])) continue;
      stats.error_dot[c] += static_cast<double>(gradient[i]) *
                            (static_cast<double>(decoded[i]) - static_cast<double>(x[i]));
    }
  }
  return stats;
}

}  // namespace amaq::train
