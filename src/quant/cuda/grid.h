#ifndef AMAQ_QUANT_CUDA_GRID_H_
#define AMAQ_QUANT_CUDA_GRID_H_

// What a kernel is made of, so that the GPU (kernels.cu) and a loop on the host (the tests) run the
// same functions. A body is a struct with
//   kThreads               threads of a block
//   kPhases                number of phases; between two of them all threads of the block wait
//   Params, Shared         arguments by value; the memory that a block's threads share
//   Run(Phase<i>, ...)     phase i of one thread; nothing survives it but what is in memory
// and, where kReducesWarps, after the last phase: each lane's LaneValue is merged over the warp by
// Merge (commutative and associative), and WarpResult gets the outcome, once a warp.
// Source: our choice, docs/adr/0011.

#include <cstdint>
#include <cstring>

#include "core/check.h"
#include "core/host_device.h"

namespace amaq::quant::cuda {

inline constexpr uint32_t kWarp = 32;

template <int kIndex>
struct Phase {};

// Where a thread stands.
struct Place {
  uint32_t block;
  uint32_t thread;
};

AMAQ_HOST_DEVICE inline uint32_t CeilDivide(uint32_t value, uint32_t divisor) {
  return value / divisor + (value % divisor != 0 ? 1u : 0u);
}

// Blocks run at the same time on a GPU and one after the other on the host.
AMAQ_HOST_DEVICE inline void AtomicMin(uint64_t* target, uint64_t value) {
#if defined(__CUDA_ARCH__)
  atomicMin(reinterpret_cast<unsigned long long*>(target), value);
#else
  if (value < *target) *target = value;
#endif
}

template <typename T>
AMAQ_HOST_DEVICE inline void AtomicAdd(T* target, T value) {
#if defined(__CUDA_ARCH__)
  if constexpr (sizeof(T) == sizeof(unsigned long long)) {
    atomicAdd(reinterpret_cast<unsigned long long*>(target), value);
  } else {
    atomicAdd(target, value);
  }
#else
  *target += value;
#endif
}

// Both addresses are multiples of 4: a GPU stops at others, so the host does, too.
AMAQ_HOST_DEVICE inline void CopyWord(uint8_t* to, const uint8_t* from) {
#if !defined(__CUDA_ARCH__)
  AMAQ_CHECK((reinterpret_cast<uintptr_t>(to) | reinterpret_cast<uintptr_t>(from)) % 4 == 0);
#endif
  std::memcpy(__builtin_assume_aligned(to, 4), __builtin_assume_aligned(from, 4), 4);
}

}  // namespace amaq::quant::cuda

#endif  // AMAQ_QUANT_CUDA_GRID_H_
