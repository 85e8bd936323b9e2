#ifndef AMAQ_TRAIN_OPTIMIZER_H_
#define AMAQ_TRAIN_OPTIMIZER_H_

// AdamW over the adapters of one party, and the pieces of a commit that both parties share: squared
// norms, the clip scale, the learning-rate schedule. Lane-bound.
// Source: Loshchilov and Hutter, "Decoupled weight decay regularization" (arXiv 1711.05101),
// algorithm 2, as ATen's fused kernel computes it; schedule and clipping as transformers has them.

#include <cstdint>
#include <string>
#include <vector>

#include "lora/low_rank.h"

namespace amaq::train {

struct AdamWOptions {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0;
};

struct TensorNorm {
  std::string name;  // global tensor name, "model.layers.0.self_attn.q_proj.lora_A.weight"
  double squared = 0;
};

class AdamW {
 public:
  // The adapters must outlive the optimizer. Their order is kept.
  AdamW(std::vector<lora::LowRank*> adapters, const AdamWOptions& options);

  // Of the accumulated gradients, each tensor summed in double; sorted by global name.
  std::vector<TensorNorm> SquaredNorms() const;

  // One optimizer step with gradients times clip_scale; the gradients are zero afterwards.
  void Step(double clip_scale, double learning_rate);
  void ZeroGradients();

  uint64_t num_parameters() const;

 private:
  std::vector<lora::LowRank*> adapters_;
  AdamWOptions options_;
  std::vector<at::Tensor> first_moments_, second_moments_, steps_;
};

struct ClipDecision {
  double total_norm = 0;
  double scale = 1;
  bool finite = true;
};

// norms of both parties. They are summed in the order of their names, whatever the order given, so
// that every cut and the unsplit run get the same bits. max_norm 0: no clipping.
ClipDecision DecideClip(std::vector<TensorNorm> norms, double max_norm);

enum class LrScheduleKind { kLinear, kCosine, kConstant };

struct LrSchedule {
  LrScheduleKind kind = LrScheduleKind::kLinear;
  double learning_rate = 2e-4;
  double min_ratio = 0;  // share of learning_rate at the end
  uint64_t warmup_steps = 0;
  uint64_t max_steps = 1;
};

// Learning rate of optimizer step `step` (from 0). As transformers: step / warmup_steps while
// warming up, so the first step of a warm-up moves nothing.
double LearningRate(const LrSchedule& schedule, uint64_t step);

}  // namespace amaq::train

#endif  // AMAQ_TRAIN_OPTIMIZER_H_
