#ifndef AMAQ_TESTS_QUANT_CUDA_HOST_GRID_H_
#define AMAQ_TESTS_QUANT_CUDA_HOST_GRID_H_

// Runs kernel bodies (quant/cuda/grid.h) on the host: phase by phase, block by block, warps merged
// by the butterfly of the GPU. The order of threads and blocks is the test's choice: where a body
// relies on an order or lacks a barrier, two orders give two results.

#include <array>
#include <cstdint>
#include <cstring>
#include <memory>
#include <utility>

#include "quant/cuda/grid.h"

namespace amaq::quant::cuda {

enum class Order { kAscending, kDescending };

class HostGrid {
 public:
  explicit HostGrid(Order order, bool barriers = true) : order_(order), barriers_(barriers) {}

  template <typename Body>
  void Run(uint32_t blocks, const typename Body::Params& params) {
    auto shared = std::make_unique<typename Body::Shared>();
    for (uint32_t i = 0; i < blocks; ++i) {
      const uint32_t block = InOrder(i, blocks);
      std::memset(static_cast<void*>(shared.get()), 0xa5, sizeof(*shared));
      constexpr auto kIndices = std::make_integer_sequence<int, Body::kPhases>{};
      if (barriers_) {
        RunPhases<Body>(params, block, shared.get(), kIndices);
      } else {
        RunWithoutBarriers<Body>(params, block, shared.get(), kIndices);
      }
      if constexpr (Body::kReducesWarps) ReduceWarps<Body>(params, block, *shared);
    }
  }

 private:
  uint32_t InOrder(uint32_t i, uint32_t count) const {
    return order_ == Order::kAscending ? i : count - 1 - i;
  }

  template <typename Body, typename Action>
  void ForThreads(uint32_t block, const Action& action) const {
    for (uint32_t i = 0; i < Body::kThreads; ++i) {
      action(Place{block, InOrder(i, Body::kThreads)});
    }
  }

  template <typename Body, int... kIndices>
  void RunPhases(const typename Body::Params& params, uint32_t block, typename Body::Shared* shared,
                 std::integer_sequence<int, kIndices...>) const {
    (ForThreads<Body>(block, [&](Place at) { Body::Run(Phase<kIndices>{}, params, at, shared); }),
     ...);
  }

  // What a GPU might do if the barriers were missing.
  template <typename Body, int... kIndices>
  void RunWithoutBarriers(const typename Body::Params& params, uint32_t block,
                          typename Body::Shared* shared,
                          std::integer_sequence<int, kIndices...>) const {
    ForThreads<Body>(block,
                     [&](Place at) { (Body::Run(Phase<kIndices>{}, params, at, shared), ...); });
  }

  template <typename Body>
  void ReduceWarps(const typename Body::Params& params, uint32_t block,
                   const typename Body::Shared& shared) const {
    for (uint32_t first = 0; first < Body::kThreads; first += kWarp) {
      std::array<typename Body::Value, kWarp> values;
      for (uint32_t lane = 0; lane < kWarp; ++lane) {
        values[lane] = Body::LaneValue(Place{block, first + lane}, shared);
      }
      for (uint32_t mask = kWarp / 2; mask > 0; mask /= 2) {
        const auto before = values;
        for (uint32_t lane = 0; lane < kWarp; ++lane) {
          values[lane] = Body::Merge(before[lane], before[lane ^ mask]);
        }
      }
      Body::WarpResult(params, Place{block, first}, values[0]);
    }
  }

  Order order_;
  bool barriers_;
};

}  // namespace amaq::quant::cuda

#endif  // AMAQ_TESTS_QUANT_CUDA_HOST_GRID_H_
