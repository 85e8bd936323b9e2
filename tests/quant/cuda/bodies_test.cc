// The bodies of the CUDA kernels, run on the host: bit for bit what quant::Encode and quant::Decode
// give. What the host cannot show (barriers and shuffles of a real GPU) is in gpu_test.cc.

#include <limits>
#include <tuple>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/quant/cuda/host_runner.h"

namespace amaq::quant::cuda {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

Case SmallCase(uint32_t rows, uint32_t channels) {
  return {rows, channels, 3, DType::kF32, Rounding::kNearestEven, Range::kMinMax, false, false, 0};
}

Coded EncodeOnHost(const Sample& sample) {
  return HostRunner(HostGrid(Order::kAscending)).Encode(sample);
}

class CudaBodiesTest : public ::testing::TestWithParam<std::tuple<DType, Rounding, Order>> {};

TEST_P(CudaBodiesTest, GiveTheBytesAndValuesOfTheCodec) {
  const auto [dtype, rounding, order] = GetParam();
  HostRunner runner{HostGrid(order)};
  uint64_t seed = 0;

  for (const Case& shape : ParityCases(dtype, rounding)) {
    ASSERT_EQ(Difference(&runner, MakeSample(shape, ++seed)), "") << shape << " seed " << seed;
  }

  EXPECT_GE(seed, 900u);
  RecordProperty("cases", static_cast<int>(seed));
}

INSTANTIATE_TEST_SUITE_P(
    EveryInput, CudaBodiesTest,
    ::testing::Combine(::testing::Values(DType::kF32, DType::kBF16, DType::kF16),
                       ::testing::Values(Rounding::kNearestEven, Rounding::kStochastic),
                       ::testing::Values(Order::kAscending, Order::kDescending)),
    [](const auto& param_info) {
      const bool ascending = std::get<2>(param_info.param) == Order::kAscending;
      return InputName(std::get<0>(param_info.param), std::get<1>(param_info.param)) +
             (ascending ? "_ascending" : "_descending");
    });

TEST(CudaBodiesNegativeTest, OneChangedCodeIsCaught) {
  class OneCodeOff : public HostRunner {
   public:
    using HostRunner::HostRunner;
    Coded Encode(const Sample& sample) override {
      Coded coded = HostRunner::Encode(sample);
      coded.codes.back() ^= 0x20;
      return coded;
    }
  };
  OneCodeOff runner{HostGrid(Order::kAscending)};

  EXPECT_EQ(Difference(&runner, MakeSample(SmallCase(16, 5), 1)), "codes");
}

TEST(CudaBodiesNegativeTest, AMissingBarrierIsCaught) {
  const Sample sample = MakeSample(SmallCase(16, 40), 1);
  const Coded right = EncodeOnHost(sample);
  const std::vector<uint32_t> offsets = HostRunner(HostGrid(Order::kAscending)).Offsets(sample);
  HostGrid grid(Order::kAscending, /*barriers=*/false);
  Bytes codes(right.codes.size());

  RunEncode(grid, {sample.data.data(), DType::kF32, 40, {nullptr, 16, nullptr}},
            {sample.widths.data(), offsets.data()}, right.ranges.data(), nullptr,
            Rounding::kNearestEven, 0, codes.data());

  EXPECT_NE(codes, right.codes);
}

TEST(CudaBodiesTest, OffsetsAreThePrefixSumsOfTheWidths) {
  for (const uint32_t channels : {1u, 2u, 255u, 256u, 257u, 1000u, 4096u}) {
    Case shape = SmallCase(0, channels);
    shape.width = kMixedWidths;
    const Sample sample = MakeSample(shape, channels);
    std::vector<uint32_t> expected(channels + 1, 0);
    for (uint32_t c = 0; c < channels; ++c) expected[c + 1] = expected[c] + sample.widths[c];

    EXPECT_EQ(HostRunner(HostGrid(Order::kDescending)).Offsets(sample), expected);
  }
}

TEST(CudaBodiesTest, TheFirstValueThatIsNotFiniteIsNamedAndNothingIsCoded) {
  Sample sample = MakeSample(SmallCase(600, 70), 2);
  sample.Set(300, 65, -kInfinity);
  sample.Set(299, 66, kNaN);
  sample.Set(599, 0, kInfinity);

  const Coded coded = EncodeOnHost(sample);

  EXPECT_EQ(coded.status.non_finite, uint64_t{299} << 32 | 66);
  EXPECT_THAT(coded.codes, ::testing::Each(0xee));
  try {
    Encode(sample.view(), sample.widths, {}, {});
    FAIL() << "the codec took a NaN";
  } catch (const NonFiniteError& error) {
    EXPECT_EQ(error.row() << 32 | error.channel(), coded.status.non_finite);
  }
}

TEST(CudaBodiesTest, ASinkRowThatIsNotFiniteIsNotLookedAt) {
  Case shape = SmallCase(20, 3);
  shape.sinks = true;
  Sample sample = MakeSample(shape, 3);
  sample.Set(5, 1, kNaN);

  EXPECT_EQ(EncodeOnHost(sample).status.non_finite, kNone);
}

TEST(CudaBodiesTest, TheLowestChannelWhoseRangeOverflowsIsNamedAndNothingIsCoded) {
  Sample sample = MakeSample(SmallCase(40, 70), 4);
  for (const uint32_t channel : {69u, 33u}) {
    sample.Set(2, channel, -3e38f);
    sample.Set(9, channel, 3e38f);
  }

  const Coded coded = EncodeOnHost(sample);

  EXPECT_EQ(coded.status.non_finite, kNone);
  EXPECT_EQ(coded.status.overflow, 33u);
  EXPECT_THAT(coded.codes, ::testing::Each(0xee));
}

TEST(CudaBodiesTest, WhatTheKernelsDoNotTakeIsRefused) {
  HostGrid grid(Order::kAscending);
  const auto ranges = [&](const Input& x, Range mode) {
    RunRanges(grid, x, nullptr, mode, nullptr, nullptr, nullptr);
  };

  EXPECT_ERROR(ranges({nullptr, DType::kF64, 4, {}}, Range::kMinMax), Code::kInvalidArgument,
               "fp64");
  EXPECT_ERROR(ranges({nullptr, DType::kF32, 0, {}}, Range::kMinMax), Code::kInvalidArgument,
               "1 to 1048576 channels, got 0");
  EXPECT_ERROR(ranges({nullptr, DType::kF32, kMaxChannels + 1, {}}, Range::kMinMax),
               Code::kInvalidArgument, "got 1048577");
  EXPECT_ERROR(ranges({nullptr, DType::kF32, 4, {nullptr, 1u << 31, nullptr}}, Range::kMinMax),
               Code::kInvalidArgument, "2147483648");
  EXPECT_ERROR(
      ranges({nullptr, DType::kF32, kMaxChannels, {nullptr, 0x7fffffff, nullptr}}, Range::kMinMax),
      Code::kInvalidArgument, "blocks");
  EXPECT_ERROR(ranges({nullptr, DType::kF32, 4, {}}, static_cast<Range>(77)),
               Code::kInvalidArgument, "not number 77");
}

}  // namespace
}  // namespace amaq::quant::cuda
