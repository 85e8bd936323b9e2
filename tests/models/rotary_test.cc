#include "models/rotary.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tensor/bridge.h"
#include "tests/models/reference_model.h"
#include "tests/support/tensor_matchers.h"
#include "tests/support/tiny_model.h"

namespace amaq::models {
namespace {

using test::BitEqual;
using test::CentralDifference;
using test::Dot;
using test::kDifferenceTolerance;
using test::NamedTensor;
using test::NearRelative;

constexpr double kTheta = 100;

RotaryTable TableOf(const std::vector<int32_t>& positions, int64_t head_dim, at::ScalarType type) {
  return MakeRotaryTable(tensor::FromInts(positions, at::kCPU), head_dim, kTheta, type);
}

at::Tensor Heads(int64_t rows, int64_t heads, int64_t head_dim, at::ScalarType type = at::kDouble) {
  return NamedTensor("heads", rows, heads * head_dim, 1, type).view({rows, heads, head_dim});
}

TEST(RotaryTest, PairsEachChannelWithTheOneHalfAHeadLater) {
  // Head of 4 at position 3: pairs (0, 2) with angle 3 and (1, 3) with angle 3 / sqrt(theta).
  at::Tensor x = Heads(1, 1, 4);
  const std::vector<double> before(x.const_data_ptr<double>(), x.const_data_ptr<double>() + 4);

  RotateInPlace(x, TableOf({3}, 4, at::kDouble));

  const double slow = 3 / std::sqrt(kTheta);
  const auto* after = x.const_data_ptr<double>();
  EXPECT_NEAR(after[0], before[0] * std::cos(3.0) - before[2] * std::sin(3.0), 1e-15);
  EXPECT_NEAR(after[1], before[1] * std::cos(slow) - before[3] * std::sin(slow), 1e-15);
  EXPECT_NEAR(after[2], before[2] * std::cos(3.0) + before[0] * std::sin(3.0), 1e-15);
  EXPECT_NEAR(after[3], before[3] * std::cos(slow) + before[1] * std::sin(slow), 1e-15);
}

TEST(RotaryTest, LeavesPositionZeroAsItIs) {
  const at::Tensor x = Heads(1, 3, 6);
  at::Tensor rotated = x.clone();

  RotateInPlace(rotated, TableOf({0}, 6, at::kDouble));

  EXPECT_TRUE(BitEqual(rotated, x));
}

TEST(RotaryTest, AgreesWithRotateHalfOverASequence) {
  at::Tensor x = Heads(5, 3, 10);
  const at::Tensor expected = test::ReferenceRotary(x, kTheta);

  RotateInPlace(x, TableOf({0, 1, 2, 3, 4}, 10, at::kDouble));

  EXPECT_TRUE(NearRelative(x, expected, 1e-14));
}

TEST(RotaryTest, GradientIsACentralDifference) {
  const RotaryTable table = TableOf({0, 1, 2, 0, 7}, 6, at::kDouble);
  const at::Tensor x = Heads(5, 3, 6);
  const at::Tensor weights = NamedTensor("gradient", 5, 18, 1, at::kDouble).view({5, 3, 6});
  at::Tensor gradient = weights.clone();

  RotateBackInPlace(gradient, table);

  const auto loss = [&] {
    at::Tensor rotated = x.clone();
    RotateInPlace(rotated, table);
    return Dot(rotated, weights);
  };
  EXPECT_TRUE(NearRelative(gradient, CentralDifference(loss, x), kDifferenceTolerance));
}

TEST(RotaryTest, RotatesAColumnRangeAndLeavesTheOthersAlone) {
  const at::Tensor wide = NamedTensor("wide", 3, 20, 1, at::kDouble);
  const at::Tensor before = wide.clone();
  at::Tensor expected = wide.narrow(1, 4, 12).clone().view({3, 2, 6});
  const RotaryTable table = TableOf({2, 3, 4}, 6, at::kDouble);

  RotateInPlace(expected, table);
  RotateInPlace(wide.narrow(1, 4, 12).view({3, 2, 6}), table);

  EXPECT_TRUE(BitEqual(wide.narrow(1, 4, 12).reshape({3, 2, 6}), expected));
  EXPECT_TRUE(BitEqual(wide.narrow(1, 0, 4), before.narrow(1, 0, 4)));
  EXPECT_TRUE(BitEqual(wide.narrow(1, 16, 4), before.narrow(1, 16, 4)));
}

TEST(RotaryTest, FormsTheAnglesOfABf16ModelInFp32) {
  // 1,001 is no bf16 number: rounded to 1,000 it would turn the fast pair by a radian.
  const RotaryTable narrow = TableOf({1001}, 8, at::kBFloat16);
  const RotaryTable wide = TableOf({1001}, 8, at::kDouble);

  EXPECT_EQ(narrow.cos.scalar_type(), at::kBFloat16);
  // Half an ulp of bf16 of values up to 1, and the fp32 rounding of an angle of 1,001.
  EXPECT_LE((narrow.cos.to(at::kDouble) - wide.cos).abs().max().item<double>(), 0x1p-9 + 1e-4);
  EXPECT_LE((narrow.sin.to(at::kDouble) - wide.sin).abs().max().item<double>(), 0x1p-9 + 1e-4);
}

}  // namespace
}  // namespace amaq::models
