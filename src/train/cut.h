#ifndef AMAQ_TRAIN_CUT_H_
#define AMAQ_TRAIN_CUT_H_

// What both parties must agree on about a cut: which rows cross, at which widths, and which coders
// turn a tensor into sections and back (quant/coder.h). Also what the gate learns from. No network
// here.
// Thread-compatible. Source: design "The wire" sections 2 and 3, AMAQ page sections 3, 4 and 6.

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/dtype.h"
#include "core/section.h"
#include "quant/codec.h"
#include "quant/coder.h"
#include "quant/rows.h"
#include "quant/width_policy.h"
#include "tensor/aten.h"
#include "train/rd_activation.h"

namespace amaq::train {

struct CutOptions {
  quant::Method method = quant::Method::kAmaq;
  DType wire_dtype = DType::kBF16;  // of raw tensors
  quant::Range range = quant::Range::kMinMax;
  uint32_t positions = 0;  // axis token: how many have a width; 0: axis channel
  uint32_t sink_tokens = 1;
  bool nested = false;             // codes of the activation (quant/codec.h)
  double range_percentile = 99.5;  // percentile
  double range_margin = 1.1;       // delayed, with the next
  double range_max_clipped = 0.01;
  std::optional<uint32_t> gradient_bits;  // nullopt: the widths of the forward tensor
  bool gradient_is_own = false;           // or those of the gradient's own gate
  int32_t gradient_bits_offset = 0;
  double gradient_rate = 0;  // above 0: gradient.method rd, bits a value; else same
  quant::Rounding gradient_rounding = quant::Rounding::kStochastic;
  uint64_t seed = 0;
  uint32_t cut = 0;
  uint32_t group_size = 64;  // method group: channels that share a range
  uint64_t cache_bytes = 0;  // methods with a cache of samples: its size
  // And the folder of its file; not agreed, each party has its own.
  std::string cache_dir = "amaq-cache";
  double rd_dead_zone = 0.15;       // amaq-rd, sender
  bool rd_memory = true;            // amaq-rd: rows may be of kinds (quant/rd_memory.h)
  quant::WidthConfig rd_rate = {};  // amaq-rd, sender: its target
};

// Host memory that the coders of a cut of `channels` channels keep by amaq-rd and by a gradient
// rate, at most, with what they need while it is formed and without messages; 0 without.
uint64_t CoderBytes(const CutOptions& options, int64_t channels);

using quant::GradientRows;
using quant::PlanGradientRows;
using quant::SinkRows;

// How many widths a gate has: a channel's or a position's each.
uint64_t NumUnits(const CutOptions& options, int64_t channels);

// Widths of a gradient whose forward tensor had `forward_widths`; empty (raw) when that was raw.
std::vector<uint8_t> GradientWidths(const CutOptions& options,
                                    std::span<const uint8_t> forward_widths);

// Mean width of a coded gradient's elements.
double MeanGradientWidth(const CutOptions& options, std::span<const uint8_t> widths,
                         const GradientRows& plan);

// R_c = step * (2^n - 1) of a coded message's channels.
std::vector<double> SentRanges(const std::vector<Section>& sections,
                               std::span<const uint8_t> widths);

// Which message: keys of the stochastic rounding.
struct MicroBatchId {
  uint64_t step = 0;
  uint32_t micro_batch = 0;
};

// A tensor as it crosses. decoded: what the receiver sees, fp32 [N, H] on the host, if asked for.
struct CodedTensor {
  std::vector<Section> sections;
  std::optional<DType> raw_dtype;  // set: a kRaw section of that type
  at::Tensor decoded;
};
enum class KeepDecoded { kNo, kYes };

// An activation as its sender knows it: x as it was sent from, and its message.
struct SentActivation {
  const at::Tensor& x;
  const CodedTensor& coded;  // with `decoded` where an error_dot is wanted and NeedsCache(method)
  std::span<const uint8_t> widths;
  std::span<const uint32_t> segments;
};
// The message of the gradient that answers it.
struct GradientMessage {
  const std::vector<Section>& sections;
  std::optional<DType> raw_dtype;
  std::span<const uint8_t> widths;
  const GradientRows& plan;
  MicroBatchId id = {};
};
struct ObservedGradient {
  at::Tensor gradient;
  quant::ChannelStats stats;  // of the rows that are coded in the gradient's message
};

// The coders of both directions of a cut, with what they remember. Lane-bound.
class CutCoder {
 public:
  // Errors: as quant::MakeCoder and io::ScratchFile::Create.
  explicit CutCoder(const CutOptions& options);

  // Activation x [N, H] on any device. Empty widths: raw. samples: of a training message, nullopt
  // for evaluation and generation.
  CodedTensor EncodeActivation(const at::Tensor& x, std::span<const uint32_t> segments,
                               std::span<const uint8_t> widths,
                               const std::optional<quant::SampleContext>& samples = {},
                               KeepDecoded keep = KeepDecoded::kNo);
  at::Tensor DecodeActivation(const std::vector<Section>& sections, std::optional<DType> raw_dtype,
                              std::span<const uint32_t> segments, std::span<const uint8_t> widths,
                              int64_t channels, at::Device device, at::ScalarType type,
                              const std::optional<quant::SampleContext>& samples = {});

  // The same for gradient [N, H]; only plan.rows cross, the others come back as zero.
  CodedTensor EncodeGradient(const at::Tensor& gradient, const GradientRows& plan,
                             std::span<const uint8_t> widths, const MicroBatchId& id);
  at::Tensor DecodeGradient(const std::vector<Section>& sections, std::optional<DType> raw_dtype,
                            const GradientRows& plan, int64_t num_rows,
                            std::span<const uint8_t> widths, int64_t channels, at::Device device,
                            at::ScalarType type, const MicroBatchId& id = {});

  // How the codes of a message that is not raw lie: what the entropy stage reads them with. Errors:
  // as quant::Coder::ShapeOf.
  quant::CodesShape ActivationCodes(const std::vector<Section>& sections,
                                    std::span<const uint32_t> segments,
                                    std::span<const uint8_t> widths,
                                    const std::optional<quant::SampleContext>& samples = {}) const;
  quant::CodesShape GradientCodes(const std::vector<Section>& sections, const GradientRows& plan,
                                  std::span<const uint8_t> widths) const;

  // The same with what the gate learns from the micro-batch; its sums are formed as the codes are
  // read. Methods that learn nothing have no such sums. error_dot: only if wanted.
  ObservedGradient ObserveGradient(const GradientMessage& message, const SentActivation& sent,
                                   bool wants_error_dot, at::Device device, at::ScalarType type);

  // Of method amaq-rd, else null.
  RdActivation* rd() { return rd_ ? &*rd_ : nullptr; }

  // The steps before `step` are applied / the attempt of `step` under way leaves no trace.
  void KeepSteps(uint64_t step);
  void TakeBackStep(uint64_t step);

  // Of what the coders remember: equal at both parties after the same steps.
  uint64_t MemoryDigest() const;
  // Of the activations that this party sent (quant/coder.h).
  quant::ClipCounts activation_clips() const { return activation_->clip_counts(); }

 private:
  // quant.axis: token, in cut_token_stats.cc.
  quant::ChannelStats ObserveTokens(const GradientMessage& message, const SentActivation& sent,
                                    bool wants_error_dot, at::Tensor* rows);
  quant::GateSums DecodeAndSum(const GradientMessage& message, const SentActivation& sent,
                               bool wants_error_dot, at::Tensor* rows) const;

  const CutOptions options_;
  const std::unique_ptr<quant::Coder> activation_;
  const std::unique_ptr<quant::Coder> gradient_;
  std::optional<RdActivation> rd_;
};

}  // namespace amaq::train

#endif  // AMAQ_TRAIN_CUT_H_
