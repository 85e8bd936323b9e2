#ifndef AMAQ_MODELS_MLP_H_
#define AMAQ_MODELS_MLP_H_

// SwiGLU: m = silu(gate) * up, elementwise. Pure functions.
// Source: Shazeer, "GLU variants improve Transformer" (arXiv 2002.05202), equation 6.

#include "tensor/aten.h"

namespace amaq::models {

// gate_up [N, 2 * ffn]: the gate's columns, then up's. Returns [N, ffn].
at::Tensor SwiGluForward(const at::Tensor& gate_up);
// grad [N, ffn]; returns the gradient of gate_up [N, 2 * ffn].
at::Tensor SwiGluBackward(const at::Tensor& grad, const at::Tensor& gate_up);

}  // namespace amaq::models

#endif  // AMAQ_MODELS_MLP_H_
