#ifndef AMAQ_MODELS_ROTARY_H_
#define AMAQ_MODELS_ROTARY_H_

// Rotary position embedding in the half-rotated order of Hugging Face's Llama. Pure functions.
// Source: RoFormer (arXiv 2104.09864), section 3.2; order of the halves as transformers has it.

#include "tensor/aten.h"

namespace amaq::models {

struct RotaryTable {
  at::Tensor cos;  // [N, 1, head_dim / 2]
  at::Tensor sin;
};

// positions int64 [N]. Angles are formed in fp32, as transformers does, unless type is fp64.
RotaryTable MakeRotaryTable(const at::Tensor& positions, int64_t head_dim, double theta,
                            at::ScalarType type);

// x [N, heads, head_dim] (may be a strided view) is rotated in place; the inverse rotation is the
// backward pass.
void RotateInPlace(at::Tensor x, const RotaryTable& table);
void RotateBackInPlace(at::Tensor grad, const RotaryTable& table);

}  // namespace amaq::models

#endif  // AMAQ_MODELS_ROTARY_H_
