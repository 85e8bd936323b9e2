#ifndef AMAQ_QUANT_CODER_H_
#define AMAQ_QUANT_CODER_H_

// How the tensor of one cut and direction is written: a matrix with its row plan to sections and
// back. A method is a WidthPolicy, which decides the widths (width_policy.h), and a Coder, which
// spends them. Most coders keep nothing between messages; those of `aqsgd` and `amaq-delta` hold
// what was sent of each sample before (sample_cache.h), a sender with range `delayed` the ranges of
// past steps (range_modes.h). Lane-bound. Source: each method's file.
//
//   const auto coder = MakeCoder(config, TensorKind::kActivation, {});
//   const CodedMatrix sent = coder->Encode(x, context, {});
//   coder->Decode(sent.sections, sent.raw_dtype, context, x.rows, x.channels, out);

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "core/dtype.h"
#include "core/section.h"
#include "core/tensor_view.h"
#include "quant/codec.h"
#include "quant/config.h"
#include "quant/sample_cache.h"
#include "quant/symbols.h"

namespace amaq::quant {

struct CoderConfig {
  Method method = Method::kAmaq;
  DType wire_dtype = DType::kBF16;  // of a message without widths
  Range range = Range::kMinMax;     // uniform methods
  Axis axis = Axis::kChannel;       // kToken: methods of HasTokenAxis
  uint32_t group_size = 64;         // group: channels that share a range
  uint64_t cache_bytes = 0;         // aqsgd, amaq-delta: of the cached samples
  bool nested = false;              // uniform activations: codes made at 8 bits (codec.h)
  double range_percentile = 99.5;   // range percentile
  double range_margin = 1.1;        // range delayed, with the next: see DelayedRanges
  double range_max_clipped = 0.01;
  double gradient_rate = 0;  // above 0: gradients by the rate-distortion coder (rd.h), bits a value
  size_t threads = 1;        // of the rate-distortion coder, at most
};

// Values of the training messages sent that were coded within ranges chosen beforehand, and how
// many of them lay outside. A step that is taken back was sent all the same.
struct ClipCounts {
  uint64_t values = 0;
  uint64_t clipped = 0;
};

enum class TensorKind { kActivation, kGradient };

// What a training message says about its samples; see sample_cache.h. A gradient names its place
// alone.
struct SampleContext {
  std::span<const uint32_t> segments;  // [S + 1] row offsets
  std::span<const uint64_t> keys;      // [S], different; the sender's: the receiver reads its own
  MessagePlace place;
};

struct MessageContext {
  std::span<const uint8_t> widths = {};  // [H], axis token: one a position; empty: raw
  RowPlan rows = {};
  std::span<const uint32_t> positions = {};  // axis token: of each row in its segment
  Rounding rounding = Rounding::kNearestEven;
  uint64_t rounding_key = 0;                  // StochasticRoundingKey(...)
  std::optional<SampleContext> samples = {};  // nullopt: not training, nothing is remembered
  // N of the micro-batch that the matrix has rows of; 0: all of them. For those who keep a rate.
  uint64_t micro_batch_rows = 0;
  DelayedRanges* delayed = nullptr;  // range delayed: set by the coder that holds them
};

struct CodedMatrix {
  std::vector<Section> sections;
  std::optional<DType> raw_dtype;  // set: a kRaw section of that type
};

class Coder {
 public:
  virtual ~Coder() = default;

  // x [N, H] in fp32, bf16 or fp16. What would not be smaller than bf16 crosses as bf16. decoded:
  // empty, or [N, H] that receives what the receiver will see. Errors: NonFiniteError;
  // kInvalidArgument for widths that the method cannot write. On error nothing has changed.
  virtual CodedMatrix Encode(const MatrixView& x, const MessageContext& context,
                             std::span<float> decoded) = 0;

  // The reverse: out [N, H] fp32 row-major, every row written. Errors: kDataLoss for a missing,
  // short, long or inconsistent section. Nothing is written or changed on error.
  virtual void Decode(const std::vector<Section>& sections, std::optional<DType> raw_dtype,
                      const MessageContext& context, int64_t num_rows, int64_t channels,
                      std::span<float> out) = 0;

  // How the codes of a message lie that is not raw, whether its kCodes were entropy-coded or not.
  // Errors: kDataLoss for a section that says it and is missing or wrong.
  virtual CodesShape ShapeOf(const std::vector<Section>& sections, const MessageContext& context,
                             int64_t num_rows) const = 0;

  // Decode of a gradient with the gate's sums (codec.h) over its coded rows. activation: what the
  // gradient answers, coded by widths of channels, or nullptr. A coder whose codes can be summed as
  // they are read does so.
  virtual GateSums DecodeForGate(const std::vector<Section>& sections,
                                 std::optional<DType> raw_dtype, const MessageContext& context,
                                 int64_t num_rows, int64_t channels,
                                 const SentActivation* activation, std::span<float> out);

  // The messages of the places before `place` count: what they changed will not be taken back.
  virtual void Keep(const MessagePlace& /*place*/) {}
  // Of what it remembers: equal at sender and receiver after the same messages.
  virtual uint64_t MemoryDigest() const { return 0; }
  // Of range delayed; other ranges know every message before they code it.
  virtual ClipCounts clip_counts() const { return {}; }
  // Takes back what the messages at `place` and after it changed (a step is skipped or aborted).
  virtual void TakeBack(const MessagePlace& /*place*/) {}
};

// storage: where cached samples lie; used by the methods of NeedsCache alone, for activations.
// Errors: kInvalidArgument for a group_size that is not a multiple of 8 in [32, 128], a margin or
// share outside those of DelayedRanges, a cache that is needed but has no storage, or axis token
// with a method, a range (delayed) or an option (nested) that it does not go with.
std::unique_ptr<Coder> MakeCoder(const CoderConfig& config, TensorKind kind,
                                 std::unique_ptr<CacheStorage> storage);

}  // namespace amaq::quant

#endif  // AMAQ_QUANT_CODER_H_
