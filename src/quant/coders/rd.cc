// gradient.method: rd. Rows that are no sinks by the rate-distortion coder (rd.h), in steps
// relative to the message's root mean square; the sender's controller keeps the rate. A coder is
// used as sender or as receiver, not both. Memory: about 1.4 MB of tables and 24 bytes a channel,
// whatever crosses.

#include <optional>
#include <utility>

#include "core/check.h"
#include "core/log.h"
#include "quant/coders/coders.h"
#include "quant/coders/tiles.h"
#include "quant/rd.h"
#include "quant/rd_rate.h"
#include "quant/row_reader.h"

namespace amaq::quant {
namespace {

// The coded rows of a message and what is known of them.
struct CodedPart {
  std::vector<float> values;      // [R, H]
  std::vector<uint32_t> row_ids;  // [R]
  std::vector<float> sinks;       // [sinks, H]
};

CodedPart Split(const MatrixView& x, const RowPlan& rows) {
  CodedPart part;
  RowReader reader(x);
  const std::vector<uint32_t> coded = CodedRowsOf(rows, x.rows);
  size_t next = 0;
  for (uint32_t row = 0; row < static_cast<uint64_t>(x.rows); ++row) {
    const std::span<const float> values = reader.FiniteRow(row);
    const bool is_coded = next < coded.size() && coded[next] == row;
    std::vector<float>& to = is_coded ? part.values : part.sinks;
    to.insert(to.end(), values.begin(), values.end());
    if (!is_coded) continue;
    ++next;
    part.row_ids.push_back(rows.row_ids.empty() ? row : rows.row_ids[row]);
  }
  return part;
}

class RdCoder final : public Coder {
 public:
  explicit RdCoder(double rate) : control_(ConstantRate(rate)) {}

  CodedMatrix Encode(const MatrixView& x, const MessageContext& context,
                     std::span<float> decoded) override {
    const CodedPart part = Split(x, context.rows);
    RdModel& model = ModelOf(x.channels);
    const uint64_t rows =
        context.micro_batch_rows != 0 ? context.micro_batch_rows : static_cast<uint64_t>(x.rows);
    const uint64_t elements = rows * model.channels();
    CodedMatrix coded;
    if (!part.sinks.empty()) {
      coded.sections.push_back({SectionKind::kSinkRows, WriteSinks(part.sinks, model.channels())});
    }
    std::optional<RdEncoded> made = RdEncode(
        part.values, OptionsOf(part, context, TotalBytes(coded.sections), elements), model, {});
    const uint64_t bf16_bytes = static_cast<uint64_t>(x.rows * x.channels) * sizeof(uint16_t);
    if (!made || TotalBytes(coded.sections) + TotalBytes(made->sections) >= bf16_bytes) {
      coded = {EncodeRaw(x, DType::kBF16), DType::kBF16};
      made.reset();
    } else {
      for (Section& section : made->sections) coded.sections.push_back(std::move(section));
    }
    if (!decoded.empty()) {
      MessageContext only_reads = context;
      only_reads.samples.reset();
      Decode(coded.sections, coded.raw_dtype, only_reads, x.rows, x.channels, decoded);
    }
    if (context.samples) {
      control_.Observe(8 * TotalBytes(coded.sections), elements);
      if (made) model.Add(context.samples->place, std::move(made->counts));
    }
    return coded;
  }

  void Decode(const std::vector<Section>& sections, std::optional<DType> raw_dtype,
              const MessageContext& context, int64_t num_rows, int64_t channels,
              std::span<float> out) override {
    if (raw_dtype) return DecodeRaw(sections, *raw_dtype, num_rows, channels, out);
    RdModel& model = ModelOf(channels);
    const size_t width = model.channels();
    const std::vector<uint32_t> coded = CodedRowsOf(context.rows, num_rows);
    AMAQ_CHECK(out.size() == static_cast<size_t>(num_rows) * width);
    const std::vector<float> sinks = ReadSinks(sections, context.rows.sink_rows.size(), width);
    std::vector<float> values(coded.size() * width);
    RdCounts counts = RdDecode(sections, model, values);
    const auto copy = [&](std::span<const float> from, std::span<const uint32_t> to) {
      for (size_t i = 0; i < to.size(); ++i) {
        std::copy_n(from.begin() + static_cast<std::ptrdiff_t>(i * width), width,
                    out.begin() + static_cast<std::ptrdiff_t>(to[i] * width));
      }
    };
    copy(sinks, context.rows.sink_rows);
    copy(values, coded);
    if (context.samples) model.Add(context.samples->place, std::move(counts));
  }

  // It writes no kCodes.
  CodesShape ShapeOf(const std::vector<Section>& /*sections*/, const MessageContext& /*context*/,
                     int64_t /*num_rows*/) const override {
    return {};
  }

  void Keep(const MessagePlace& place) override {
    if (model_) model_->Keep(place);
    const bool was_off = control_.is_off_target();
    control_.Commit();
    if (control_.index()) {
      AMAQ_LOG(kDebug, "gradients took ", control_.rate(), " bits a value; the step index is now ",
               *control_.index());
    }
    if (control_.is_off_target() && !was_off) {
      AMAQ_LOG(kWarning, "gradients have taken ", control_.rate(),
               " bits a value or more than half a bit off the target of ", control_.target_bits(),
               " for 10 steps");
    }
  }
  void TakeBack(const MessagePlace& place) override {
    if (model_) model_->TakeBack(place);
    control_.Discard();
  }
  uint64_t MemoryDigest() const override { return model_ ? model_->Digest() : 0; }

 private:
  static WidthConfig ConstantRate(double rate) {
    WidthConfig config;
    config.target_bits = rate;
    return config;
  }

  RdModel& ModelOf(int64_t channels) {
    AMAQ_CHECK(channels > 0);
    if (!model_) model_.emplace(static_cast<size_t>(channels));
    AMAQ_CHECK(model_->channels() == static_cast<size_t>(channels));
    return *model_;
  }

  // The step of the controller; of the first message, the one that meets the rate.
  RdOptions OptionsOf(const CodedPart& part, const MessageContext& context, uint64_t sink_bytes,
                      uint64_t elements) {
    RdOptions options;
    options.step.scale = RdScaleOf(part.values);
    options.rounding = context.rounding;
    options.rounding_key = context.rounding_key;
    options.row_ids = part.row_ids;
    if (!control_.index() && !part.values.empty()) {
      const double bits = control_.target_bits() * static_cast<double>(elements) -
                          8 * static_cast<double>(sink_bytes);
      control_.Start(RdSolveIndex(part.values, options, *model_, bits));
    }
    options.step.index = control_.index().value_or(0);
    return options;
  }

  RdRateControl control_;
  std::optional<RdModel> model_;
};

}  // namespace

std::unique_ptr<Coder> MakeRdCoder(double rate) { return std::make_unique<RdCoder>(rate); }

}  // namespace amaq::quant
