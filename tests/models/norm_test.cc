#include "models/norm.h"

#include <gtest/gtest.h>

#include <cmath>

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

constexpr double kEps = 1e-5;

at::Tensor NormWeight(int64_t width, at::ScalarType type = at::kDouble) {
  return NamedTensor("norm weight", 1, width, 1, type).squeeze(0);
}

void ExpectNormGradientIsDifference(const at::Tensor& x, double eps) {
  const at::Tensor weight = NormWeight(x.size(1));
  const at::Tensor grad = NamedTensor("norm gradient", x.size(0), x.size(1), 1, at::kDouble);
  RmsNormSaved saved;
  RmsNormForward(x, weight, eps, &saved);

  const at::Tensor gradient = RmsNormBackward(grad, x, weight, saved);

  const auto loss = [&] {
    RmsNormSaved ignored;
    return Dot(RmsNormForward(x, weight, eps, &ignored), grad);
  };
  EXPECT_TRUE(NearRelative(gradient, CentralDifference(loss, x), kDifferenceTolerance));
}

TEST(RmsNormTest, DividesARowByItsRootMeanSquare) {
  // Mean square 12.5: rstd = 1 / sqrt(12.5 + 0.5).
  at::Tensor x = NamedTensor("x", 1, 2, 1, at::kDouble);
  x.mutable_data_ptr<double>()[0] = 3;
  x.mutable_data_ptr<double>()[1] = -4;
  const at::Tensor weight = NormWeight(2);
  RmsNormSaved saved;

  const at::Tensor y = RmsNormForward(x, weight, 0.5, &saved);

  const auto* w = weight.const_data_ptr<double>();
  EXPECT_DOUBLE_EQ(saved.rstd.item<double>(), 1 / std::sqrt(13.0));
  EXPECT_DOUBLE_EQ(y.const_data_ptr<double>()[0], 3 / std::sqrt(13.0) * w[0]);
  EXPECT_DOUBLE_EQ(y.const_data_ptr<double>()[1], -4 / std::sqrt(13.0) * w[1]);
}

TEST(RmsNormTest, GradientIsACentralDifference) {
  ExpectNormGradientIsDifference(NamedTensor("x", 5, 7, 2, at::kDouble), kEps);
}

TEST(RmsNormTest, GradientOfOneTokenIsACentralDifference) {
  ExpectNormGradientIsDifference(NamedTensor("x", 1, 13, 2, at::kDouble), kEps);
}

TEST(RmsNormTest, GradientWhereEpsRulesIsACentralDifference) {
  ExpectNormGradientIsDifference(NamedTensor("x", 3, 7, 1, at::kDouble), 4.0);
}

TEST(RmsNormTest, ReapplyingTheSavedStatisticsGivesTheSameBits) {
  const at::Tensor x = NamedTensor("x", 5, 7, 2, at::kFloat);
  const at::Tensor weight = NormWeight(7, at::kFloat);
  RmsNormSaved saved;

  const at::Tensor y = RmsNormForward(x, weight, kEps, &saved);

  EXPECT_TRUE(BitEqual(RmsNormReapply(x, weight, saved), y));
}

TEST(RmsNormTest, FormsTheStatisticsOfHalfPrecisionRowsInFp32) {
  const at::Tensor x = NamedTensor("x", 3, 601, 2, at::kBFloat16);
  RmsNormSaved saved;
  RmsNormSaved exact;

  const at::Tensor y = RmsNormForward(x, NormWeight(601, at::kBFloat16), kEps, &saved);
  RmsNormForward(x.to(at::kDouble), NormWeight(601), kEps, &exact);

  EXPECT_EQ(y.scalar_type(), at::kBFloat16);
  EXPECT_EQ(saved.rstd.scalar_type(), at::kFloat);
  EXPECT_TRUE(NearRelative(saved.rstd, exact.rstd, 1e-6));
}

}  // namespace
}  // namespace amaq::models
