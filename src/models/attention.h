#ifndef AMAQ_MODELS_ATTENTION_H_
#define AMAQ_MODELS_ATTENTION_H_

// Causal attention within each segment of concatenated tokens; grouped K/V heads. Pure functions.
// Source: FlashAttention-2 (arXiv 2307.08691) as ATen implements it for the CPU.

#include <vector>

#include "tensor/aten.h"

namespace amaq::models {

struct AttentionSaved {
  std::vector<at::Tensor> out;        // per segment, as ATen returned it
  std::vector<at::Tensor> logsumexp;  // per segment
};

struct AttentionGradients {
  at::Tensor q, k, v;  // shapes of the inputs
};

// q [N, heads, d], k and v [N, kv_heads, d], segments [S + 1] offsets on the host.
// Returns [N, heads * d]; scores are scaled by d^(-1/2).
at::Tensor AttentionForward(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            const std::vector<uint32_t>& segments, AttentionSaved* saved);
// grad [N, heads * d]. The gradients are written into `into` (views are fine).
void AttentionBackward(const at::Tensor& grad, const at::Tensor& q, const at::Tensor& k,
                       const at::Tensor& v, const std::vector<uint32_t>& segments,
                       const AttentionSaved& saved, AttentionGradients into);

}  // namespace amaq::models

#endif  // AMAQ_MODELS_ATTENTION_H_
