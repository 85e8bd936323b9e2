// One range a channel and message, octet layout (codec.h): all methods that differ only in who
// chooses the widths.

#include "quant/coders/coders.h"

namespace amaq::quant {
namespace {

class UniformCoder final : public StatelessCoder {
 public:
  UniformCoder(DType wire_dtype, Range range, bool nested)
      : StatelessCoder(wire_dtype), range_(range), nested_(nested) {}

  std::vector<Section> Write(const MatrixView& x, const MessageContext& context) const override {
    EncodeOptions options;
    options.range = range_;
    options.rounding = context.rounding;
    options.rounding_key = context.rounding_key;
    options.nested = nested_;
    return quant::Encode(x, context.widths, context.rows, options);
  }
  void Read(const std::vector<Section>& sections, const MessageContext& context, int64_t num_rows,
            int64_t channels, std::span<float> out) const override {
    quant::Decode(sections, context.widths, context.rows, num_rows, channels, out);
  }

 private:
  const Range range_;
  const bool nested_;
};

}  // namespace

std::unique_ptr<StatelessCoder> MakeUniformCoder(DType wire_dtype, Range range, bool nested) {
  return std::make_unique<UniformCoder>(wire_dtype, range, nested);
}

}  // namespace amaq::quant
