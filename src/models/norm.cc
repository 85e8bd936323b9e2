#include "models/norm.h"

#include <ATen/ops/mean.h>
#include <ATen/ops/rsqrt.h>

namespace amaq::models {
namespace {

// Statistics of a half-precision row are formed in fp32.
at::Tensor Widened(const at::Tensor& x) {
  return x.scalar_type() == at::kDouble ? x : x.to(at::kFloat);
}

}  // namespace

at::Tensor RmsNormForward(const at::Tensor& x, const at::Tensor& weight, double eps,
                          RmsNormSaved* saved) {
  const at::Tensor wide = Widened(x);
  saved->rstd = wide.square().mean(-1, true).add_(eps).rsqrt_();
  return RmsNormReapply(x, weight, *saved);
}

at::Tensor RmsNormReapply(const at::Tensor& x, const at::Tensor& weight,
                          const RmsNormSaved& saved) {
  return (Widened(x) * saved.rstd).to(x.scalar_type()).mul_(weight);
}

at::Tensor RmsNormBackward(const at::Tensor& grad, const at::Tensor& x, const at::Tensor& weight,
                           const RmsNormSaved& saved) {
  const at::Tensor normalized = Widened(x) * saved.rstd;
  at::Tensor scaled = Widened(grad * weight);
  const at::Tensor mean = (scaled * normalized).mean(-1, true);
  return scaled.sub_(normalized * mean).mul_(saved.rstd).to(x.scalar_type());
}

}  // namespace amaq::models
