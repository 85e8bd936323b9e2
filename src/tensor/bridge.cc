#include "tensor/bridge.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include <cstdlib>

#include "core/check.h"
#include "core/error.h"
#include "core/rng.h"

namespace amaq::tensor {
namespace {

// Calls fill(i, word) for i in [0, count) with the Philox word at counter i / 4, lane i % 4.
template <typename Fill>
void ForEachWord(int64_t count, uint64_t key, const Fill& fill) {
  for (int64_t i = 0; i < count; i += 4) {
    const auto block = static_cast<uint64_t>(i / 4);
    const auto words =
        Philox4x32(key, {static_cast<uint32_t>(block), static_cast<uint32_t>(block >> 32), 0, 0});
    for (int64_t lane = 0; lane < 4 && i + lane < count; ++lane) {
      fill(i + lane, words[static_cast<size_t>(lane)]);
    }
  }
}

}  // namespace

at::ScalarType ToScalarType(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return at::kFloat;
    case DType::kBF16:
      return at::kBFloat16;
    case DType::kF16:
      return at::kHalf;
    case DType::kF64:
      return at::kDouble;
  }
  AMAQ_CHECK(false);
}

DType FromScalarType(at::ScalarType type) {
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kF16, DType::kF64}) {
    if (ToScalarType(dtype) == type) return dtype;
  }
  Throw(Code::kInternal, "a tensor of type ", c10::toString(type), " has no place on the wire");
}

at::Device ParseDevice(std::string_view name) {
  if (name != "cpu") {
    Throw(Code::kInvalidArgument, "device must be 'cpu' in this build, got '", name, "'");
  }
  return at::Device(at::kCPU);
}

at::Tensor OnHost(const at::Tensor& x) { return x.to(at::kCPU).contiguous(); }

MatrixView ViewMatrix(const at::Tensor& x) {
  AMAQ_CHECK(x.dim() == 2 && x.is_contiguous() && x.device().is_cpu());
  return {x.const_data_ptr(), FromScalarType(x.scalar_type()), x.size(0), x.size(1)};
}

std::span<float> Floats(at::Tensor& x) {
  AMAQ_CHECK(x.is_contiguous() && x.device().is_cpu());
  return {x.mutable_data_ptr<float>(), static_cast<size_t>(x.numel())};
}

std::span<const float> Floats(const at::Tensor& x) {
  AMAQ_CHECK(x.is_contiguous() && x.device().is_cpu());
  return {x.const_data_ptr<float>(), static_cast<size_t>(x.numel())};
}

namespace {

template <typename T>
at::Tensor FromIntegers(std::span<const T> values, at::Device device) {
  at::Tensor out = at::empty({static_cast<int64_t>(values.size())}, at::kLong);
  int64_t* data = out.mutable_data_ptr<int64_t>();
  for (size_t i = 0; i < values.size(); ++i) data[i] = static_cast<int64_t>(values[i]);
  return out.to(device);
}

}  // namespace

at::Tensor FromInts(std::span<const int32_t> values, at::Device device) {
  return FromIntegers(values, device);
}

at::Tensor FromRows(std::span<const uint32_t> values, at::Device device) {
  return FromIntegers(values, device);
}

at::Tensor EmptyFloats(int64_t rows, int64_t columns) {
  return at::empty({rows, columns}, at::kFloat);
}

at::Tensor DropoutMask(int64_t rows, int64_t columns, double p, uint64_t key,
                       const at::TensorOptions& options) {
  at::Tensor mask = EmptyFloats(rows, columns);
  float* data = mask.mutable_data_ptr<float>();
  const auto keep = static_cast<float>(1.0 / (1.0 - p));
  const auto threshold = static_cast<float>(p);
  ForEachWord(mask.numel(), key, [&](int64_t i, uint32_t word) {
    data[i] = UniformFloat(word) < threshold ? 0.0f : keep;
  });
  return mask.to(options);
}

at::Tensor UniformTensor(int64_t rows, int64_t columns, double bound, uint64_t key,
                         at::Device device) {
  at::Tensor out = EmptyFloats(rows, columns);
  float* data = out.mutable_data_ptr<float>();
  ForEachWord(out.numel(), key, [&](int64_t i, uint32_t word) {
    data[i] = static_cast<float>((2.0 * static_cast<double>(UniformFloat(word)) - 1.0) * bound);
  });
  return out.to(device);
}

void ConfigureCompute(int threads) {
  // Twice the kernels that a micro-batch needs; oneDNN's cache and the one in front of it.
  constexpr const char* kKeptKernels = "32";
  setenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", kKeptKernels, /*overwrite=*/0);
  setenv("LRU_CACHE_CAPACITY", kKeptKernels, /*overwrite=*/0);
  at::set_num_threads(threads);
  at::set_num_interop_threads(1);
}

size_t NumThreads() { return static_cast<size_t>(at::get_num_threads()); }

}  // namespace amaq::tensor
