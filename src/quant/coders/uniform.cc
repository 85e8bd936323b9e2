// One range a channel and message, octet layout (codec.h): all methods that differ only in who
// chooses the widths.

#include "quant/coders/coders.h"

namespace amaq::quant {
namespace {

class UniformCoder final : public StatelessCoder {
 public:
  UniformCoder(DType wire_dtype, const EncodeOptions& options)
      : StatelessCoder(wire_dtype), options_(options) {}

  std::vector<Section> Write(const MatrixView& x, const MessageContext& context) const override {
    EncodeOptions options = options_;
    options.rounding = context.rounding;
    options.rounding_key = context.rounding_key;
    options.delayed = context.delayed;
    return quant::Encode(x, context.widths, context.rows, options);
  }
  void Read(const std::vector<Section>& sections, const MessageContext& context, int64_t num_rows,
            int64_t channels, std::span<float> out) const override {
    quant::Decode(sections, context.widths, context.rows, num_rows, channels, out);
  }
  CodesShape ShapeOf(const std::vector<Section>& /*sections*/, const MessageContext& context,
                     int64_t num_rows) const override {
    return {.widths = {context.widths.begin(), context.widths.end()},
            .rows = static_cast<uint64_t>(num_rows) - context.rows.sink_rows.size()};
  }
  GateSums DecodeForGate(const std::vector<Section>& sections, std::optional<DType> raw_dtype,
                         const MessageContext& context, int64_t num_rows, int64_t channels,
                         const SentActivation* activation, std::span<float> out) override {
    if (raw_dtype) {
      return StatelessCoder::DecodeForGate(sections, raw_dtype, context, num_rows, channels,
                                           activation, out);
    }
    return quant::DecodeForGate(sections, context.widths, context.rows, num_rows, activation, out);
  }

 private:
  const EncodeOptions options_;
};

}  // namespace

std::unique_ptr<StatelessCoder> MakeUniformCoder(DType wire_dtype, const EncodeOptions& options) {
  return std::make_unique<UniformCoder>(wire_dtype, options);
}

}  // namespace amaq::quant
