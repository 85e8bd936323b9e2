#include "train/cut.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <bit>

#include "core/check.h"
#include "core/rng.h"
#include "io/scratch_file.h"
#include "quant/gate.h"
#include "quant/token_axis.h"
#include "tensor/bridge.h"
#include "train/cut_rows.h"

namespace amaq::train {

at::Tensor CodecInput(const at::Tensor& x) {
  return tensor::OnHost(x.scalar_type() == at::kDouble ? x.to(at::kFloat) : x);
}

at::Tensor SpreadRows(const at::Tensor& rows, const GradientRows& plan, int64_t num_rows,
                      at::Device device, at::ScalarType type) {
  at::Tensor out =
      at::zeros({num_rows, rows.size(1)}, at::TensorOptions().dtype(type).device(device));
  out.index_copy_(0, tensor::FromRows(plan.rows, device), rows.to(device, type));
  return out;
}

namespace {

// The cache's place on disk.
class ScratchStorage final : public quant::CacheStorage {
 public:
  ScratchStorage(std::string folder, uint64_t max_bytes)
      : file_(io::ScratchFile::Create(folder, max_bytes)) {}
  std::span<uint8_t> Grow(uint64_t bytes) override { return file_->Grow(bytes); }

 private:
  const std::unique_ptr<io::ScratchFile> file_;
};

// Only the axis token asks for them.
std::vector<uint32_t> PositionsOf(const CutOptions& options, std::span<const uint32_t> segments) {
  if (options.positions == 0) return {};
  return quant::PositionsOfRows(segments);
}

std::unique_ptr<quant::Coder> CoderOf(const CutOptions& options, quant::TensorKind kind) {
  std::unique_ptr<quant::CacheStorage> storage;
  if (quant::NeedsCache(options.method) && kind == quant::TensorKind::kActivation) {
    storage = std::make_unique<ScratchStorage>(options.cache_dir, options.cache_bytes);
  }
  return quant::MakeCoder(
      {.method = options.method,
       .wire_dtype = options.wire_dtype,
       .range = options.range,
       .axis = options.positions > 0 ? quant::Axis::kToken : quant::Axis::kChannel,
       .group_size = options.group_size,
       .cache_bytes = options.cache_bytes,
       .nested = options.nested,
       .range_percentile = options.range_percentile,
       .range_margin = options.range_margin,
       .range_max_clipped = options.range_max_clipped,
       .gradient_rate = options.gradient_rate,
       .threads = tensor::NumThreads()},
      kind, std::move(storage));
}

}  // namespace

uint64_t NumUnits(const CutOptions& options, int64_t channels) {
  return options.positions > 0 ? options.positions : static_cast<uint64_t>(channels);
}

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

double MeanGradientWidth(const CutOptions& options, std::span<const uint8_t> widths,
                         const GradientRows& plan) {
  std::vector<uint8_t> sent(widths.begin(), widths.end());
  if (options.positions > 0) sent = quant::WidthsOfRows(widths, plan.positions);
  return quant::Mean(std::vector<double>(sent.begin(), sent.end()));
}

uint64_t CoderBytes(const CutOptions& options, int64_t channels) {
  const auto size = static_cast<size_t>(channels);
  uint64_t bytes = 0;
  if (options.gradient_rate > 0) bytes += quant::RdModel::LargestBytes(size, false);
  if (options.method == quant::Method::kAmaqRd) {
    bytes += quant::RdModel::LargestBytes(size, options.rd_memory) + Basis::LargestBytes(channels);
  }
  return bytes;
}

CutCoder::CutCoder(const CutOptions& options)
    : options_(options),
      activation_(CoderOf(options, quant::TensorKind::kActivation)),
      gradient_(CoderOf(options, quant::TensorKind::kGradient)) {
  if (options.method == quant::Method::kAmaqRd) {
    rd_.emplace(RdActivationOptions{options.sink_tokens, options.rd_dead_zone, options.rd_memory,
                                    options.rd_rate});
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
  const std::vector<uint32_t> positions = PositionsOf(options_, segments);
  quant::CodedMatrix sent = activation_->Encode(
      tensor::ViewMatrix(host),
      {.widths = widths, .rows = {sinks, {}}, .positions = positions, .samples = samples}, decoded);
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
  const std::vector<uint32_t> positions = PositionsOf(options_, segments);
  activation_->Decode(
      sections, raw_dtype,
      {.widths = widths, .rows = {sinks, {}}, .positions = positions, .samples = samples},
      segments.back(), channels, tensor::Floats(out));
  return out.to(device, type);
}

CodedTensor CutCoder::EncodeGradient(const at::Tensor& gradient, const GradientRows& plan,
                                     std::span<const uint8_t> widths, const MicroBatchId& id) {
  const at::Tensor sent =
      CodecInput(gradient.index_select(0, tensor::FromRows(plan.rows, gradient.device())));
  constexpr uint32_t kBackwardDirection = 2;  // transport::Direction::kBackward
  const uint64_t key = StochasticRoundingKey(options_.seed, options_.cut, kBackwardDirection,
                                             id.step, id.micro_batch);
  quant::CodedMatrix coded =
      gradient_->Encode(tensor::ViewMatrix(sent),
                        {.widths = widths,
                         .rows = {plan.sink_rows, plan.rows},
                         .positions = plan.positions,
                         .rounding = options_.gradient_rounding,
                         .rounding_key = key,
                         .samples = quant::SampleContext{{}, {}, PlaceOf(id)},
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
  gradient_->Decode(sections, raw_dtype,
                    {.widths = widths,
                     .rows = {plan.sink_rows, plan.rows},
                     .positions = plan.positions,
                     .samples = quant::SampleContext{{}, {}, PlaceOf(id)}},
                    sent_rows, channels, tensor::Floats(sent));
  return SpreadRows(sent, plan, num_rows, device, type);
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
  const uint64_t activation = rd_ ? rd_->Digest() : activation_->MemoryDigest();
  return activation ^ std::rotl(gradient_->MemoryDigest(), 1);
}

}  // namespace amaq::train
