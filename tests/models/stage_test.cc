#include "models/stage.h"

#include <ATen/Parallel.h>
#include <gmock/gmock.h>

#include "core/error.h"
#include "tensor/bridge.h"
#include "tests/support/tensor_matchers.h"
#include "tests/support/tiny_model.h"

namespace amaq::models {
namespace {

using test::BitEqual;
using test::MakeTinyBatch;
using test::NearRelative;
using test::StepSplit;
using test::StepWhole;
using test::TinyBatch;
using test::TinyModel;
using test::TinyStage;
using test::TinyStepResult;
using ::testing::HasSubstr;

const std::vector<uint32_t> kLengths = {5, 1, 12, 4};
constexpr uint64_t kDivisor = 40;
constexpr lora::DropoutContext kDropped = {0.2, 3, 5, 1};

class StageTest : public ::testing::Test {
 protected:
  void SetUp() override { at::set_num_threads(1); }
};

TinyStepResult Whole(const TinyModel& model, const lora::DropoutContext& dropout = kDropped) {
  Stage stage = TinyStage(model, WholeRange(model.spec));
  return StepWhole(model, stage, MakeTinyBatch(kLengths), kDivisor, dropout);
}

void ExpectSameStepBits(const TinyStepResult& actual, const TinyStepResult& expected) {
  EXPECT_EQ(actual.loss_sum, expected.loss_sum);
  ASSERT_EQ(actual.gradients.size(), expected.gradients.size());
  for (const auto& [name, gradient] : expected.gradients) {
    EXPECT_TRUE(BitEqual(actual.gradients.at(name), gradient)) << name;
  }
}

TEST_F(StageTest, TwoStagesGiveTheBitsOfTheWholeAtEveryCut) {
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    TinyModel model;
    model.type = type;
    const TinyStepResult whole = Whole(model);
    for (int64_t cut = 1; cut < model.spec.num_blocks; ++cut) {
      SCOPED_TRACE(cut);
      Stage client = TinyStage(model, ClientRange(model.spec, cut));
      Stage server = TinyStage(model, ServerRange(model.spec, cut));

      const TinyStepResult split =
          StepSplit(model, client, server, MakeTinyBatch(kLengths), kDivisor, false, kDropped);

      ExpectSameStepBits(split, whole);
    }
  }
}

TEST_F(StageTest, WeightGradientsThatWaitForTheCutHaveTheSameBits) {
  const TinyModel model;
  const TinyStepResult whole = Whole(model);
  Stage client = TinyStage(model, ClientRange(model.spec, 2));
  Stage server = TinyStage(model, ServerRange(model.spec, 2));

  ExpectSameStepBits(
      StepSplit(model, client, server, MakeTinyBatch(kLengths), kDivisor, true, kDropped), whole);
}

TEST_F(StageTest, OnlyTheLowestBlockDefersItsGradients) {
  const TinyModel model;
  Stage server = TinyStage(model, ServerRange(model.spec, 2));
  const TinyBatch batch = MakeTinyBatch(kLengths);
  const BatchContext context = test::TinyContext(model, batch.segments);
  const at::Tensor x = test::NamedTensor("x", context.num_rows(), 13, 1, at::kFloat);
  std::vector<BlockSaved> saved;
  lora::DeferredGradients waiting;
  const at::Tensor out = server.Forward(x, context, &saved);

  server.Backward(out, context, std::move(saved), InputGradient::kNeeded, &waiting);

  EXPECT_EQ(waiting.size(), 7u);
  for (const lora::LowRank* adapter : server.adapters()) {
    const bool lowest = adapter->name().find("layers.2.") != std::string::npos;
    EXPECT_EQ(adapter->grad_b().abs().max().item<float>() == 0, lowest) << adapter->name();
  }
}

TEST_F(StageTest, LeanGivesTheBitsOfFast) {
  for (const at::ScalarType type : {at::kFloat, at::kDouble, at::kBFloat16}) {
    TinyModel fast;
    fast.type = type;
    TinyModel lean = fast;
    lean.memory = MemoryPolicy::kLean;

    const TinyStepResult kept = Whole(fast);
    const TinyStepResult again = Whole(lean);

    ExpectSameStepBits(again, kept);
    EXPECT_TRUE(BitEqual(again.boundary_gradient, kept.boundary_gradient));
  }
}

TEST_F(StageTest, AnotherDropoutKeyGivesOtherGradients) {
  const TinyModel model;

  const TinyStepResult one = Whole(model, {0.2, 3, 5, 1});
  const TinyStepResult other = Whole(model, {0.2, 3, 5, 2});

  EXPECT_NE(one.loss_sum, other.loss_sum);  // so the comparisons above can fail
}

// Four sequences in 1, 2 and 4 micro-batches.
std::map<std::string, at::Tensor> Accumulated(at::ScalarType type, size_t micro_batches) {
  TinyModel model;
  model.type = type;
  Stage stage = TinyStage(model, WholeRange(model.spec));
  const size_t size = kLengths.size() / micro_batches;
  TinyStepResult last;
  for (size_t m = 0; m < micro_batches; ++m) {
    const auto begin = kLengths.begin() + static_cast<std::ptrdiff_t>(m * size);
    const TinyBatch batch = MakeTinyBatch({begin, begin + static_cast<std::ptrdiff_t>(size)},
                                          static_cast<uint32_t>(m * size));
    last = StepWhole(model, stage, batch, kDivisor);
  }
  return last.gradients;
}

void ExpectAccumulationAgrees(at::ScalarType type, double tolerance) {
  const auto at_once = Accumulated(type, 1);
  for (const size_t micro_batches : {2, 4}) {
    const auto accumulated = Accumulated(type, micro_batches);
    for (const auto& [name, gradient] : at_once) {
      EXPECT_TRUE(NearRelative(accumulated.at(name), gradient, tolerance))
          << name << " in " << micro_batches << " micro-batches";
    }
  }
}

TEST_F(StageTest, AccumulationOverMicroBatchesAgreesToFiveDigitsInFp32) {
  ExpectAccumulationAgrees(at::kFloat, 1e-5);
}

TEST_F(StageTest, AccumulationOverMicroBatchesAgreesToTenDigitsInFp64) {
  ExpectAccumulationAgrees(at::kDouble, 1e-10);
}

TEST_F(StageTest, KeepingNothingGivesTheSameOutput) {
  const TinyModel model;
  const Stage stage = TinyStage(model, WholeRange(model.spec));
  const BatchContext context = test::TinyContext(model, {0, 3, 8});
  const at::Tensor x = test::NamedTensor("x", 8, 13, 1, at::kFloat);
  std::vector<BlockSaved> saved;

  EXPECT_TRUE(BitEqual(stage.Forward(x, context, nullptr), stage.Forward(x, context, &saved)));
  EXPECT_EQ(saved.size(), 4u);
}

TEST_F(StageTest, WithoutTheInputGradientNothingIsReturned) {
  const TinyModel model;
  Stage stage = TinyStage(model, ClientRange(model.spec, 2));
  const BatchContext context = test::TinyContext(model, {0, 8});
  std::vector<BlockSaved> saved;
  const at::Tensor x = test::NamedTensor("x", 8, 13, 1, at::kFloat);
  const at::Tensor out = stage.Forward(x, context, &saved);

  const at::Tensor gradient =
      stage.Backward(out, context, std::move(saved), InputGradient::kNotNeeded, nullptr);

  EXPECT_FALSE(gradient.defined());
}

TEST_F(StageTest, AdaptersComeInTheOrderOfTheirGlobalNames) {
  TinyModel model;
  model.spec.num_blocks = 11;
  Stage stage = TinyStage(model, {1, 11, false, true});

  const std::vector<lora::LowRank*> adapters = stage.adapters();

  ASSERT_EQ(adapters.size(), 70u);
  EXPECT_EQ(adapters[0]->name(), "model.layers.1.mlp.down_proj");
  EXPECT_EQ(adapters[7]->name(), "model.layers.10.mlp.down_proj");  // "1" < "10" < "2" as text
  for (size_t i = 1; i < adapters.size(); ++i) {
    EXPECT_LT(adapters[i - 1]->name(), adapters[i]->name());
  }
}

TEST_F(StageTest, RefusesATokenOutsideTheVocabulary) {
  const TinyModel model;
  const Stage stage = TinyStage(model, ClientRange(model.spec, 1));
  const auto refusal = [&](const std::vector<int32_t>& tokens) -> std::string {
    try {
      stage.Embed(tensor::FromInts(tokens, at::kCPU));
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::kInvalidArgument);
      return error.message();
    }
    return "accepted";
  };

  EXPECT_EQ(refusal({0, 28}), "accepted");
  EXPECT_THAT(refusal({0, 29}), HasSubstr("vocabulary of 29"));
  EXPECT_THAT(refusal({-1}), HasSubstr("vocabulary of 29"));
}

TEST_F(StageTest, RefusesACutThatLeavesAPartyWithoutBlocks) {
  const ModelSpec spec = test::TinySpec();

  EXPECT_EQ(ClientRange(spec, 3), (StageRange{0, 3, true, false}));
  EXPECT_EQ(ServerRange(spec, 3), (StageRange{3, 4, false, true}));
  for (const int64_t cut : {-1, 0, 4, 5}) {
    try {
      ServerRange(spec, cut);
      FAIL() << "a cut of " << cut << " was accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::kInvalidArgument);
      EXPECT_THAT(error.message(), HasSubstr("split.client_blocks must be in [1, 3]"));
    }
  }
}

}  // namespace
}  // namespace amaq::models
