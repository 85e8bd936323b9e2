#include "lora/low_rank.h"

#include <ATen/ops/mm.h>
#include <ATen/ops/zeros_like.h>

#include <utility>

#include "core/rng.h"
#include "tensor/bridge.h"

namespace amaq::lora {

LowRank::LowRank(std::string name, at::Tensor a, at::Tensor b, double scale)
    : name_(std::move(name)),
      a_(std::move(a)),
      b_(std::move(b)),
      grad_a_(at::zeros_like(a_)),
      grad_b_(at::zeros_like(b_)),
      scale_(scale) {}

at::Tensor LowRank::Dropped(const at::Tensor& x, const DropoutContext& dropout,
                            at::Tensor* mask) const {
  if (dropout.p == 0) return x;
  *mask = tensor::DropoutMask(x.size(0), x.size(1), dropout.p,
                              DropoutKey(dropout.seed, name_, dropout.step, dropout.micro_batch),
                              x.options());
  return x * *mask;
}

void LowRank::AddForward(const at::Tensor& x, const DropoutContext& dropout, at::Tensor y) const {
  at::Tensor mask;
  const at::ScalarType type = x.scalar_type();
  const at::Tensor hidden = at::mm(Dropped(x, dropout, &mask), a_.to(type).t());
  y.addmm_(hidden, b_.to(type).t(), 1, scale_);
}

void LowRank::AddBackward(const at::Tensor& grad, const at::Tensor& x,
                          const DropoutContext& dropout, at::Tensor* grad_x,
                          DeferredGradients* deferred) {
  at::Tensor mask;
  const at::ScalarType type = x.scalar_type();
  const at::Tensor dropped = Dropped(x, dropout, &mask);
  const at::Tensor grad_hidden = at::mm(grad, b_.to(type)).mul_(scale_);  // [N, r]
  if (grad_x != nullptr) {
    if (mask.defined()) {
      grad_x->add_(at::mm(grad_hidden, a_.to(type)).mul_(mask));
    } else {
      grad_x->addmm_(grad_hidden, a_.to(type));
    }
  }
  const auto accumulate = [this, grad, dropped, grad_hidden, type] {
    const at::Tensor hidden = at::mm(dropped, a_.to(type).t());
    grad_b_.add_(at::mm(grad.t(), hidden), scale_);
    grad_a_.add_(at::mm(grad_hidden.t(), dropped));
  };
  if (deferred != nullptr) {
    deferred->push_back(accumulate);
  } else {
    accumulate();
  }
}

void LowRank::ZeroGradients() {
  grad_a_.zero_();
  grad_b_.zero_();
}

}  // namespace amaq::lora
