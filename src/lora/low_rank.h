#ifndef AMAQ_LORA_LOW_RANK_H_
#define AMAQ_LORA_LOW_RANK_H_

// One low-rank adapter of one linear layer: y += scale * dropout(x) A^T B^T, with its explicit
// backward. It does not know models. Lane-bound.
// Source: LoRA (arXiv 2106.09685), section 4.1; names, shapes and scale as PEFT has them.

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "tensor/aten.h"

namespace amaq::lora {

// Where in the run a micro-batch stands: keys of the dropout masks.
struct DropoutContext {
  double p = 0;  // 0: no dropout (evaluation)
  uint64_t seed = 0;
  uint64_t step = 0;
  uint32_t micro_batch = 0;
};

// Weight gradients that wait until the cut gradient has left. Run in order by whoever owns the
// list.
using DeferredGradients = std::vector<std::function<void()>>;

class LowRank {
 public:
  // name: global module name ("model.layers.3.self_attn.q_proj"). a [r, in], b [out, r], fp32 or
  // fp64.
  LowRank(std::string name, at::Tensor a, at::Tensor b, double scale);

  const std::string& name() const { return name_; }
  double scale() const { return scale_; }
  at::Tensor& a() { return a_; }
  at::Tensor& b() { return b_; }
  const at::Tensor& a() const { return a_; }
  const at::Tensor& b() const { return b_; }
  const at::Tensor& grad_a() const { return grad_a_; }
  const at::Tensor& grad_b() const { return grad_b_; }
  at::Tensor& grad_a() { return grad_a_; }
  at::Tensor& grad_b() { return grad_b_; }

  // y [N, out] (may be a view into a wider row) += scale * dropout(x) A^T B^T.
  void AddForward(const at::Tensor& x, const DropoutContext& dropout, at::Tensor y) const;

  // grad [N, out] of y. Accumulates dA and dB (now, or into `deferred` when given), and adds the
  // adapter's part of dx to grad_x [N, in] unless that is nullptr.
  void AddBackward(const at::Tensor& grad, const at::Tensor& x, const DropoutContext& dropout,
                   at::Tensor* grad_x, DeferredGradients* deferred);

  void ZeroGradients();

 private:
  at::Tensor Dropped(const at::Tensor& x, const DropoutContext& dropout, at::Tensor* mask) const;

  std::string name_;
  at::Tensor a_, b_;            // trained values, kept in at least fp32
  at::Tensor grad_a_, grad_b_;  // accumulated over the micro-batches of a step
  double scale_;
};

}  // namespace amaq::lora

#endif  // AMAQ_LORA_LOW_RANK_H_
