#include "tensor/bridge.h"

#include <gmock/gmock.h>

#include <cmath>

#include "core/error.h"
#include "core/rng.h"
#include "tests/support/tensor_matchers.h"

namespace amaq::tensor {
namespace {

using test::BitEqual;
using ::testing::HasSubstr;

constexpr uint64_t kKey = 0x0123456789abcdef;

TEST(BridgeTest, MapsEveryElementTypeThereAndBack) {
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kF16, DType::kF64}) {
    EXPECT_EQ(FromScalarType(ToScalarType(dtype)), dtype);
  }
  EXPECT_EQ(ToScalarType(DType::kBF16), at::kBFloat16);
}

TEST(BridgeTest, RefusesAnElementTypeThatHasNoPlaceOnTheWire) {
  try {
    FromScalarType(at::kLong);
    FAIL() << "an int64 tensor was accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::kInternal);
    EXPECT_THAT(error.message(), HasSubstr("Long"));
  }
}

TEST(BridgeTest, RefusesADeviceThatTheBuildDoesNotHaveByItsName) {
  EXPECT_EQ(ParseDevice("cpu"), at::Device(at::kCPU));
  try {
    ParseDevice("cuda:1");
    FAIL() << "cuda:1 was accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::kInvalidArgument);
    EXPECT_THAT(error.message(), HasSubstr("'cuda:1'"));
  }
}

TEST(BridgeTest, ViewsAMatrixWithoutCopyingIt) {
  const at::Tensor x = UniformTensor(3, 5, 1, kKey, at::kCPU).to(at::kBFloat16);

  const MatrixView view = ViewMatrix(x);

  EXPECT_EQ(view.data, x.const_data_ptr());
  EXPECT_EQ(view.dtype, DType::kBF16);
  EXPECT_EQ(view.rows, 3);
  EXPECT_EQ(view.channels, 5);
}

TEST(BridgeTest, CopiesToTheHostOnlyWhatIsNotContiguous) {
  const at::Tensor x = UniformTensor(3, 5, 1, kKey, at::kCPU);

  EXPECT_EQ(OnHost(x).const_data_ptr(), x.const_data_ptr());
  const at::Tensor columns = OnHost(x.narrow(1, 1, 3));
  EXPECT_TRUE(columns.is_contiguous());
  EXPECT_TRUE(BitEqual(columns, x.narrow(1, 1, 3)));
}

TEST(BridgeDeathTest, ViewingAStridedTensorEndsTheProcess) {
  const at::Tensor columns = UniformTensor(3, 5, 1, kKey, at::kCPU).narrow(1, 1, 3);

  EXPECT_DEATH(ViewMatrix(columns), "is_contiguous");
}

TEST(BridgeTest, WidensIndicesOfBothSignsToInt64) {
  const std::vector<int32_t> ints = {-1, 0, 2147483647};
  const std::vector<uint32_t> rows = {4294967295u};

  const at::Tensor from_ints = FromInts(ints, at::kCPU);
  const at::Tensor from_rows = FromRows(rows, at::kCPU);

  ASSERT_EQ(from_ints.scalar_type(), at::kLong);
  EXPECT_EQ(from_ints.const_data_ptr<int64_t>()[0], -1);
  EXPECT_EQ(from_ints.const_data_ptr<int64_t>()[2], 2147483647);
  EXPECT_EQ(from_rows.const_data_ptr<int64_t>()[0], 4294967295);
  EXPECT_EQ(FromInts(std::vector<int32_t>{}, at::kCPU).numel(), 0);
}

TEST(DropoutMaskTest, HasTheProbabilityItWasAskedForAndKeepsTheMean) {
  const int64_t count = 100000;

  const at::Tensor mask = DropoutMask(100, count / 100, 0.3, kKey, at::TensorOptions(at::kFloat));

  const auto zeros = static_cast<double>(mask.eq(0).sum().item<int64_t>());
  const auto kept = static_cast<double>(mask.eq(1.0 / 0.7).sum().item<int64_t>());
  EXPECT_EQ(zeros + kept, count);
  EXPECT_NEAR(zeros / count, 0.3, 4 * std::sqrt(0.3 * 0.7 / count));  // four standard errors
  EXPECT_NEAR(mask.mean().item<double>(), 1, 4 * std::sqrt(0.3 / 0.7 / count));
}

TEST(DropoutMaskTest, IsAFunctionOfKeyAndElementNumberOnly) {
  const at::TensorOptions options(at::kFloat);
  const at::Tensor mask = DropoutMask(6, 7, 0.5, kKey, options);

  EXPECT_TRUE(BitEqual(DropoutMask(6, 7, 0.5, kKey, options), mask));
  EXPECT_TRUE(BitEqual(DropoutMask(1, 42, 0.5, kKey, options), mask.view({1, 42})));
  EXPECT_TRUE(BitEqual(DropoutMask(2, 7, 0.5, kKey, options), mask.narrow(0, 0, 2)));
  EXPECT_FALSE(BitEqual(DropoutMask(6, 7, 0.5, kKey + 1, options), mask));
}

TEST(DropoutMaskTest, HasTheElementTypeOfItsOptions) {
  const at::Tensor mask = DropoutMask(2, 3, 0.5, kKey, at::TensorOptions(at::kDouble));

  EXPECT_EQ(mask.scalar_type(), at::kDouble);
}

TEST(UniformTensorTest, StaysWithinItsBoundAndHasTheMomentsOfTheUniform) {
  const double count = 100000;

  const at::Tensor x = UniformTensor(100, 1000, 0.25, kKey, at::kCPU).to(at::kDouble);

  EXPECT_GE(x.min().item<double>(), -0.25);
  EXPECT_LT(x.max().item<double>(), 0.25);
  const double variance = 0.25 * 0.25 / 3;
  EXPECT_NEAR(x.mean().item<double>(), 0, 4 * std::sqrt(variance / count));
  // The fourth moment of a uniform is b^4 / 5: standard error of the mean square sqrt(4/45) b^2.
  EXPECT_NEAR(x.square().mean().item<double>(), variance,
              4 * std::sqrt(4.0 / 45 / count) * 0.25 * 0.25);
}

TEST(UniformTensorTest, ReadsTheWordsOfTheCounterBlocksInOrder) {
  const at::Tensor x = UniformTensor(1, 6, 1, kKey, at::kCPU);

  const auto first = Philox4x32(kKey, {0, 0, 0, 0});
  const auto second = Philox4x32(kKey, {1, 0, 0, 0});
  const auto* values = x.const_data_ptr<float>();
  for (size_t i = 0; i < 6; ++i) {
    const uint32_t word = i < 4 ? first[i] : second[i - 4];
    EXPECT_EQ(values[i], 2 * UniformFloat(word) - 1) << "element " << i;
  }
}

}  // namespace
}  // namespace amaq::tensor
