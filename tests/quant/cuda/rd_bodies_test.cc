// The bodies of the CUDA kernels of the rate-distortion coder, run on the host: bit for bit what
// quant:: gives.

#include <cmath>
#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "quant/cuda/plan.h"
#include "tests/quant/cuda/host_grid.h"
#include "tests/quant/cuda/rd_parity.h"
#include "tests/quant/rd_samples.h"

namespace amaq::quant::cuda {
namespace {

class HostRdRunner : public RdRunner {
 public:
  explicit HostRdRunner(HostGrid grid) : grid_(grid) {}

  RdResult Run(const RdSample& sample, const std::vector<uint32_t>& symbol_costs) override {
    const auto [rows, channels] = std::pair(sample.shape.rows, sample.shape.channels);
    const RdFamily family = {RdShapes().data(), RdCountOffsets().data(), symbol_costs.data()};
    const RdRowClasses classes = {sample.classes.bases.data(), sample.classes.row_classes.data()};
    RdResult result;
    // What is not written shows.
    result.q.assign(sample.y.size(), -777);
    result.channel_sums.assign(channels, 777);
    result.row_costs.assign(size_t{rows} * kRdRowClasses, 777);
    result.symbols.assign(sample.y.size(), 77);
    result.counts.assign(RdCountOffsets()[kRdTables], 777);
    result.values.assign(sample.y.size(), -777);
    const Input y = {sample.y.data(),
                     DType::kF32,
                     channels,
                     {nullptr, rows, sample.ids.empty() ? nullptr : sample.ids.data()}};
    RunRdQuantize(
        grid_, y, sample.rounding(), classes.bases, family,
        {result.q.data(), result.channel_sums.data(), result.row_costs.data(), &result.status});
    const RdIntegers q = {result.q.data(), rows, channels};
    RunRdCount(grid_, q, classes, family, result.symbols.data(), result.counts.data());
    RunRdDequantize(grid_, q, classes, RdShiftsOf(sample.centroids)[0].data(),
                    sample.options.step.value(), result.values.data());
    return result;
  }

 private:
  HostGrid grid_;
};

class CudaRdBodiesTest : public ::testing::TestWithParam<Order> {};

TEST_P(CudaRdBodiesTest, GiveTheIntegersCountsAndValuesOfTheCoder) {
  HostRdRunner runner{HostGrid(GetParam())};
  uint64_t seed = 0;

  for (const RdCase& shape : RdParityCases()) {
    ASSERT_EQ(RdDifference(&runner, MakeRdSample(shape, ++seed)), "") << shape;
  }

  EXPECT_EQ(seed, 42u);
}

INSTANTIATE_TEST_SUITE_P(EveryOrder, CudaRdBodiesTest,
                         ::testing::Values(Order::kAscending, Order::kDescending),
                         [](const auto& param_info) {
                           return param_info.param == Order::kAscending ? "ascending"
                                                                        : "descending";
                         });

// With the costs of the kernel the cheapest classes are those that RdEncode takes, and the counts
// are those that it teaches.
TEST(CudaRdBodiesTest, CostsAndCountsAreThoseOfAMessage) {
  constexpr uint32_t kRows = 300, kChannels = 288;
  RdSource source(71, kChannels, Shape::kLaplace, 6);
  RdModel model(kChannels);
  model.Add({0, 0, 0}, RdEncode(source.Next(kRows), DeadZone(4), model, {}).value().counts);
  model.Keep({1, 0, 0});
  RdSample sample = MakeRdSample({kRows, kChannels, Rounding::kNearestEven, false}, 1);
  sample.y = source.Next(kRows);
  sample.options = DeadZone(4);
  sample.classes.bases = model.BasesAt(4);
  const RdEncoded coded = RdEncode(sample.y, sample.options, model, {}).value();
  ASSERT_EQ(coded.sections.size(), 1u) << "the message has bases of its own";
  HostRdRunner runner{HostGrid(Order::kAscending)};
  const std::vector<uint32_t> symbol_costs = RdSymbolCosts(model.tables());

  const std::vector<uint64_t> costs = runner.Run(sample, symbol_costs).row_costs;
  for (size_t row = 0; row < kRows; ++row) {
    const auto first = costs.begin() + static_cast<ptrdiff_t>(row * kRdRowClasses);
    const auto least = std::min_element(first, first + kRdRowClasses);
    sample.classes.row_classes[row] = static_cast<uint8_t>(least - first);
  }
  const RdResult result = runner.Run(sample, symbol_costs);

  EXPECT_EQ(result.counts, coded.counts.symbols);
  EXPECT_EQ(result.channel_sums, coded.counts.channel_sums);
}

TEST(CudaRdBodiesTest, TheFirstValuesThatCannotBeCodedAreNamed) {
  RdSample sample = MakeRdSample({300, 300, Rounding::kNearestEven, false}, 3);
  const float too_large = static_cast<float>(kRdLargest) * sample.options.step.value();
  const auto set = [&](size_t row, size_t channel, float value) {
    sample.y[row * 300 + channel] = value;
  };
  set(299, 0, std::numeric_limits<float>::quiet_NaN());
  set(200, 270, std::numeric_limits<float>::infinity());
  set(200, 271, -std::numeric_limits<float>::infinity());
  set(40, 260, -too_large);
  set(41, 0, too_large);

  for (const Order order : {Order::kAscending, Order::kDescending}) {
    HostRdRunner runner{HostGrid(order)};
    const RdResult result = runner.Run(sample, RdSymbolCosts(RdModel(1).tables()));
    EXPECT_EQ(result.status.non_finite, uint64_t{200} << 32 | 270);
    EXPECT_EQ(result.status.too_large, uint64_t{40} << 32 | 260);
    EXPECT_EQ(result.q[200 * 300 + 270], 0);
    EXPECT_EQ(result.q[40 * 300 + 260], 0);
  }
}

TEST(CudaRdBodiesNegativeTest, AMissingBarrierIsCaught) {
  HostRdRunner runner{HostGrid(Order::kAscending, /*barriers=*/false)};
  const RdSample sample = MakeRdSample({33, 257, Rounding::kNearestEven, false}, 4);

  EXPECT_EQ(RdDifference(&runner, sample), "row costs");
}

TEST(CudaRdBodiesNegativeTest, AValueOfAnotherStepIsCaught) {
  class OneStepOff : public HostRdRunner {
   public:
    using HostRdRunner::HostRdRunner;
    RdResult Run(const RdSample& sample, const std::vector<uint32_t>& symbol_costs) override {
      RdResult result = HostRdRunner::Run(sample, symbol_costs);
      result.values.back() = std::nextafter(result.values.back(), 1e30f);
      return result;
    }
  };
  OneStepOff runner{HostGrid(Order::kAscending)};
  const RdSample sample = MakeRdSample({2, 3, Rounding::kStochastic, true}, 5);

  EXPECT_THAT(RdDifference(&runner, sample), ::testing::StartsWith("value 5"));
}

TEST(CudaRdBodiesTest, WhatTheKernelsDoNotTakeIsRefused) {
  HostGrid grid(Order::kAscending);
  const auto quantize = [&](const Input& y) { RunRdQuantize(grid, y, {}, nullptr, {}, {}); };
  const uint32_t row = 0;

  EXPECT_ERROR(quantize({nullptr, DType::kBF16, 4, {}}), Code::kInvalidArgument, "got bf16");
  EXPECT_ERROR(quantize({nullptr, DType::kF32, 4, {&row, 1, nullptr}}), Code::kInvalidArgument,
               "a list of rows");
  EXPECT_ERROR(quantize({nullptr, DType::kF32, 0, {}}), Code::kInvalidArgument, "got 0");
  EXPECT_ERROR(RunRdCount(grid, {nullptr, 1, kMaxChannels + 1}, {}, {}, nullptr, nullptr),
               Code::kInvalidArgument, "got 1048577");
  EXPECT_ERROR(RunRdDequantize(grid, {nullptr, 1u << 31, 1}, {}, nullptr, 1, nullptr),
               Code::kInvalidArgument, "2147483648");
}

}  // namespace
}  // namespace amaq::quant::cuda
