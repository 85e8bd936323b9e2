// range delayed: the sender's memory of past ranges, exactly once a step. A message is coded with a
// copy of the memory, which takes its place when the message was written and is of training: an
// error, an evaluation, a generation, and a step that is taken back leave no trace. Evaluation is
// coded within the predicted ranges, as training is. Our choice.

#include <utility>

#include "quant/coders/coders.h"

namespace amaq::quant {
namespace {

class DelayedCoder final : public Coder {
 public:
  DelayedCoder(std::unique_ptr<Coder> inner, const DelayedRanges& ranges)
      : inner_(std::move(inner)), ranges_(ranges) {}

  CodedMatrix Encode(const MatrixView& x, const MessageContext& context,
                     std::span<float> decoded) override {
    DelayedRanges with_message = ranges_;
    MessageContext inner_context = context;
    inner_context.delayed = &with_message;
    CodedMatrix coded = inner_->Encode(x, inner_context, decoded);
    if (context.samples) ranges_ = std::move(with_message);
    return coded;
  }

  void Decode(const std::vector<Section>& sections, std::optional<DType> raw_dtype,
              const MessageContext& context, int64_t num_rows, int64_t channels,
              std::span<float> out) override {
    inner_->Decode(sections, raw_dtype, context, num_rows, channels, out);
  }
  GateSums DecodeForGate(const std::vector<Section>& sections, std::optional<DType> raw_dtype,
                         const MessageContext& context, int64_t num_rows, int64_t channels,
                         const SentActivation* activation, std::span<float> out) override {
    return inner_->DecodeForGate(sections, raw_dtype, context, num_rows, channels, activation, out);
  }

  CodesShape ShapeOf(const std::vector<Section>& sections, const MessageContext& context,
                     int64_t num_rows) const override {
    return inner_->ShapeOf(sections, context, num_rows);
  }

  void Keep(const MessagePlace& place) override {
    inner_->Keep(place);
    ranges_.Commit();
  }
  void TakeBack(const MessagePlace& place) override {
    inner_->TakeBack(place);
    ranges_.Discard();
  }
  ClipCounts clip_counts() const override { return {ranges_.values(), ranges_.clipped_values()}; }
  // Of what both parties remember; the ranges are the sender's alone.
  uint64_t MemoryDigest() const override { return inner_->MemoryDigest(); }

 private:
  const std::unique_ptr<Coder> inner_;
  DelayedRanges ranges_;
};

}  // namespace

std::unique_ptr<Coder> MakeDelayedCoder(std::unique_ptr<Coder> inner, const DelayedRanges& ranges) {
  return std::make_unique<DelayedCoder>(std::move(inner), ranges);
}

}  // namespace amaq::quant
