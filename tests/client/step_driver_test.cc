#include "client/step_driver.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/bytes.h"
#include "tensor/bridge.h"
#include "tests/support/driven.h"
#include "tests/support/tensor_matchers.h"

namespace amaq::client {
namespace {

using test::DirectLink;
using test::Driven;
using transport::Message;
using transport::Phase;

using StepDriverTest = test::DrivenTest;

std::vector<at::Tensor> GradientsOf(models::Stage& stage) {
  std::vector<at::Tensor> gradients;
  for (const lora::LowRank* adapter : stage.adapters()) {
    gradients.push_back(adapter->grad_a().clone());
    gradients.push_back(adapter->grad_b().clone());
  }
  return gradients;
}

std::vector<double> ServerNorms(const DirectLink& link) {
  const Message& norm = *DirectLink::Of(link.received, Phase::kNorm).at(0);
  ByteReader reader(*FindSection(norm.sections, SectionKind::kNorms), "norms");
  std::vector<double> norms;
  while (reader.remaining() > 0) norms.push_back(reader.Read<double>());
  return norms;
}

// B is zero at first and so is A's gradient: all tensors have one at the second step.
TEST_F(StepDriverTest, OneTwoAndFourMicroBatchesGiveTheSameGradients) {
  config_.split.client_blocks = 3;
  std::vector<std::vector<at::Tensor>> gradients;
  std::vector<std::vector<double>> norms;
  for (const size_t count : {1u, 2u, 4u}) {
    Driven driven = Drive();
    for (lora::LowRank* adapter : driven.stage->adapters()) adapter->b().fill_(0.01);
    std::vector<at::Tensor> seen;
    driven.link.change_up = [&](Message& message) {
      if (message.key.phase == Phase::kCommit) seen = GradientsOf(*driven.stage);
    };
    driven.driver->RunStep(Batches(count, 4 / count), 1e-3);
    gradients.push_back(seen);
    norms.push_back(ServerNorms(driven.link));
  }

  for (const size_t other : {1u, 2u}) {
    ASSERT_EQ(gradients[other].size(), 3u * 7 * 2);
    for (size_t i = 0; i < gradients[0].size(); ++i) {
      EXPECT_GT(gradients[0][i].abs().max().item<double>(), 0);
      EXPECT_TRUE(test::NearRelative(gradients[other][i], gradients[0][i], 1e-5)) << i;
    }
    for (size_t i = 0; i < norms[0].size(); ++i) {
      EXPECT_NEAR(norms[other][i], norms[0][i], 2e-5 * norms[0][i]);
    }
  }
}

uint64_t ForwardBytes(const DirectLink& link, uint64_t step) {
  uint64_t total = 0;
  for (const Message* message : DirectLink::Of(link.sent, Phase::kForward)) {
    if (message->key.step != step) continue;
    for (const Section& section : message->sections) total += section.bytes.size();
  }
  return total;
}

TEST_F(StepDriverTest, TheSecondEpochOfAqsgdAndAmaqDeltaIsSmaller) {
  for (const char* method : {"aqsgd", "amaq-delta"}) {
    SCOPED_TRACE(method);
    config_.quant.method = method;
    config_.quant.bits = 3;
    Driven driven = Drive();

    for (int epoch = 0; epoch < 2; ++epoch) driven.driver->RunStep(Batches(2, 4), 1e-3);

    EXPECT_LT(ForwardBytes(driven.link, 1),
              0.7 * static_cast<double>(ForwardBytes(driven.link, 0)));
    for (const Message* message : DirectLink::Of(driven.link.sent, Phase::kForward)) {
      const Bytes& keys = *FindSection(message->sections, SectionKind::kSampleKeys);
      EXPECT_EQ(keys[0], message->key.step == 0 ? 0b1111 : 0) << ToString(message->key);
    }
  }
}

// Both parties forget the skipped step, or the server would miss what the client sends next.
TEST_F(StepDriverTest, ASkippedStepLeavesNoVisitAtEitherParty) {
  config_.quant.method = "aqsgd";
  Driven driven = Drive();
  driven.link.change_down = [](Message& message) {
    if (message.key.phase != Phase::kNorm || message.key.step != 0) return;
    std::get<transport::NormInfo>(message.item).finite = false;
  };

  EXPECT_TRUE(driven.driver->RunStep(Batches(2, 2), 1e-3).skipped);
  EXPECT_FALSE(driven.driver->RunStep(Batches(2, 2), 1e-3).skipped);

  for (const Message* message : DirectLink::Of(driven.link.sent, Phase::kForward)) {
    EXPECT_EQ(FindSection(message->sections, SectionKind::kSampleKeys)->front(), 0b11)
        << ToString(message->key);
  }
}

// Ranges of past steps decide this one's codes, at the client and at the server.
TEST_F(StepDriverTest, DelayedRangesForgetASkippedStepAndEvaluationsAtBothParties) {
  config_.quant.method = "fixed";
  config_.quant.bits = 3;
  config_.quant.range = "delayed";
  config_.quant.gradient.rounding = "nearest";  // stochastic rounding draws by the step's number
  const auto run = [this](bool disturbed) {
    Driven driven = Drive();
    driven.link.change_down = [&](Message& message) {
      if (disturbed && message.key.phase == Phase::kNorm && message.key.step == 0) {
        message.item = transport::NormInfo{false};
      }
    };
    if (disturbed) {
      EXPECT_TRUE(driven.driver->RunStep(Batches(1, 6), 1e-2).skipped);
      driven.driver->Evaluate(Batches(2, 3));
    }
    for (int step = 0; step < 3; ++step) driven.driver->RunStep(Batches(2, 2), 1e-2);
    driven.driver->Drain();
    std::vector<Bytes> tensors = {driven.ClientAdapter(), driven.link.FetchAdapter()};
    for (const auto* messages : {&driven.link.sent, &driven.link.received}) {
      for (const Message& message : *messages) {
        const Bytes* ranges = FindSection(message.sections, SectionKind::kRanges);
        const uint64_t first = disturbed ? 1 : 0;
        if (ranges != nullptr && message.key.step >= first &&
            message.key.phase != Phase::kEvaluate) {
          tensors.push_back(*ranges);
        }
      }
    }
    return tensors;
  };

  const std::vector<Bytes> plain = run(false);

  EXPECT_EQ(plain.size(), 2u + 3 * 2 * 2);
  EXPECT_EQ(run(true), plain);
  config_.quant.range = "minmax";
  const std::vector<Bytes> exact = run(false);
  EXPECT_EQ(exact[2], plain[2]) << "the first step's";
  EXPECT_NE(exact[4], plain[4]) << "negative control: the second step's are predicted";
  EXPECT_NE(exact.back(), plain.back()) << "and the gradients'";
}

TEST_F(StepDriverTest, DelayedRangesDoNotDependOnTheWindow) {
  config_.quant.method = "amaq";
  config_.quant.adapt_steps = 2;
  config_.quant.range = "delayed";
  std::vector<Bytes> adapters;
  for (const uint32_t window : {1u, 3u}) {
    config_.train.in_flight = window;
    Driven driven = Drive();
    for (int step = 0; step < 3; ++step) driven.driver->RunStep(Batches(3, 2), 1e-2);
    driven.driver->Drain();
    adapters.push_back(driven.ClientAdapter());
    adapters.push_back(driven.link.FetchAdapter());
  }

  EXPECT_EQ(adapters[2], adapters[0]);
  EXPECT_EQ(adapters[3], adapters[1]);
}

TEST_F(StepDriverTest, EvaluationWithAqsgdCrossesAsBf16AndIsForgotten) {
  config_.quant.method = "aqsgd";
  Driven driven = Drive();

  driven.driver->Evaluate(Batches(2, 2));
  driven.driver->RunStep(Batches(2, 2), 1e-3);

  for (const Message* message : DirectLink::Of(driven.link.sent, Phase::kEvaluate)) {
    EXPECT_EQ(message->tensor->dtype, DType::kBF16);
    EXPECT_EQ(FindSection(message->sections, SectionKind::kSampleKeys), nullptr);
  }
  const Message& forward = *DirectLink::Of(driven.link.sent, Phase::kForward).at(0);
  EXPECT_EQ(FindSection(forward.sections, SectionKind::kSampleKeys)->front(), 0b11);
}

TEST_F(StepDriverTest, NeverMoreThanTheWindowIsUnderWay) {
  for (const uint32_t window : {1u, 2u, 3u}) {
    config_.train.in_flight = window;
    Driven driven = Drive();
    size_t most = 0;
    driven.link.change_up = [&](Message& message) {
      if (message.key.phase != Phase::kForward) return;
      const size_t received = DirectLink::Of(driven.link.received, Phase::kBackward).size();
      most = std::max<size_t>(most, message.key.micro_batch + 1 - received);
    };

    driven.driver->RunStep(Batches(6, 2), 1e-3);

    EXPECT_EQ(most, window);
  }
}

TEST_F(StepDriverTest, ACommitCarriesTheGlobalClipAndTheRate) {
  config_.train.max_grad_norm = 0.25;
  Driven driven = Drive();
  double squared = 0;
  driven.link.change_up = [&](Message& message) {
    if (message.key.phase != Phase::kCommit) return;
    for (const at::Tensor& gradient : GradientsOf(*driven.stage)) {
      squared += gradient.to(at::kDouble).square().sum().item<double>();
    }
  };

  const StepResult result = driven.driver->RunStep(Batches(2, 2), 0.125);

  for (const double norm : ServerNorms(driven.link)) squared += norm;
  const auto& commit = std::get<transport::CommitInfo>(driven.link.sent.back().item);
  EXPECT_NEAR(result.grad_norm, std::sqrt(squared), 1e-9 * result.grad_norm);
  EXPECT_GT(result.grad_norm, 0.25);
  EXPECT_NEAR(commit.clip_scale, 0.25 / (result.grad_norm + 1e-6), 1e-12);
  EXPECT_EQ(commit.learning_rate, 0.125);
  EXPECT_FALSE(commit.skip);
  EXPECT_FALSE(result.skipped);
}

TEST_F(StepDriverTest, AStepCountsItsTokensAndRows) {
  Driven driven = Drive();
  const std::vector<data::Batch> batches = Batches(3, 2);
  uint64_t rows = 0;
  uint64_t tokens = 0;
  for (const data::Batch& batch : batches) {
    rows += batch.num_tokens();
    tokens += batch.num_supervised();
  }

  const StepResult result = driven.driver->RunStep(batches, 1e-3);

  EXPECT_EQ(result.rows, rows);
  EXPECT_EQ(result.tokens, tokens);
  EXPECT_GT(result.loss_sum, 0);
  EXPECT_EQ(driven.driver->step(), 1u);
}

// Both halves must be as they were; the message names the place.
void ExpectSkipped(Driven& driven, const std::vector<data::Batch>& batches,
                   const std::string& reason) {
  const Bytes client = driven.ClientAdapter();
  const Bytes server = driven.link.FetchAdapter();
  const uint64_t version = driven.widths->version();

  const StepResult result = driven.driver->RunStep(batches, 1e-2);

  EXPECT_TRUE(result.skipped);
  EXPECT_NE(result.skip_reason.find(reason), std::string::npos) << result.skip_reason;
  EXPECT_TRUE(std::get<transport::CommitInfo>(driven.link.sent.back().item).skip);
  EXPECT_EQ(driven.ClientAdapter(), client);
  EXPECT_EQ(driven.link.FetchAdapter(), server);
  EXPECT_EQ(driven.widths->version(), version) << "the gate learned from a skipped step";
  EXPECT_EQ(driven.driver->step(), 1u);
}

TEST_F(StepDriverTest, AnActivationThatIsNotFiniteSkipsTheStepOnBothSides) {
  config_.quant.method = "amaq";
  Driven driven = Drive();
  lora::LowRank& adapter = *driven.stage->adapters().front();
  adapter.b().fill_(std::numeric_limits<float>::infinity());

  ExpectSkipped(
      driven, Batches(2, 1),
      "the activation of BACKWARD step 0.0 micro-batch 0 is not finite at token 0, channel 0");

  EXPECT_FALSE(driven.link.sent[0].tensor.has_value());
  EXPECT_TRUE(driven.link.sent[0].sections.empty());
}

TEST_F(StepDriverTest, AGradientThatIsNotFiniteSkipsTheStepOnBothSides) {
  config_.quant.method = "amaq";
  config_.train.in_flight = 1;
  Driven driven = Drive();
  driven.link.change_down = [](Message& message) {
    if (message.key.phase == Phase::kBackward && message.key.micro_batch == 1) {
      message.tensor.reset();
      message.sections.clear();
      message.item = transport::NonFinite{"gradient", 5, 9};
    }
    if (message.key.phase == Phase::kNorm) message.item = transport::NormInfo{false};
  };

  ExpectSkipped(
      driven, Batches(3, 1),
      "the gradient of BACKWARD step 0.0 micro-batch 1 is not finite at token 5, channel 9");
}

TEST_F(StepDriverTest, ANormThatIsNotFiniteSkipsTheStep) {
  Driven driven = Drive();
  driven.link.change_down = [](Message& message) {
    if (message.key.phase == Phase::kNorm) message.item = transport::NormInfo{false};
  };

  ExpectSkipped(driven, Batches(1, 2), "the gradient norm of step 0 is not finite");
}

TEST_F(StepDriverTest, AfterASkippedStepTrainingGoesOn) {
  Driven driven = Drive();
  driven.link.change_down = [](Message& message) {
    if (message.key.phase == Phase::kNorm && message.key.step == 0) {
      message.item = transport::NormInfo{false};
    }
  };
  driven.driver->RunStep(Batches(2, 2), 1e-2);
  const StepResult second = driven.driver->RunStep(Batches(2, 2), 1e-2);
  driven.driver->Drain();
  Driven fresh = Drive();

  const StepResult first = fresh.driver->RunStep(Batches(2, 2), 1e-2);
  fresh.driver->Drain();

  // The skipped step left no gradient and no moment behind.
  EXPECT_EQ(second.loss_sum, first.loss_sum);
  EXPECT_EQ(second.grad_norm, first.grad_norm);
  EXPECT_EQ(driven.ClientAdapter(), fresh.ClientAdapter());
  EXPECT_EQ(driven.link.FetchAdapter(), fresh.link.FetchAdapter());
}

TEST_F(StepDriverTest, CalibrationTrainsNothingAndOpensAttemptOne) {
  config_.quant.method = "waterfill";
  Driven driven = Drive();
  const Bytes client = driven.ClientAdapter();
  const Bytes server = driven.link.FetchAdapter();

  driven.driver->Calibrate(Batches(2, 2));

  EXPECT_EQ(driven.link.sent.back().key.phase, Phase::kAbort);
  for (const at::Tensor& gradient : GradientsOf(*driven.stage)) {
    EXPECT_EQ(gradient.abs().max().item<double>(), 0);
  }
  EXPECT_EQ(driven.ClientAdapter(), client);
  EXPECT_EQ(driven.link.FetchAdapter(), server);
  EXPECT_GT(driven.widths->version(), 0u);
  driven.driver->RunStep(Batches(2, 2), 1e-2);
  EXPECT_EQ(driven.link.sent.back().key.attempt, 1u);
  EXPECT_EQ(driven.driver->step(), 1u);
}

TEST_F(StepDriverTest, AnEvaluationIsTheLossOfTheWholeModelAndChangesNothing) {
  config_.lora.lora_dropout = 0.5;
  Driven driven = Drive();
  driven.driver->RunStep(Batches(2, 2), 1e-2);
  const std::vector<data::Batch> batches = Batches(4, 3);

  const EvalResult result = driven.driver->Evaluate(batches);

  const auto whole = driven.Whole();
  double loss = 0;
  uint64_t tokens = 0;
  uint64_t correct = 0;
  for (const data::Batch& batch : batches) {
    const models::BatchContext context =
        models::MakeBatchContext(whole->spec(), batch.segments, {}, at::kFloat, at::kCPU);
    const models::LossResult one = models::HeadLoss(
        whole->Forward(whole->Embed(tensor::FromInts(batch.tokens, at::kCPU)), context, nullptr),
        whole->head(), {batch.target_rows, batch.targets}, 0);
    loss += one.loss_sum;
    tokens += one.tokens;
    correct += one.correct;
  }
  EXPECT_EQ(result.loss_sum, loss);
  EXPECT_EQ(result.tokens, tokens);
  EXPECT_EQ(result.correct, correct);
  EXPECT_EQ(driven.driver->step(), 1u);
}

TEST_F(StepDriverTest, GenerationIsTheGreedyChoiceOfTheWholeModel) {
  Driven driven = Drive();
  const auto whole = driven.Whole();
  std::vector<int32_t> tokens = {104, 32, 50};
  std::vector<int32_t> expected;
  for (int i = 0; i < 6; ++i) {
    const auto length = static_cast<uint32_t>(tokens.size());
    const models::BatchContext context =
        models::MakeBatchContext(whole->spec(), {0, length}, {}, at::kFloat, at::kCPU);
    const at::Tensor hidden =
        whole->Forward(whole->Embed(tensor::FromInts(tokens, at::kCPU)), context, nullptr);
    const auto best = static_cast<int32_t>(
        models::HeadLogits(hidden, whole->head(), std::vector<uint32_t>{length - 1})
            .argmax()
            .item<int64_t>());
    expected.push_back(best);
    tokens.push_back(best);
  }

  EXPECT_EQ(driven.driver->Generate({104, 32, 50}, 6, -1), expected);
  // An end token ends it and is not part of the answer.
  const auto end = std::find(expected.begin(), expected.end(), expected[4]);
  EXPECT_EQ(driven.driver->Generate({104, 32, 50}, 6, expected[4]),
            std::vector<int32_t>(expected.begin(), end));
}

TEST_F(StepDriverTest, WidthsCrossWithTheFirstMessageThatNeedsThemWhateverItIs) {
  config_.quant.method = "fixed";
  Driven driven = Drive();

  driven.driver->Evaluate(Batches(2, 2));
  driven.driver->RunStep(Batches(2, 2), 1e-2);

  EXPECT_NE(FindSection(driven.link.sent[0].sections, SectionKind::kWidths), nullptr);
  for (size_t i = 1; i < driven.link.sent.size(); ++i) {
    EXPECT_EQ(FindSection(driven.link.sent[i].sections, SectionKind::kWidths), nullptr) << i;
  }
}

// Three rows are smaller in bf16 than their ranges and codes would be.
TEST_F(StepDriverTest, AMessageTooSmallToCodeCrossesAsBf16AmongOthersThatAreCoded) {
  config_.quant.method = "amaq";
  Driven driven = Drive();
  const data::Example small{{104, 105, 106}, {0, 1, 1}, false};
  std::vector<data::Batch> batches = Batches(2, 2);
  batches.insert(batches.begin(), data::Collate({&small}));

  const StepResult result = driven.driver->RunStep(batches, 1e-2);

  const auto forward = DirectLink::Of(driven.link.sent, Phase::kForward);
  EXPECT_EQ(forward[0]->tensor->dtype, DType::kBF16);
  EXPECT_EQ(forward[0]->gate.version, 0u);
  EXPECT_NE(FindSection(forward[0]->sections, SectionKind::kRaw), nullptr);
  EXPECT_NE(FindSection(forward[1]->sections, SectionKind::kCodes), nullptr);
  EXPECT_NE(FindSection(forward[1]->sections, SectionKind::kWidths), nullptr);
  EXPECT_NE(FindSection(forward[2]->sections, SectionKind::kCodes), nullptr);
  EXPECT_FALSE(result.skipped);
  EXPECT_GT(driven.widths->version(), forward[2]->gate.version);
}

TEST_F(StepDriverTest, DrainWaitsForTheLastCommittedOnce) {
  Driven driven = Drive();
  driven.driver->Drain();
  driven.driver->RunStep(Batches(1, 2), 1e-2);

  driven.driver->Drain();
  driven.driver->Drain();

  EXPECT_EQ(driven.link.received.back().key.phase, Phase::kCommitted);
}

}  // namespace
}  // namespace amaq::client
