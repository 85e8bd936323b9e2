// The whole model, tokens to loss, against autograd over the reference model.

#include <ATen/Parallel.h>
#include <ATen/ops/embedding.h>
#include <gtest/gtest.h>

#include "models/stage.h"
#include "tests/models/reference_model.h"
#include "tests/support/tensor_matchers.h"
#include "tests/support/tiny_model.h"

namespace amaq::models {
namespace {

using test::NearRelative;
using test::TinyBatch;
using test::TinyModel;
using test::TinyStepResult;

// Boundary gradients at the input of every block.
struct OracleResult {
  double loss_sum = 0;
  std::vector<at::Tensor> boundary_gradients;
  std::map<std::string, at::Tensor> gradients;
};

OracleResult RunOracle(TinyModel model, const TinyBatch& batch, uint64_t divisor,
                       double scale_factor = 1) {
  model.type = at::kDouble;
  test::ReferenceAdapters adapters;
  std::vector<Block> blocks;
  for (int64_t i = 0; i < model.spec.num_blocks; ++i) {
    blocks.push_back(test::TinyBlock(model, i));
    test::AddReferenceAdapters(blocks.back().adapters(), at::kDouble, scale_factor, &adapters);
  }
  at::Tensor x =
      at::embedding(test::TinyEmbedding(model), tensor::FromInts(batch.tokens, at::kCPU));
  x.set_requires_grad(true);
  std::vector<at::Tensor> boundaries;
  for (size_t i = 0; i < blocks.size(); ++i) {
    x.retain_grad();
    boundaries.push_back(x);
    x = test::ReferenceBlock(model.spec, blocks[i].weights(), adapters,
                             "model.layers." + std::to_string(i) + ".")
            .Forward(x, batch.segments);
  }
  const at::Tensor loss = test::ReferenceLossSum(x, test::TinyHead(model), batch.supervision());
  (loss / static_cast<double>(divisor)).backward();
  OracleResult result;
  result.loss_sum = loss.item<double>();
  for (const at::Tensor& boundary : boundaries)
    result.boundary_gradients.push_back(boundary.grad());
  for (const auto& [name, adapter] : adapters) {
    result.gradients[name + ".lora_A.weight"] = adapter.a.grad();
    result.gradients[name + ".lora_B.weight"] = adapter.b.grad();
  }
  return result;
}

TinyBatch OracleBatch() { return test::MakeTinyBatch({5, 1, 12, 3}); }

TinyStepResult RunStage(const TinyModel& model) {
  Stage stage = test::TinyStage(model, WholeRange(model.spec));
  return test::StepWhole(model, stage, OracleBatch(), 40);
}

void ExpectStepNear(const TinyStepResult& actual, const OracleResult& oracle,
                    const at::Tensor& boundary_gradient, double tolerance) {
  EXPECT_NEAR(actual.loss_sum, oracle.loss_sum, tolerance * oracle.loss_sum);
  EXPECT_TRUE(NearRelative(actual.boundary_gradient, boundary_gradient, tolerance));
  ASSERT_EQ(actual.gradients.size(), oracle.gradients.size());
  for (const auto& [name, expected] : oracle.gradients) {
    EXPECT_TRUE(NearRelative(actual.gradients.at(name), expected, tolerance)) << name;
  }
}

class StageOracleTest : public ::testing::Test {
 protected:
  void SetUp() override { at::set_num_threads(1); }
};

TEST_F(StageOracleTest, LossAndEveryGradientInFp64AreAutogradsToTenDigits) {
  TinyModel model;
  model.type = at::kDouble;
  const OracleResult oracle = RunOracle(model, OracleBatch(), 40);
  ASSERT_EQ(oracle.gradients.size(), 56u) << "4 blocks, 7 modules, A and B";

  ExpectStepNear(RunStage(model), oracle, oracle.boundary_gradients[0], 1e-10);
}

TEST_F(StageOracleTest, LossAndEveryGradientInFp32AreAutogradsToFiveDigits) {
  const TinyModel model;
  const OracleResult oracle = RunOracle(model, OracleBatch(), 40);

  ExpectStepNear(RunStage(model), oracle, oracle.boundary_gradients[0], 1e-5);
}

TEST_F(StageOracleTest, WithQueryAndValueAdaptedAloneTheGradientsAreAutograds) {
  TinyModel model;
  model.targets = {"q_proj", "v_proj"};
  const OracleResult oracle = RunOracle(model, OracleBatch(), 40);
  ExpectStepNear(RunStage(model), oracle, oracle.boundary_gradients[0], 1e-5);

  model.type = at::kDouble;
  ExpectStepNear(RunStage(model), oracle, oracle.boundary_gradients[0], 1e-10);
}

TEST_F(StageOracleTest, TheGradientThatCrossesTheCutIsAutogradsAtEveryCut) {
  TinyModel model;
  model.type = at::kDouble;
  const OracleResult oracle = RunOracle(model, OracleBatch(), 40);

  for (int64_t cut = 1; cut < model.spec.num_blocks; ++cut) {
    SCOPED_TRACE(cut);
    Stage client = test::TinyStage(model, ClientRange(model.spec, cut));
    Stage server = test::TinyStage(model, ServerRange(model.spec, cut));
    ExpectStepNear(test::StepSplit(model, client, server, OracleBatch(), 40, true), oracle,
                   oracle.boundary_gradients[static_cast<size_t>(cut)], 1e-10);
  }
}

TEST_F(StageOracleTest, AWrongScaleIsCaughtInEveryGradient) {
  TinyModel model;
  model.type = at::kDouble;
  const OracleResult wrong = RunOracle(model, OracleBatch(), 40, 1 + 1e-5);

  const TinyStepResult run = RunStage(model);

  for (const auto& [name, expected] : wrong.gradients) {
    EXPECT_FALSE(NearRelative(run.gradients.at(name), expected, 1e-10)) << name;
  }
  EXPECT_FALSE(NearRelative(run.boundary_gradient, wrong.boundary_gradients[0], 1e-10));
}

TEST_F(StageOracleTest, InBf16TheGradientsPointWhereAutogradsDo) {
  TinyModel model;
  model.type = at::kBFloat16;
  const OracleResult oracle = RunOracle(model, OracleBatch(), 40);

  const TinyStepResult run = RunStage(model);

  // A sanity check of the type's path, not a precision claim: bf16 keeps 8 bits over 4 blocks.
  EXPECT_NEAR(run.loss_sum, oracle.loss_sum, 0.02 * oracle.loss_sum);
  for (const auto& [name, expected] : oracle.gradients) {
    const at::Tensor gradient = run.gradients.at(name).to(at::kDouble);
    const double cosine =
        ((gradient * expected).sum() / (gradient.norm() * expected.norm())).item<double>();
    EXPECT_GT(cosine, 0.97) << name;
  }
}

}  // namespace
}  // namespace amaq::models
