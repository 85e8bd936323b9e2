#ifndef AMAQ_TENSOR_BRIDGE_H_
#define AMAQ_TENSOR_BRIDGE_H_

// The only place where a tensor's memory is touched as host memory. Everything else speaks ATen.
// Thread-safety: pure functions over their arguments.

#include <cstdint>
#include <span>
#include <string_view>

#include "core/dtype.h"
#include "core/tensor_view.h"
#include "tensor/aten.h"

namespace amaq::tensor {

at::ScalarType ToScalarType(DType dtype);
DType FromScalarType(at::ScalarType type);  // kInternal for a type outside DType

// "cpu" now; another name is kInvalidArgument naming it.
at::Device ParseDevice(std::string_view name);

// A contiguous host copy of x, or x itself when it is one already. The view below needs it.
at::Tensor OnHost(const at::Tensor& x);
// x must be contiguous, on the host and [N, H]; the view lives as long as x.
MatrixView ViewMatrix(const at::Tensor& x);

// The elements of a contiguous host tensor of matching type; they live as long as x.
std::span<float> Floats(at::Tensor& x);
std::span<const float> Floats(const at::Tensor& x);

// New tensors on `device`.
at::Tensor FromInts(std::span<const int32_t> values, at::Device device);   // int64 [n]
at::Tensor FromRows(std::span<const uint32_t> values, at::Device device);  // int64 [n]
at::Tensor EmptyFloats(int64_t rows, int64_t columns);  // fp32, host, uninitialised

// Inverted-dropout mask [rows, columns]: 0 with probability p, else 1 / (1 - p). Element i is a
// pure function of (key, i).
at::Tensor DropoutMask(int64_t rows, int64_t columns, double p, uint64_t key,
                       const at::TensorOptions& options);

// Uniform in [-bound, bound), fp32, element i a pure function of (key, i).
at::Tensor UniformTensor(int64_t rows, int64_t columns, double bound, uint64_t key,
                         at::Device device);

// Threads of ATen's pools, and how many compiled kernels oneDNN keeps (each number of rows needs
// its own, some 0.7 MiB; LibTorch's default of 1,024 would outgrow the model). Called by main only,
// before the first operator and before other threads exist: it sets environment variables that the
// libraries read at their first use. Those that the user has set stay.
void ConfigureCompute(int threads);
// What it set, for loops of this project's own (core/parallel.h).
size_t NumThreads();

}  // namespace amaq::tensor

#endif  // AMAQ_TENSOR_BRIDGE_H_
