#ifndef AMAQ_TENSOR_ATEN_H_
#define AMAQ_TENSOR_ATEN_H_

// The gate to ATen: the tensor type and its infix operators, nothing else. Operators are included
// one by one as ATen/ops/<op>.h by the file that calls them. Reason: the whole ATen.h costs five
// times the compile time (docs/adr/0004). Never include torch/torch.h or anything of autograd in
// src/.

#ifndef AT_PER_OPERATOR_HEADERS
#define AT_PER_OPERATOR_HEADERS  // NOLINT(readability-identifier-naming): ATen's name
#endif

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>

#endif  // AMAQ_TENSOR_ATEN_H_
