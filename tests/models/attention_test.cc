#include "models/attention.h"

#include <ATen/ops/empty_like.h>
#include <gtest/gtest.h>

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
using test::ReferenceAttention;

struct AttentionShape {
  int64_t heads, kv_heads, head_dim;
  std::vector<uint32_t> segments;
};

void PrintTo(const AttentionShape& shape, std::ostream* out) {
  *out << shape.heads << " heads over " << shape.kv_heads << " of " << shape.head_dim
       << ", segments";
  for (const uint32_t start : shape.segments) *out << ' ' << start;
}

struct AttentionInputs {
  AttentionInputs(const AttentionShape& s, at::ScalarType type) : shape(s) {
    const int64_t rows = s.segments.back();
    const auto make = [&](const char* name, int64_t heads) {
      return NamedTensor(name, rows, heads * s.head_dim, 2, type).view({rows, heads, s.head_dim});
    };
    q = make("q", s.heads);
    k = make("k", s.kv_heads);
    v = make("v", s.kv_heads);
    grad = NamedTensor("gradient", rows, s.heads * s.head_dim, 1, type);
  }
  at::Tensor Forward() const {
    AttentionSaved ignored;
    return AttentionForward(q, k, v, shape.segments, &ignored);
  }
  AttentionGradients Backward() const {
    AttentionSaved saved;
    AttentionForward(q, k, v, shape.segments, &saved);
    AttentionGradients into = {at::empty_like(q), at::empty_like(k), at::empty_like(v)};
    AttentionBackward(grad, q, k, v, shape.segments, saved, into);
    return into;
  }
  // Of the reference, by autograd in double.
  AttentionGradients ReferenceGradients() const {
    const auto leaf = [](const at::Tensor& x) {
      return x.to(at::kDouble).clone().set_requires_grad(true);
    };
    const AttentionGradients leaves = {leaf(q), leaf(k), leaf(v)};
    const at::Tensor out = ReferenceAttention(leaves.q, leaves.k, leaves.v, shape.segments);
    (out * grad.to(at::kDouble)).sum().backward();
    return {leaves.q.grad(), leaves.k.grad(), leaves.v.grad()};
  }

  AttentionShape shape;
  at::Tensor q, k, v, grad;
};

const AttentionShape kSmallShapes[] = {
    {1, 1, 3, {0, 1}},        // one token, one head
    {1, 1, 2, {0, 5}},        // one head
    {3, 3, 5, {0, 7}},        // odd everything
    {4, 2, 6, {0, 1, 4, 9}},  // grouped heads, segments of 1, 3 and 5
    {6, 1, 3, {0, 2, 3}},     // one KV head
};
// Beyond the block sizes of the kernel (32...256 queries, 512 keys), which small shapes never see.
const AttentionShape kLargeShapes[] = {{3, 1, 64, {0, 600, 617}}, {9, 3, 16, {0, 130, 131, 300}}};

class SmallAttentionTest : public ::testing::TestWithParam<AttentionShape> {};
class LargeAttentionTest : public ::testing::TestWithParam<AttentionShape> {};

TEST_P(SmallAttentionTest, ForwardIsAMaskedSoftmax) {
  const AttentionInputs exact(GetParam(), at::kDouble);
  const AttentionInputs narrow(GetParam(), at::kFloat);
  const at::Tensor expected = ReferenceAttention(exact.q, exact.k, exact.v, GetParam().segments);

  EXPECT_TRUE(NearRelative(exact.Forward(), expected, 1e-13));
  EXPECT_TRUE(NearRelative(narrow.Forward(), expected, 1e-5));
}

TEST_P(SmallAttentionTest, GradientsAreCentralDifferences) {
  const AttentionInputs inputs(GetParam(), at::kDouble);

  const AttentionGradients gradients = inputs.Backward();

  // One token attends to itself alone: dq and dk are exact zeros, the differences rounding noise.
  const auto loss = [&] { return Dot(inputs.Forward(), inputs.grad); };
  const at::Tensor dv = CentralDifference(loss, inputs.v);
  const double size = dv.abs().max().item<double>();
  const auto near = [&](const at::Tensor& gradient, const at::Tensor& x) {
    return (gradient - CentralDifference(loss, x)).abs().max().item<double>() <=
           kDifferenceTolerance * size;
  };
  EXPECT_TRUE(near(gradients.q, inputs.q));
  EXPECT_TRUE(near(gradients.k, inputs.k));
  EXPECT_TRUE(NearRelative(gradients.v, dv, kDifferenceTolerance));
}

INSTANTIATE_TEST_SUITE_P(Shapes, SmallAttentionTest, ::testing::ValuesIn(kSmallShapes));

TEST_P(LargeAttentionTest, ForwardIsAMaskedSoftmax) {
  const AttentionInputs exact(GetParam(), at::kDouble);
  const AttentionInputs narrow(GetParam(), at::kFloat);
  const at::Tensor expected = ReferenceAttention(exact.q, exact.k, exact.v, GetParam().segments);

  EXPECT_TRUE(NearRelative(exact.Forward(), expected, 1e-12));
  EXPECT_TRUE(NearRelative(narrow.Forward(), expected, 1e-5));
}

TEST_P(LargeAttentionTest, GradientsAreThoseOfAutograd) {
  const AttentionInputs exact(GetParam(), at::kDouble);
  const AttentionInputs narrow(GetParam(), at::kFloat);
  const AttentionGradients expected = exact.ReferenceGradients();

  const AttentionGradients wide = exact.Backward();
  const AttentionGradients fp32 = narrow.Backward();

  EXPECT_TRUE(NearRelative(wide.q, expected.q, 1e-10));
  EXPECT_TRUE(NearRelative(wide.k, expected.k, 1e-10));
  EXPECT_TRUE(NearRelative(wide.v, expected.v, 1e-10));
  EXPECT_TRUE(NearRelative(fp32.q, expected.q, 1e-5));
  EXPECT_TRUE(NearRelative(fp32.k, expected.k, 1e-5));
  EXPECT_TRUE(NearRelative(fp32.v, expected.v, 1e-5));
}

INSTANTIATE_TEST_SUITE_P(Shapes, LargeAttentionTest, ::testing::ValuesIn(kLargeShapes));

TEST(AttentionTest, ALaterTokenChangesNoEarlierOutput) {
  const AttentionInputs inputs({4, 2, 6, {0, 9}}, at::kFloat);
  const at::Tensor before = inputs.Forward();

  for (const at::Tensor& x : {inputs.q, inputs.k, inputs.v}) x.narrow(0, 6, 1).mul_(-3);
  const at::Tensor after = inputs.Forward();

  EXPECT_TRUE(BitEqual(after.narrow(0, 0, 6), before.narrow(0, 0, 6)));
  for (int64_t row = 6; row < 9; ++row) {
    EXPECT_FALSE(NearRelative(after.narrow(0, row, 1), before.narrow(0, row, 1), 1e-3)) << row;
  }
}

TEST(AttentionTest, ASegmentDoesNotSeeAnother) {
  const AttentionInputs inputs({4, 2, 6, {0, 4, 5, 9}}, at::kFloat);
  const at::Tensor before = inputs.Forward();
  const AttentionGradients gradients_before = inputs.Backward();

  for (const at::Tensor& x : {inputs.q, inputs.k, inputs.v}) x.narrow(0, 4, 1).mul_(-3);
  const at::Tensor after = inputs.Forward();
  const AttentionGradients gradients_after = inputs.Backward();

  EXPECT_FALSE(BitEqual(after.narrow(0, 4, 1), before.narrow(0, 4, 1))) << "the control";
  for (const int64_t begin : {0, 5}) {
    EXPECT_TRUE(BitEqual(after.narrow(0, begin, 4), before.narrow(0, begin, 4)));
    EXPECT_TRUE(
        BitEqual(gradients_after.k.narrow(0, begin, 4), gradients_before.k.narrow(0, begin, 4)));
  }
}

TEST(AttentionTest, ReadsAndWritesColumnRangesOfAWiderRow) {
  const AttentionShape shape = {4, 2, 6, {0, 4, 9}};
  const AttentionInputs inputs(shape, at::kFloat);
  const at::Tensor wide = NamedTensor("wide", 9, 48, 1, at::kFloat);
  const auto range = [](const at::Tensor& x, int64_t begin, int64_t heads) {
    return x.narrow(1, begin, heads * 6).view({9, heads, 6});
  };
  AttentionInputs views = inputs;
  views.q = range(wide, 0, 4).copy_(inputs.q);
  views.k = range(wide, 24, 2).copy_(inputs.k);
  views.v = range(wide, 36, 2).copy_(inputs.v);
  const at::Tensor grad = at::empty_like(wide);
  AttentionSaved saved;

  const at::Tensor out = AttentionForward(views.q, views.k, views.v, shape.segments, &saved);
  AttentionBackward(inputs.grad, views.q, views.k, views.v, shape.segments, saved,
                    {range(grad, 0, 4), range(grad, 24, 2), range(grad, 36, 2)});

  const AttentionGradients expected = inputs.Backward();
  EXPECT_TRUE(NearRelative(out, inputs.Forward(), 1e-6));
  EXPECT_TRUE(NearRelative(range(grad, 0, 4), expected.q, 1e-6));
  EXPECT_TRUE(NearRelative(range(grad, 24, 2), expected.k, 1e-6));
  EXPECT_TRUE(NearRelative(range(grad, 36, 2), expected.v, 1e-6));
}

}  // namespace
}  // namespace amaq::models
