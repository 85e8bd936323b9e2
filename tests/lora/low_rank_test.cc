#include "lora/low_rank.h"

#include <ATen/ops/matmul.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "core/rng.h"
#include "tensor/bridge.h"
#include "tests/support/tensor_matchers.h"

namespace amaq::lora {
namespace {

using test::BitEqual;
using test::CentralDifference;
using test::Dot;
using test::kDifferenceTolerance;
using test::NearRelative;

constexpr double kScale = 1.75;
constexpr char kName[] = "model.layers.0.self_attn.q_proj";

// An adapter of 5 inputs, 3 outputs and rank 2 over N rows, all odd-sized where it can be.
struct Fixture {
  explicit Fixture(int64_t rows, double p = 0)
      : adapter(kName, Uniform(2, 5, "A"), Uniform(3, 2, "B"), kScale),
        x(Uniform(rows, 5, "x")),
        y(Uniform(rows, 3, "y")),
        grad(Uniform(rows, 3, "gradient")) {
    dropout = {p, 11, 4, 2};
  }
  static at::Tensor Uniform(int64_t rows, int64_t columns, const char* name) {
    return tensor::UniformTensor(rows, columns, 1, NamedKey(5, name), at::kCPU).to(at::kDouble);
  }
  at::Tensor Forward() const {
    at::Tensor out = y.clone();
    adapter.AddForward(x, dropout, out);
    return out;
  }
  double Loss() const { return Dot(Forward(), grad); }

  LowRank adapter;
  at::Tensor x, y, grad;
  DropoutContext dropout;
};

void ExpectGradientsMatchDifferences(Fixture* f) {
  at::Tensor grad_x = at::zeros(f->x.sizes(), f->x.options());

  f->adapter.AddBackward(f->grad, f->x, f->dropout, &grad_x, nullptr);

  const auto loss = [f] { return f->Loss(); };
  EXPECT_TRUE(NearRelative(grad_x, CentralDifference(loss, f->x), kDifferenceTolerance));
  EXPECT_TRUE(NearRelative(f->adapter.grad_a(), CentralDifference(loss, f->adapter.a()),
                           kDifferenceTolerance));
  EXPECT_TRUE(NearRelative(f->adapter.grad_b(), CentralDifference(loss, f->adapter.b()),
                           kDifferenceTolerance));
}

TEST(LowRankTest, AddsScaleTimesXATransposedBTransposed) {
  const Fixture f(7);

  const at::Tensor expected =
      f.y + kScale * at::matmul(at::matmul(f.x, f.adapter.a().t()), f.adapter.b().t());

  EXPECT_TRUE(NearRelative(f.Forward(), expected, 1e-15));
}

TEST(LowRankTest, AddsIntoAColumnRangeAndLeavesTheOthersAlone) {
  const Fixture f(4);
  const at::Tensor wide = Fixture::Uniform(4, 8, "wide");
  const at::Tensor before = wide.clone();
  wide.narrow(1, 2, 3).copy_(f.y);

  f.adapter.AddForward(f.x, f.dropout, wide.narrow(1, 2, 3));

  EXPECT_TRUE(NearRelative(wide.narrow(1, 2, 3), f.Forward(), 1e-15));
  EXPECT_TRUE(BitEqual(wide.narrow(1, 0, 2), before.narrow(1, 0, 2)));
  EXPECT_TRUE(BitEqual(wide.narrow(1, 5, 3), before.narrow(1, 5, 3)));
}

TEST(LowRankTest, GradientsAreCentralDifferences) {
  Fixture f(7);

  ExpectGradientsMatchDifferences(&f);
}

TEST(LowRankTest, GradientsOfOneTokenAreCentralDifferences) {
  Fixture f(1);

  ExpectGradientsMatchDifferences(&f);
}

TEST(LowRankTest, GradientsUnderDropoutAreCentralDifferences) {
  Fixture f(7, 0.4);
  ASSERT_FALSE(NearRelative(f.Forward(), Fixture(7).Forward(), 1e-3)) << "nothing was dropped";

  ExpectGradientsMatchDifferences(&f);
}

TEST(LowRankTest, GradientsFromAStridedGradientAreThoseFromACopyOfIt) {
  Fixture f(6);
  Fixture strided(6);
  const at::Tensor wide = Fixture::Uniform(6, 9, "wide");
  wide.narrow(1, 4, 3).copy_(f.grad);
  at::Tensor grad_x = at::zeros({6, 5}, at::kDouble);
  at::Tensor strided_grad_x = grad_x.clone();

  f.adapter.AddBackward(f.grad, f.x, f.dropout, &grad_x, nullptr);
  strided.adapter.AddBackward(wide.narrow(1, 4, 3), f.x, f.dropout, &strided_grad_x, nullptr);

  EXPECT_TRUE(NearRelative(strided_grad_x, grad_x, 1e-14));
  EXPECT_TRUE(NearRelative(strided.adapter.grad_b(), f.adapter.grad_b(), 1e-14));
}

TEST(LowRankTest, GradientsAccumulateUntilTheyAreZeroed) {
  Fixture f(7);
  f.adapter.AddBackward(f.grad, f.x, f.dropout, nullptr, nullptr);
  const at::Tensor once_a = f.adapter.grad_a().clone();
  const at::Tensor once_b = f.adapter.grad_b().clone();

  f.adapter.AddBackward(f.grad, f.x, f.dropout, nullptr, nullptr);

  EXPECT_TRUE(BitEqual(f.adapter.grad_a(), once_a * 2));
  EXPECT_TRUE(BitEqual(f.adapter.grad_b(), once_b * 2));
  f.adapter.ZeroGradients();
  EXPECT_EQ(f.adapter.grad_a().abs().max().item<double>(), 0);
  EXPECT_EQ(f.adapter.grad_b().abs().max().item<double>(), 0);
}

TEST(LowRankTest, GradXIsAddedToWhatIsThere) {
  Fixture f(7, 0.4);
  at::Tensor alone = at::zeros({7, 5}, at::kDouble);
  at::Tensor onto_ones = alone + 1;

  f.adapter.AddBackward(f.grad, f.x, f.dropout, &alone, nullptr);
  f.adapter.AddBackward(f.grad, f.x, f.dropout, &onto_ones, nullptr);

  EXPECT_TRUE(NearRelative(onto_ones, alone + 1, 1e-15));
}

TEST(LowRankTest, DeferredGradientsWaitAndThenHaveTheSameBits) {
  Fixture now(7, 0.4);
  Fixture later(7, 0.4);
  DeferredGradients waiting;
  now.adapter.AddBackward(now.grad, now.x, now.dropout, nullptr, nullptr);

  later.adapter.AddBackward(later.grad, later.x, later.dropout, nullptr, &waiting);
  EXPECT_EQ(later.adapter.grad_a().abs().max().item<double>(), 0);
  for (const auto& form : waiting) form();

  EXPECT_TRUE(BitEqual(later.adapter.grad_a(), now.adapter.grad_a()));
  EXPECT_TRUE(BitEqual(later.adapter.grad_b(), now.adapter.grad_b()));
}

TEST(LowRankTest, TheDropoutMaskChangesWithSeedStepMicroBatchAndModule) {
  const Fixture f(7, 0.5);
  const at::Tensor before = f.Forward();
  const auto differs = [&](const DropoutContext& dropout, const char* name) {
    Fixture other(7);
    other.dropout = dropout;
    other.adapter = LowRank(name, other.adapter.a(), other.adapter.b(), kScale);
    return !NearRelative(other.Forward(), before, 1e-6);
  };

  EXPECT_FALSE(differs({0.5, 11, 4, 2}, kName)) << "the control: nothing changed";
  EXPECT_TRUE(differs({0.5, 12, 4, 2}, kName));
  EXPECT_TRUE(differs({0.5, 11, 5, 2}, kName));
  EXPECT_TRUE(differs({0.5, 11, 4, 3}, kName));
  EXPECT_TRUE(differs({0.5, 11, 4, 2}, "model.layers.1.self_attn.q_proj"));
}

TEST(LowRankTest, ComputesInTheTypeOfXAndKeepsItsGradientsInItsOwn) {
  LowRank adapter(kName, Fixture::Uniform(2, 5, "A").to(at::kFloat),
                  Fixture::Uniform(3, 2, "B").to(at::kFloat), kScale);
  const at::Tensor x = Fixture::Uniform(7, 5, "x").to(at::kBFloat16);
  const at::Tensor grad = Fixture::Uniform(7, 3, "gradient").to(at::kBFloat16);
  at::Tensor y = at::zeros({7, 3}, at::kBFloat16);
  Fixture exact(7);

  adapter.AddForward(x, {}, y);
  adapter.AddBackward(grad, x, {}, nullptr, nullptr);
  exact.adapter.AddBackward(exact.grad, exact.x, {}, nullptr, nullptr);

  EXPECT_EQ(adapter.grad_a().scalar_type(), at::kFloat);
  // Three roundings to 8 bits of precision on each path: 3 * 2^-8, and sums of values below 1.
  EXPECT_TRUE(NearRelative(adapter.grad_a(), exact.adapter.grad_a(), 0.03));
  EXPECT_TRUE(NearRelative(adapter.grad_b(), exact.adapter.grad_b(), 0.03));
  EXPECT_TRUE(NearRelative(y, exact.Forward() - exact.y, 0.03));
}

}  // namespace
}  // namespace amaq::lora
