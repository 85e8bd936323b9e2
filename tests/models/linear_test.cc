#include "models/linear.h"

#include <ATen/ops/equal.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/mm.h>
#include <gtest/gtest.h>

#include <array>

#include "tests/support/tensor_matchers.h"
#include "tests/support/tiny_model.h"

namespace amaq::models {
namespace {

using test::NamedTensor;
using test::NearRelative;

// Rows, in, out.
constexpr std::array<std::array<int64_t, 3>, 5> kShapes = {
    {{1, 1, 1}, {1, 64, 33}, {7, 5, 3}, {33, 17, 65}, {130, 96, 40}}};

// Against the product in double.
void ExpectProducts(int64_t rows, int64_t in, int64_t out, double tolerance) {
  const at::Tensor x = NamedTensor("x", rows, in, 1, at::kFloat);
  const at::Tensor grad = NamedTensor("gradient", rows, out, 1, at::kFloat);
  const at::Tensor weight = NamedTensor("weight", out, in, 1, at::kFloat);
  const at::Tensor wide = weight.to(at::kDouble);

  EXPECT_TRUE(NearRelative(LinearForward(x, weight).to(at::kDouble),
                           at::mm(x.to(at::kDouble), wide.t()), tolerance));
  EXPECT_TRUE(NearRelative(LinearBackward(grad, weight).to(at::kDouble),
                           at::mm(grad.to(at::kDouble), wide), tolerance));
}

TEST(LinearTest, ProductsInFp32EqualThoseInDouble) {
  for (const auto& [rows, in, out] : kShapes) ExpectProducts(rows, in, out, 2e-6);
}

TEST(LinearTest, TakesRowsOfALargerMatrix) {
  const at::Tensor x = NamedTensor("x", 20, 30, 1, at::kFloat).narrow(1, 4, 16);
  const at::Tensor weight = NamedTensor("weight", 40, 16, 1, at::kFloat).narrow(0, 10, 9);

  EXPECT_TRUE(NearRelative(LinearForward(x, weight), at::linear(x, weight), 2e-6));
  EXPECT_TRUE(NearRelative(LinearBackward(LinearForward(x, weight), weight),
                           at::mm(at::linear(x, weight), weight), 2e-6));
}

TEST(LinearTest, NoRowsGiveNoRows) {
  const at::Tensor x = NamedTensor("x", 4, 16, 1, at::kFloat).narrow(0, 0, 0);
  const at::Tensor weight = NamedTensor("weight", 8, 16, 1, at::kFloat);

  EXPECT_EQ(LinearForward(x, weight).sizes(), at::IntArrayRef({0, 8}));
  EXPECT_EQ(LinearBackward(LinearForward(x, weight), weight).sizes(), at::IntArrayRef({0, 16}));
}

TEST(LinearTest, TheSameProductHasTheSameBits) {
  const at::Tensor x = NamedTensor("x", 37, 48, 1, at::kFloat);
  const at::Tensor weight = NamedTensor("weight", 24, 48, 1, at::kFloat);

  EXPECT_TRUE(at::equal(LinearForward(x, weight), LinearForward(x.clone(), weight.clone())));
  EXPECT_TRUE(at::equal(LinearBackward(x, weight.t().contiguous()),
                        LinearBackward(x.clone(), weight.t().contiguous())));
}

TEST(LinearTest, DoubleAndBf16AreComputedInTheirOwnType) {
  for (const at::ScalarType type : {at::kDouble, at::kBFloat16}) {
    const at::Tensor x = NamedTensor("x", 6, 10, 1, at::kDouble).to(type);
    const at::Tensor weight = NamedTensor("weight", 4, 10, 1, at::kDouble).to(type);

    EXPECT_TRUE(at::equal(LinearForward(x, weight), at::linear(x, weight)));
    EXPECT_TRUE(at::equal(LinearBackward(at::linear(x, weight), weight),
                          at::mm(at::linear(x, weight), weight)));
  }
}

}  // namespace
}  // namespace amaq::models
