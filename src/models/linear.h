#ifndef AMAQ_MODELS_LINEAR_H_
#define AMAQ_MODELS_LINEAR_H_

// Products with a frozen weight, where a step spends most of its time. On the CPU in fp32 they go
// to oneDNN: with the few hundred rows of a micro-batch it needs about four fifths of the time of
// the BLAS behind at::linear and at::mm (docs/benchmarks.md) and takes the weight as it lies. Pure
// functions; the same bits for the same shapes and number of threads. Source: our choice
// (docs/adr/0014).

#include "tensor/aten.h"

namespace amaq::models {

// x [N, in], weight [out, in]: x weight^T, [N, out].
at::Tensor LinearForward(const at::Tensor& x, const at::Tensor& weight);
// grad [N, out]: grad weight, the gradient of x, [N, in].
at::Tensor LinearBackward(const at::Tensor& grad, const at::Tensor& weight);

}  // namespace amaq::models

#endif  // AMAQ_MODELS_LINEAR_H_
