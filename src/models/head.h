#ifndef AMAQ_MODELS_HEAD_H_
#define AMAQ_MODELS_HEAD_H_

// Final norm, output projection and cross-entropy over the supervised rows only, in chunks of rows,
// so that the logits of a batch never exist at once. The gradient is formed in the same pass. Pure
// functions. Source: our choice (docs/architecture.md, "The step").

#include <cstdint>
#include <span>

#include "models/norm.h"

namespace amaq::models {

struct HeadWeights {
  at::Tensor norm;    // [H]
  at::Tensor output;  // [V, H]
  double norm_eps = 1e-5;
};

struct Supervision {
  std::span<const uint32_t> rows;    // [K] ascending rows of x
  std::span<const int32_t> targets;  // [K] token ids below V
};

struct LossResult {
  double loss_sum = 0;  // nats, not divided
  uint64_t tokens = 0;  // K
  // Argmax equals the target (first index wins a tie); counted when no gradient is wanted.
  uint64_t correct = 0;
  at::Tensor gradient;  // [N, H] of loss_sum / divisor; undefined when not wanted
};

// x [N, H]. divisor: the supervised tokens of the whole accumulated step; 0: no gradient wanted.
// A loss that is not finite is returned as it is: the caller decides.
LossResult HeadLoss(const at::Tensor& x, const HeadWeights& weights, const Supervision& supervision,
                    uint64_t divisor);

// Logits [rows, V] in fp32 (fp64 when x is) of the given rows.
at::Tensor HeadLogits(const at::Tensor& x, const HeadWeights& weights,
                      std::span<const uint32_t> rows);

}  // namespace amaq::models

#endif  // AMAQ_MODELS_HEAD_H_
