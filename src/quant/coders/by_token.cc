// quant.axis: token: the layout of token_axis.h behind a Coder; a row's width is that of its
// position.

#include "core/error.h"
#include "quant/coders/coders.h"
#include "quant/token_axis.h"

namespace amaq::quant {
namespace {

class TokenCoder final : public StatelessCoder {
 public:
  TokenCoder(DType wire_dtype, const EncodeOptions& options)
      : StatelessCoder(wire_dtype), options_(options) {}

  std::vector<Section> Write(const MatrixView& x, const MessageContext& context) const override {
    EncodeOptions options = options_;
    options.rounding = context.rounding;
    options.rounding_key = context.rounding_key;
    return EncodeByToken(x, WidthsOfRows(context.widths, context.positions), context.rows, options);
  }
  void Read(const std::vector<Section>& sections, const MessageContext& context, int64_t num_rows,
            int64_t channels, std::span<float> out) const override {
    DecodeByToken(sections, WidthsOfRows(context.widths, context.positions), context.rows, num_rows,
                  channels, out);
  }
  CodesShape ShapeOf(const std::vector<Section>& /*sections*/, const MessageContext& /*context*/,
                     int64_t /*num_rows*/) const override {
    Throw(Code::kInternal, "the lossless stage has no tables for widths of token positions");
  }

 private:
  const EncodeOptions options_;
};

}  // namespace

std::unique_ptr<StatelessCoder> MakeTokenCoder(DType wire_dtype, const EncodeOptions& options) {
  return std::make_unique<TokenCoder>(wire_dtype, options);
}

}  // namespace amaq::quant
