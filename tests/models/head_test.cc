#include "models/head.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "tests/models/reference_model.h"
#include "tests/support/tensor_matchers.h"
#include "tests/support/tiny_model.h"

namespace amaq::models {
namespace {

using test::BitEqual;
using test::CentralDifference;
using test::kDifferenceTolerance;
using test::NamedTensor;
using test::NearRelative;

constexpr int64_t kHidden = 7;
constexpr int64_t kVocab = 11;

struct HeadCase {
  // Of `rows` rows every `stride`-th from the second on is supervised.
  HeadCase(int64_t num_rows, uint32_t stride, at::ScalarType type = at::kDouble)
      : x(NamedTensor("x", num_rows, kHidden, 2, type)) {
    weights.norm = NamedTensor("norm", 1, kHidden, 1, type).squeeze(0);
    weights.output = NamedTensor("output", kVocab, kHidden, 1, type);
    for (uint32_t row = 1; row < num_rows; row += stride) {
      rows.push_back(row);
      targets.push_back(static_cast<int32_t>((row * 5 + 3) % kVocab));
    }
  }
  LossResult Loss(uint64_t divisor) const { return HeadLoss(x, weights, {rows, targets}, divisor); }
  void ExpectGradientIsDifference(uint64_t divisor) const {
    const auto loss = [&] { return Loss(0).loss_sum / static_cast<double>(divisor); };
    EXPECT_TRUE(
        NearRelative(Loss(divisor).gradient, CentralDifference(loss, x), kDifferenceTolerance));
  }

  at::Tensor x;
  HeadWeights weights;
  std::vector<uint32_t> rows;
  std::vector<int32_t> targets;
};

TEST(HeadLossTest, LossIsTheSumOfCrossEntropies) {
  const HeadCase c(9, 2);

  const LossResult result = c.Loss(4);

  const double expected =
      test::ReferenceLossSum(c.x, c.weights, {c.rows, c.targets}).item<double>();
  EXPECT_NEAR(result.loss_sum, expected, 1e-12 * expected);
  EXPECT_EQ(result.tokens, 4u);
}

TEST(HeadLossTest, GradientIsACentralDifference) { HeadCase(9, 2).ExpectGradientIsDifference(4); }

TEST(HeadLossTest, GradientOfOneTokenIsACentralDifference) {
  const HeadCase c(2, 1);
  ASSERT_EQ(c.rows.size(), 1u);
  c.ExpectGradientIsDifference(1);
}

TEST(HeadLossTest, GradientOverTwoChunksIsACentralDifference) {
  const HeadCase c(130, 1);  // 129 supervised rows: chunks of 65 and 64
  ASSERT_EQ(c.rows.size(), 129u);
  c.ExpectGradientIsDifference(129);
}

TEST(HeadLossTest, GradientOfAnExactChunkIsACentralDifference) {
  const HeadCase c(129, 1);
  ASSERT_EQ(c.rows.size(), 128u);
  c.ExpectGradientIsDifference(128);
}

TEST(HeadLossTest, LossOverChunksAgreesWithTheUnchunkedReferenceInFp32) {
  const HeadCase narrow(131, 1, at::kFloat);
  const HeadCase exact(131, 1);

  const double expected =
      test::ReferenceLossSum(exact.x, exact.weights, {exact.rows, exact.targets}).item<double>();

  EXPECT_NEAR(narrow.Loss(0).loss_sum, expected, 1e-6 * expected);
  EXPECT_TRUE(NearRelative(narrow.Loss(130).gradient, exact.Loss(130).gradient, 1e-5));
}

TEST(HeadLossTest, UnsupervisedRowsGetAZeroGradientAndDoNotTouchTheOthers) {
  const HeadCase c(9, 4, at::kFloat);  // rows 1 and 5
  const at::Tensor before = c.Loss(2).gradient;

  c.x.narrow(0, 2, 3).mul_(-7);
  const at::Tensor after = c.Loss(2).gradient;

  for (const int64_t row : {0, 2, 3, 4, 6, 7, 8}) {
    EXPECT_EQ(after.select(0, row).abs().max().item<float>(), 0) << row;
  }
  EXPECT_GT(after.select(0, 5).abs().max().item<float>(), 0);
  EXPECT_TRUE(BitEqual(after, before));
}

TEST(HeadLossTest, TheDivisorDividesTheGradientAndNotTheLoss) {
  const HeadCase c(9, 2);

  EXPECT_TRUE(NearRelative(c.Loss(1000).gradient * 250, c.Loss(4).gradient, 1e-14));
  EXPECT_EQ(c.Loss(1000).loss_sum, c.Loss(4).loss_sum);
}

TEST(HeadLossTest, ADivisorOfZeroWantsNoGradientAndGivesTheSameLoss) {
  const HeadCase c(9, 2, at::kFloat);

  const LossResult result = c.Loss(0);

  EXPECT_FALSE(result.gradient.defined());
  EXPECT_EQ(result.loss_sum, c.Loss(4).loss_sum);
  EXPECT_EQ(result.correct, c.Loss(4).correct);
}

TEST(HeadLossTest, CountsTheTargetsThatTheModelWouldHaveChosen) {
  HeadCase c(131, 1);
  const at::Tensor logits = HeadLogits(c.x, c.weights, c.rows);
  const at::Tensor best = logits.argmax(1).contiguous();
  for (size_t j = 0; j < c.targets.size(); ++j) {
    const auto choice = static_cast<int32_t>(best.const_data_ptr<int64_t>()[j]);
    c.targets[j] = j % 3 == 0 ? choice : (choice + 1) % static_cast<int32_t>(kVocab);
  }

  EXPECT_EQ(c.Loss(0).correct, 44u);  // j = 0, 3, ..., 129
}

TEST(HeadLossTest, WithoutSupervisionTheLossAndTheGradientAreZero) {
  HeadCase c(3, 1, at::kFloat);
  c.rows.clear();
  c.targets.clear();

  const LossResult result = c.Loss(5);

  EXPECT_EQ(result.loss_sum, 0);
  EXPECT_EQ(result.tokens, 0u);
  EXPECT_EQ(result.gradient.sizes(), c.x.sizes());
  EXPECT_EQ(result.gradient.abs().max().item<float>(), 0);
}

TEST(HeadLossTest, ReturnsALossThatIsNotFiniteAsItIs) {
  const HeadCase c(3, 1, at::kFloat);
  c.x.narrow(0, 1, 1).fill_(NAN);

  EXPECT_TRUE(std::isnan(c.Loss(2).loss_sum));
}

TEST(HeadLogitsTest, AreThoseOfTheNamedRowsInTheirOrderAndAtLeastFp32) {
  const HeadCase exact(9, 2);
  const HeadCase narrow(9, 2, at::kBFloat16);
  const std::vector<uint32_t> rows = {8, 0};

  const at::Tensor logits = HeadLogits(exact.x, exact.weights, rows);

  const at::Tensor all =
      at::linear(test::ReferenceRmsNorm(exact.x, exact.weights.norm, exact.weights.norm_eps),
                 exact.weights.output);
  EXPECT_TRUE(NearRelative(logits.select(0, 0), all.select(0, 8), 1e-13));
  EXPECT_TRUE(NearRelative(logits.select(0, 1), all.select(0, 0), 1e-13));
  EXPECT_EQ(HeadLogits(narrow.x, narrow.weights, rows).scalar_type(), at::kFloat);
}

}  // namespace
}  // namespace amaq::models
