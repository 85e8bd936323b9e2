#include "models/block.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "tests/models/reference_model.h"
#include "tests/support/tensor_matchers.h"
#include "tests/support/tiny_model.h"

namespace amaq::models {
namespace {

using test::BitEqual;
using test::NamedTensor;
using test::NearRelative;
using test::TinyModel;

const std::vector<uint32_t> kBlockSegments = {0, 1, 6, 9};
constexpr int64_t kRows = 9;

struct BlockRun {
  at::Tensor out, grad_x;
  std::vector<at::Tensor> gradients;  // A and B of each adapter in the order of the modules
};

struct BlockOptions {
  bool needs_input_gradient = true;
  bool deferred = false;
  double dropout = 0;
};

at::Tensor BlockInput(const TinyModel& model) {
  return NamedTensor("block input", kRows, model.spec.hidden, 1.5, model.type);
}

at::Tensor BlockGradient(const TinyModel& model) {
  return NamedTensor("block gradient", kRows, model.spec.hidden, 1, model.type);
}

BlockRun RunBlock(const TinyModel& model, const BlockOptions& options = {}) {
  Block block = test::TinyBlock(model, 1);
  const BatchContext context = test::TinyContext(model, kBlockSegments, {options.dropout, 3, 5, 0});
  BlockSaved saved;
  lora::DeferredGradients waiting;
  BlockRun run;
  run.out = block.Forward(BlockInput(model), context, model.memory, &saved);
  run.grad_x = block.Backward(BlockGradient(model), context, options.needs_input_gradient,
                              std::move(saved), options.deferred ? &waiting : nullptr);
  for (const auto& form : waiting) form();
  for (const auto& adapter : block.adapters()) {
    if (adapter == nullptr) continue;
    run.gradients.push_back(adapter->grad_a());
    run.gradients.push_back(adapter->grad_b());
  }
  return run;
}

// The same in fp64 by the reference and autograd, over the values of `model` in its own type.
BlockRun RunReferenceBlock(const TinyModel& model, double scale_factor = 1) {
  TinyModel wide = model;
  wide.type = at::kDouble;
  const Block block = test::TinyBlock(wide, 1);
  test::ReferenceAdapters adapters;
  test::AddReferenceAdapters(block.adapters(), at::kDouble, scale_factor, &adapters);
  const test::ReferenceBlock reference(wide.spec, block.weights(), adapters, "model.layers.1.");
  const at::Tensor x = BlockInput(wide).set_requires_grad(true);
  BlockRun run;
  run.out = reference.Forward(x, kBlockSegments);
  (run.out * BlockGradient(wide)).sum().backward();
  run.grad_x = x.grad();
  for (const auto& adapter : block.adapters()) {
    if (adapter == nullptr) continue;
    run.gradients.push_back(adapters.at(adapter->name()).a.grad());
    run.gradients.push_back(adapters.at(adapter->name()).b.grad());
  }
  return run;
}

void ExpectBlockRunsNear(const BlockRun& actual, const BlockRun& expected, double tolerance) {
  EXPECT_TRUE(NearRelative(actual.out, expected.out.detach(), tolerance));
  EXPECT_TRUE(NearRelative(actual.grad_x, expected.grad_x, tolerance));
  ASSERT_EQ(actual.gradients.size(), expected.gradients.size());
  for (size_t i = 0; i < actual.gradients.size(); ++i) {
    EXPECT_TRUE(NearRelative(actual.gradients[i], expected.gradients[i], tolerance)) << i;
  }
}

void ExpectSameGradientBits(const BlockRun& actual, const BlockRun& expected) {
  ASSERT_EQ(actual.gradients.size(), expected.gradients.size());
  for (size_t i = 0; i < actual.gradients.size(); ++i) {
    EXPECT_TRUE(BitEqual(actual.gradients[i], expected.gradients[i])) << i;
  }
}

// Which modules are adapted, and how heads are shared.
struct BlockCase {
  std::vector<std::string> targets;
  int64_t heads, kv_heads;
};

void PrintTo(const BlockCase& c, std::ostream* out) {
  *out << c.heads << " heads over " << c.kv_heads << ", adapted:";
  for (const std::string& target : c.targets) *out << ' ' << target;
}

class BlockOracleTest : public ::testing::TestWithParam<BlockCase> {
 protected:
  void SetUp() override { at::set_num_threads(1); }
  TinyModel Model(at::ScalarType type) const {
    TinyModel model;
    model.targets = GetParam().targets;
    model.spec.heads = GetParam().heads;
    model.spec.kv_heads = GetParam().kv_heads;
    model.type = type;
    return model;
  }
};

TEST_P(BlockOracleTest, OutputAndGradientsInFp64AreAutogradsToTenDigits) {
  const TinyModel model = Model(at::kDouble);

  ExpectBlockRunsNear(RunBlock(model), RunReferenceBlock(model), 1e-10);
}

TEST_P(BlockOracleTest, OutputAndGradientsInFp32AreAutogradsToFiveDigits) {
  const TinyModel model = Model(at::kFloat);

  ExpectBlockRunsNear(RunBlock(model), RunReferenceBlock(model), 1e-5);
}

TEST_P(BlockOracleTest, AScaleThatIsOneMillionthWrongIsCaughtInFp64) {
  const TinyModel model = Model(at::kDouble);
  const BlockRun wrong = RunReferenceBlock(model, 1 + 1e-6);

  const BlockRun run = RunBlock(model);

  EXPECT_FALSE(NearRelative(run.out, wrong.out.detach(), 1e-10));
  for (size_t i = 0; i < run.gradients.size(); ++i) {
    EXPECT_FALSE(NearRelative(run.gradients[i], wrong.gradients[i], 1e-10)) << i;
  }
}

TEST_P(BlockOracleTest, KeepingEverythingAndKeepingTheInputGiveTheSameBits) {
  for (const at::ScalarType type : {at::kFloat, at::kDouble, at::kBFloat16}) {
    TinyModel fast = Model(type);
    TinyModel lean = fast;
    lean.memory = MemoryPolicy::kLean;

    const BlockRun kept = RunBlock(fast, {true, false, 0.2});
    const BlockRun again = RunBlock(lean, {true, false, 0.2});

    EXPECT_TRUE(BitEqual(again.out, kept.out));
    EXPECT_TRUE(BitEqual(again.grad_x, kept.grad_x));
    ExpectSameGradientBits(again, kept);
  }
}

TEST_P(BlockOracleTest, WithoutTheInputGradientTheAdaptersGetTheSameBits) {
  const TinyModel model = Model(at::kFloat);

  const BlockRun without = RunBlock(model, {false, false, 0.2});

  EXPECT_FALSE(without.grad_x.defined());
  ExpectSameGradientBits(without, RunBlock(model, {true, false, 0.2}));
}

TEST_P(BlockOracleTest, DeferredGradientsHaveTheSameBits) {
  const TinyModel model = Model(at::kFloat);

  const BlockRun deferred = RunBlock(model, {true, true, 0.2});

  const BlockRun now = RunBlock(model, {true, false, 0.2});
  EXPECT_TRUE(BitEqual(deferred.grad_x, now.grad_x));
  ExpectSameGradientBits(deferred, now);
}

INSTANTIATE_TEST_SUITE_P(
    Targets, BlockOracleTest,
    ::testing::Values(BlockCase{lora::LinearModules(), 4, 2},  // grouped heads, everything adapted
                      BlockCase{lora::LinearModules(), 3, 3},  // a KV head for each head
                      BlockCase{lora::LinearModules(), 1, 1},  // one head
                      BlockCase{{"q_proj", "v_proj"}, 4, 2},   // PEFT's default
                      BlockCase{{"o_proj"}, 4, 1}, BlockCase{{"down_proj"}, 4, 2},
                      BlockCase{{"gate_proj", "k_proj"}, 4, 2}));

TEST(BlockTest, WithoutAdaptersItsInputGradientIsAutograds) {
  TinyModel model;
  model.targets = {};
  model.type = at::kDouble;

  ExpectBlockRunsNear(RunBlock(model), RunReferenceBlock(model), 1e-10);
}

TEST(BlockTest, LeanKeepsTheInputAloneAndFastMore) {
  const TinyModel model;
  const Block block = test::TinyBlock(model, 1);
  const BatchContext context = test::TinyContext(model, kBlockSegments);
  const at::Tensor x = BlockInput(model);
  BlockSaved lean;
  BlockSaved fast;

  block.Forward(x, context, MemoryPolicy::kLean, &lean);
  block.Forward(x, context, MemoryPolicy::kFast, &fast);

  EXPECT_TRUE(lean.x.is_same(x));
  for (const at::Tensor& other : {lean.input_norm.rstd, lean.post_norm.rstd, lean.normed, lean.qkv,
                                  lean.attended, lean.middle, lean.post_normed, lean.gate_up}) {
    EXPECT_FALSE(other.defined());
  }
  EXPECT_TRUE(lean.attention.out.empty());
  EXPECT_TRUE(fast.qkv.defined());
}

TEST(BlockTest, ForwardAndBackwardLeaveTheirInputsAsTheyWere) {
  const TinyModel model;
  Block block = test::TinyBlock(model, 1);
  const BatchContext context = test::TinyContext(model, kBlockSegments);
  const at::Tensor x = BlockInput(model);
  const at::Tensor grad = BlockGradient(model);
  BlockSaved saved;

  block.Forward(x, context, MemoryPolicy::kFast, &saved);
  block.Backward(grad, context, true, std::move(saved), nullptr);

  EXPECT_TRUE(BitEqual(x, BlockInput(model)));
  EXPECT_TRUE(BitEqual(grad, BlockGradient(model)));
  EXPECT_TRUE(BitEqual(block.weights().qkv, test::TinyBlockWeights(model, 1).qkv));
}

}  // namespace
}  // namespace amaq::models
