#ifndef AMAQ_MODELS_NORM_H_
#define AMAQ_MODELS_NORM_H_

// RMSNorm, row by row: y = x * rstd * weight with rstd = (mean(x^2) + eps)^(-1/2). Pure functions.
// Source: Zhang and Sennrich, "Root mean square layer normalization" (arXiv 1910.07467),
// equation 4.

#include "tensor/aten.h"

namespace amaq::models {

struct RmsNormSaved {
  at::Tensor rstd;  // [N, 1]
};

// x [N, H], weight [H].
at::Tensor RmsNormForward(const at::Tensor& x, const at::Tensor& weight, double eps,
                          RmsNormSaved* saved);
// The same y from the saved statistics, without forming them again.
at::Tensor RmsNormReapply(const at::Tensor& x, const at::Tensor& weight, const RmsNormSaved& saved);
// dx; the weight is frozen.
at::Tensor RmsNormBackward(const at::Tensor& grad, const at::Tensor& x, const at::Tensor& weight,
                           const RmsNormSaved& saved);

}  // namespace amaq::models

#endif  // AMAQ_MODELS_NORM_H_
