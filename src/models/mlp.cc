#include "models/mlp.h"

#include <ATen/ops/empty_like.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/silu_backward.h>

namespace amaq::models {

at::Tensor SwiGluForward(const at::Tensor& gate_up) {
  const int64_t ffn = gate_up.size(-1) / 2;
  return at::silu(gate_up.narrow(-1, 0, ffn)).mul_(gate_up.narrow(-1, ffn, ffn));
}

at::Tensor SwiGluBackward(const at::Tensor& grad, const at::Tensor& gate_up) {
  const int64_t ffn = gate_up.size(-1) / 2;
  const at::Tensor gate = gate_up.narrow(-1, 0, ffn);
  const at::Tensor up = gate_up.narrow(-1, ffn, ffn);
  at::Tensor result = at::empty_like(gate_up);
  result.narrow(-1, 0, ffn).copy_(at::silu_backward(grad * up, gate));
  result.narrow(-1, ffn, ffn).copy_(at::silu(gate).mul_(grad));
  return result;
}

}  // namespace amaq::models
