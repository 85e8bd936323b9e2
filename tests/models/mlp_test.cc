#include "models/mlp.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/tensor_matchers.h"
#include "tests/support/tiny_model.h"

namespace amaq::models {
namespace {

using test::CentralDifference;
using test::Dot;
using test::kDifferenceTolerance;
using test::NamedTensor;
using test::NearRelative;

void ExpectSwiGluGradientIsDifference(int64_t rows, int64_t ffn) {
  const at::Tensor gate_up = NamedTensor("gate_up", rows, 2 * ffn, 4, at::kDouble);
  const at::Tensor grad = NamedTensor("gradient", rows, ffn, 1, at::kDouble);

  const at::Tensor gradient = SwiGluBackward(grad, gate_up);

  const auto loss = [&] { return Dot(SwiGluForward(gate_up), grad); };
  EXPECT_TRUE(NearRelative(gradient, CentralDifference(loss, gate_up), kDifferenceTolerance));
}

TEST(SwiGluTest, MultipliesSiluOfTheFirstHalfWithTheSecond) {
  at::Tensor gate_up = NamedTensor("gate_up", 1, 2, 1, at::kDouble);
  gate_up.mutable_data_ptr<double>()[0] = 2;
  gate_up.mutable_data_ptr<double>()[1] = -3;

  EXPECT_DOUBLE_EQ(SwiGluForward(gate_up).item<double>(), 2 / (1 + std::exp(-2.0)) * -3);
}

TEST(SwiGluTest, GradientIsACentralDifference) { ExpectSwiGluGradientIsDifference(5, 7); }

TEST(SwiGluTest, GradientOfOneTokenIsACentralDifference) { ExpectSwiGluGradientIsDifference(1, 1); }

}  // namespace
}  // namespace amaq::models
