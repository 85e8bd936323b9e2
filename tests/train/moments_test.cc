#include "train/moments.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

#include "tensor/bridge.h"

namespace amaq::train {
namespace {

at::Tensor MovedRows(int64_t rows) {
  // A large mean, so that a sum of squares would cancel.
  at::Tensor x = tensor::UniformTensor(rows, 5, 1.0, 7, at::kCPU);
  return x + 1000.0;
}

TEST(MomentsTest, AStreamInPiecesHasTheMomentsOfTheWhole) {
  const at::Tensor x = MovedRows(40);
  Moments whole(5);
  whole.Add(x, {});
  Moments pieces(5);
  pieces.Add(x.narrow(0, 0, 1), {});
  pieces.Add(x.narrow(0, 1, 12), {});
  pieces.Add(x.narrow(0, 13, 27), {});
  EXPECT_EQ(pieces.rows(), 40);
  EXPECT_TRUE(pieces.mean().allclose(whole.mean(), 1e-13, 0));
  EXPECT_TRUE(pieces.Covariance().allclose(whole.Covariance(), 1e-10, 1e-12));

  const at::Tensor wide = x.to(at::kDouble);
  const at::Tensor centred = wide - wide.mean(0);
  EXPECT_TRUE(whole.Covariance().allclose(centred.t().mm(centred) / 40.0, 1e-10, 1e-12));
}

TEST(MomentsTest, SinkRowsCountForTheirOwnMeanOnly) {
  const at::Tensor x = MovedRows(10);
  at::Tensor spoiled = x.clone();
  spoiled.narrow(0, 0, 1).fill_(1e6);
  spoiled.narrow(0, 4, 1).fill_(-1e6);
  Moments with_all(5);
  with_all.Add(spoiled, {});
  Moments without(5);
  const std::vector<uint32_t> sinks = {0, 4};
  without.Add(spoiled, sinks);
  Moments expected(5);
  expected.Add(x.narrow(0, 1, 3), {});
  expected.Add(x.narrow(0, 5, 5), {});
  EXPECT_EQ(without.rows(), 8);
  EXPECT_TRUE(without.mean().allclose(expected.mean(), 1e-13, 0));
  EXPECT_TRUE(without.Covariance().allclose(expected.Covariance(), 1e-10, 1e-12));
  EXPECT_EQ(without.sink_mean().abs().max().item<double>(), 0);  // of 1e6 and -1e6
  without.Add(spoiled.narrow(0, 0, 1), std::vector<uint32_t>{0});
  EXPECT_TRUE(without.sink_mean().allclose(expected.mean() * 0 + 1e6 / 3, 1e-13, 0));
  EXPECT_EQ(without.rows(), 8);
  EXPECT_FALSE(with_all.mean().allclose(expected.mean(), 1e-3, 0));
}

TEST(MomentsTest, NothingAddedLeavesZeros) {
  Moments none(3);
  none.Add(tensor::EmptyFloats(2, 3).fill_(5), std::vector<uint32_t>{0, 1});
  EXPECT_EQ(none.rows(), 0);
  EXPECT_EQ(none.Covariance().abs().sum().item<double>(), 0);
}

}  // namespace
}  // namespace amaq::train
