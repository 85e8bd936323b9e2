#ifndef AMAQ_TRAIN_RD_ACTIVATION_H_
#define AMAQ_TRAIN_RD_ACTIVATION_H_

// The activations of quant.method amaq-rd: through a Basis, then rate-distortion coded (quant/rd.h)
// with the step size that meets the target. Both ends hold one; what it remembers changes when
// steps are kept. Evaluation and generation read it only. Lane-bound. Source: design "AMAQ",
// section 10; docs/formats/rd.md, rd_basis.md.

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/section.h"
#include "quant/rd_model.h"
#include "quant/rd_rate.h"
#include "quant/sample_cache.h"
#include "tensor/aten.h"
#include "train/basis.h"

namespace amaq::train {

struct RdActivationOptions {
  uint32_t sink_tokens = 1;
  double dead_zone = 0.15;
  bool remembers = true;         // rows may cross as the difference to the mean of rows like them
  quant::WidthConfig rate = {};  // sender: how its target falls
};

class RdActivation {
 public:
  // Errors: kInvalidArgument for a target outside RdRateControl's.
  explicit RdActivation(const RdActivationOptions& options);

  // Before the first message. Moves the basis to `device`, where activations are.
  void SetBasis(Basis basis, at::Device device);
  bool has_basis() const { return basis_.has_value(); }

  // x [N, H] to kRdCodes, kRdClasses; nullopt: send it raw, it would be no smaller than
  // bf16. place: of a training message. Errors: quant::NonFiniteError; nothing has changed then.
  std::optional<std::vector<Section>> Encode(const at::Tensor& x,
                                             std::span<const uint32_t> segments,
                                             const std::optional<quant::MessagePlace>& place);
  // The reverse, [N, H] fp32 on the basis' device. Errors: kFailedPrecondition before SetBasis;
  // kDataLoss. Nothing has changed then.
  at::Tensor Decode(const std::vector<Section>& sections, std::span<const uint32_t> segments,
                    const std::optional<quant::MessagePlace>& place);

  // Sender: a training message crossed with sections of so many bytes for rows of the micro-batch.
  void CountBytes(uint64_t bytes, uint64_t rows);
  // The steps before `step` are applied / the attempt of `step` under way leaves no trace.
  void Keep(uint64_t step);
  void TakeBack(uint64_t step);

  double rate() const { return rate_.rate(); }  // bits an element of the last kept step
  double target_bits() const { return rate_.target_bits(); }
  uint64_t Digest() const;  // equal at both ends after the same kept steps
  // For amaq_gate.safetensors: all that later messages are coded with (docs/formats/gate.md).
  // Restore: as if SetBasis and the kept steps had happened here. Errors: kDataLoss for a state
  // that misses something or is none; nothing has changed then.
  std::map<std::string, std::vector<float>> State() const;
  void Restore(const std::map<std::string, std::vector<float>>& state, at::Device device);

 private:
  quant::RdModel& RequireModel();

  const RdActivationOptions options_;
  std::optional<Basis> basis_;
  std::optional<quant::RdModel> model_;
  quant::RdRateControl rate_;
  bool was_off_target_ = false;
};

}  // namespace amaq::train

#endif  // AMAQ_TRAIN_RD_ACTIVATION_H_
