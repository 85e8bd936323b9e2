#include "quant/cuda/kernels.h"

#include <array>
#include <bit>
#include <cstdint>
#include <utility>

#include <cuda_runtime.h>

#include "quant/cuda/plan.h"

namespace amaq::quant::cuda {
namespace {

// A struct of 32-bit members from the lane whose number differs in the bits of `mask`.
template <typename Value>
__device__ Value ShuffleXor(const Value& value, int mask) {
  using Words = std::array<uint32_t, sizeof(Value) / sizeof(uint32_t)>;
  static_assert(sizeof(Words) == sizeof(Value));
  auto words = std::bit_cast<Words>(value);
  for (uint32_t& word : words) word = __shfl_xor_sync(0xffffffffu, word, mask);
  return std::bit_cast<Value>(words);
}

template <typename Body, int... kIndices>
__device__ void RunPhases(const typename Body::Params& params, Place at,
                          typename Body::Shared* shared, std::integer_sequence<int, kIndices...>) {
  // All threads of a block reach every barrier: bodies return from a phase, never from the kernel.
  ((Body::Run(Phase<kIndices>{}, params, at, shared), __syncthreads()), ...);
}

template <typename Body>
__global__ void __launch_bounds__(Body::kThreads) Kernel(const typename Body::Params params) {
  __shared__ typename Body::Shared shared;
  const Place at{blockIdx.x, threadIdx.x};
  RunPhases<Body>(params, at, &shared, std::make_integer_sequence<int, Body::kPhases>{});
  if constexpr (Body::kReducesWarps) {
    auto value = Body::LaneValue(at, shared);
    for (int mask = kWarp / 2; mask > 0; mask /= 2) {
      value = Body::Merge(value, ShuffleXor(value, mask));
    }
    if (at.thread % kWarp == 0) Body::WarpResult(params, at, value);
  }
}

struct DeviceGrid {
  cudaStream_t stream;

  template <typename Body>
  void Run(uint32_t blocks, const typename Body::Params& params) {
    Kernel<Body><<<blocks, Body::kThreads, 0, stream>>>(params);
    const cudaError_t error = cudaGetLastError();
    if (error != cudaSuccess) {
      Throw(Code::kInternal, "a CUDA kernel of ", blocks,
            " blocks did not start: ", cudaGetErrorString(error));
    }
  }
};

DeviceGrid GridOn(void* stream) { return {static_cast<cudaStream_t>(stream)}; }

}  // namespace

void LaunchOffsets(const uint8_t* widths, uint32_t channels, uint32_t* offsets, void* stream) {
  DeviceGrid grid = GridOn(stream);
  RunOffsets(grid, widths, channels, offsets);
}

uint64_t RangeWorkspaceBytes(uint32_t coded_rows, uint32_t channels) {
  return WorkspaceBytes(coded_rows, channels);
}

void LaunchRanges(const Input& x, const uint8_t* widths, Range mode, void* workspace,
                  ChannelRange* ranges, Status* status, void* stream) {
  DeviceGrid grid = GridOn(stream);
  RunRanges(grid, x, widths, mode, workspace, ranges, status);
}

void LaunchEncode(const Input& x, const Layout& layout, const ChannelRange* ranges,
                  const Status* status, Rounding rounding, uint64_t key, uint8_t* codes,
                  void* stream) {
  DeviceGrid grid = GridOn(stream);
  RunEncode(grid, x, layout, ranges, status, rounding, key, codes);
}

void LaunchDecode(const uint8_t* codes, const Layout& layout, const ChannelRange* ranges,
                  const CodedRows& coded, uint32_t channels, float* out, void* stream) {
  DeviceGrid grid = GridOn(stream);
  RunDecode(grid, codes, layout, ranges, coded, channels, out);
}

void LaunchRdQuantize(const Input& y, const RdRounding& rounding, const uint8_t* bases,
                      const RdFamily& family, const RdQuantized& out, void* stream) {
  DeviceGrid grid = GridOn(stream);
  RunRdQuantize(grid, y, rounding, bases, family, out);
}

void LaunchRdCount(const RdIntegers& q, const RdRowClasses& classes, const RdFamily& family,
                   uint8_t* symbols, uint32_t* counts, void* stream) {
  DeviceGrid grid = GridOn(stream);
  RunRdCount(grid, q, classes, family, symbols, counts);
}

void LaunchRdDequantize(const RdIntegers& q, const RdRowClasses& classes, const float* shifts,
                        float step, float* out, void* stream) {
  DeviceGrid grid = GridOn(stream);
  RunRdDequantize(grid, q, classes, shifts, step, out);
}

}  // namespace amaq::quant::cuda
