// gradient.method: rd. All rows, sinks too (there are no ranges that they could set), by the
// rate-distortion coder (rd.h), in steps relative to the message's root mean square; the sender's
// controller keeps the rate. Their rows are of no kind (rd_memory.h). A coder is used as sender or
// as receiver, not both. Memory: about 1.4 MB of tables and 24 bytes a channel, whatever crosses.

#include <optional>
#include <utility>

#include "core/check.h"
#include "core/log.h"
#include "quant/coders/coders.h"
#include "quant/rd.h"
#include "quant/rd_rate.h"
#include "quant/row_reader.h"

namespace amaq::quant {
namespace {

std::vector<float> ValuesOf(const MatrixView& x) {
  std::vector<float> values;
  values.reserve(static_cast<size_t>(x.rows * x.channels));
  RowReader reader(x);
  for (uint32_t row = 0; row < static_cast<uint64_t>(x.rows); ++row) {
    const std::span<const float> read = reader.FiniteRow(row);
    values.insert(values.end(), read.begin(), read.end());
  }
  return values;
}

class RdCoder final : public Coder {
 public:
  RdCoder(double rate, size_t threads) : threads_(threads), control_(ConstantRate(rate)) {}

  CodedMatrix Encode(const MatrixView& x, const MessageContext& context,
                     std::span<float> decoded) override {
    const std::vector<float> values = ValuesOf(x);
    RdModel& model = ModelOf(x.channels);
    const uint64_t rows =
        context.micro_batch_rows != 0 ? context.micro_batch_rows : static_cast<uint64_t>(x.rows);
    const uint64_t elements = rows * model.channels();
    CodedMatrix coded;
    std::optional<RdEncoded> made =
        RdEncode(values, OptionsOf(values, context, elements), model, decoded);
    if (!made || TotalBytes(made->sections) >= values.size() * sizeof(uint16_t)) {
      coded = {EncodeRaw(x, DType::kBF16), DType::kBF16};
      made.reset();
      if (!decoded.empty()) {
        DecodeRaw(coded.sections, DType::kBF16, x.rows, x.channels, decoded);
      }
    } else {
      coded.sections = std::move(made->sections);
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
    AMAQ_CHECK(out.size() == static_cast<size_t>(num_rows) * model.channels());
    RdCounts counts = RdDecode(sections, model, out, {.takes_kinds = false, .threads = threads_});
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
  RdOptions OptionsOf(std::span<const float> values, const MessageContext& context,
                      uint64_t elements) {
    RdOptions options;
    options.step.scale = RdScaleOf(values);
    options.rounding = context.rounding;
    options.rounding_key = context.rounding_key;
    options.row_ids = context.rows.row_ids;
    options.threads = threads_;
    if (control_.index()) {
      options.step.index = *control_.index();
    } else if (!values.empty()) {
      const double bits = control_.target_bits() * static_cast<double>(elements);
      options.step.index = RdSolveIndex(values, options, *model_, bits);
      if (context.samples) control_.Start(options.step.index);
    }
    return options;
  }

  const size_t threads_;
  RdRateControl control_;
  std::optional<RdModel> model_;
};

}  // namespace

std::unique_ptr<Coder> MakeRdCoder(double rate, size_t threads) {
  return std::make_unique<RdCoder>(rate, threads);
}

}  // namespace amaq::quant
