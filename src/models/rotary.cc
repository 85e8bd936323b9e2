#include "models/rotary.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/pow.h>

namespace amaq::models {
namespace {

// (first, second) -> (first cos - second sin, second cos + first sin).
void Rotate(at::Tensor x, const at::Tensor& cos, const at::Tensor& sin) {
  const int64_t half = x.size(-1) / 2;
  at::Tensor first = x.narrow(-1, 0, half);
  at::Tensor second = x.narrow(-1, half, half);
  const at::Tensor rotated = (first * cos).sub_(second * sin);
  second.mul_(cos).add_(first * sin);
  first.copy_(rotated);
}

}  // namespace

RotaryTable MakeRotaryTable(const at::Tensor& positions, int64_t head_dim, double theta,
                            at::ScalarType type) {
  const at::ScalarType wide = type == at::kDouble ? at::kDouble : at::kFloat;
  const at::Tensor exponents = at::arange(0, head_dim, 2, positions.options().dtype(wide))
                                   .div_(static_cast<double>(head_dim));
  const at::Tensor frequencies = at::pow(theta, exponents).reciprocal_();
  const at::Tensor angles =
      (positions.to(wide).unsqueeze(-1) * frequencies.unsqueeze(0)).unsqueeze(1);
  return {angles.cos().to(type), angles.sin().to(type)};
}

void RotateInPlace(at::Tensor x, const RotaryTable& table) {
  Rotate(std::move(x), table.cos, table.sin);
}

void RotateBackInPlace(at::Tensor grad, const RotaryTable& table) {
  Rotate(std::move(grad), table.cos, table.sin.neg());
}

}  // namespace amaq::models
