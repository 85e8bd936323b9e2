#include "server/engine.h"

#include <ATen/ops/argmax.h>
#include <gtest/gtest.h>

#include <cmath>

#include "models/loader.h"
#include "tests/support/errors.h"
#include "tests/support/server_session.h"
#include "transport/chunker.h"

namespace amaq::server {
namespace {

using test::AsRequest;
using test::CodedForward;
using test::Commit;
using test::NormsOf;
using test::RawForward;
using test::ServerSession;
using test::TinyRun;
using transport::Message;
using transport::Phase;

class EngineTest : public ::testing::Test {
 protected:
  EngineTest() : run_("engine"), session_(run_) {}

  // The server's half as the session has it at its start.
  std::unique_ptr<models::Stage> FreshStage() const {
    const models::BaseModel model = models::OpenModel(run_.client.model.model_name_or_path);
    return models::LoadStage(model, models::ServerRange(model.spec, 2),
                             client::StageOptionsOf(run_.client));
  }

  TinyRun run_;
  ServerSession session_;
};

TEST_F(EngineTest, AForwardIsAnsweredByItsGradientThenTheNorms) {
  const std::vector<Message> replies = session_.Send(RawForward());

  ASSERT_EQ(replies.size(), 2u);
  EXPECT_EQ(ToString(replies[0].key), "BACKWARD step 0.0 micro-batch 0");
  ASSERT_TRUE(replies[0].tensor.has_value());
  EXPECT_EQ(replies[0].tensor->tokens, 10u);
  EXPECT_EQ(replies[0].tensor->channels, 32u);
  EXPECT_EQ(replies[0].tensor->direction, transport::Direction::kBackward);
  const auto& info = std::get<transport::BackwardInfo>(replies[0].item);
  EXPECT_EQ(info.tokens, 5u);
  EXPECT_GT(info.loss_sum, 0);
  EXPECT_EQ(replies[1].key.phase, Phase::kNorm);
  EXPECT_TRUE(std::get<transport::NormInfo>(replies[1].item).finite);
  EXPECT_EQ(NormsOf(replies[1]).size(), 2u * 7 * 2);
}

TEST_F(EngineTest, TheNormsComeOnceAfterTheLastMicroBatch) {
  Message first = RawForward();
  first.micro_batches = 2;
  first.loss_tokens = 10;
  Message second = first;
  second.key.micro_batch = 1;

  EXPECT_EQ(session_.Send(first).size(), 1u);
  const std::vector<Message> replies = session_.Send(second);

  ASSERT_EQ(replies.size(), 2u);
  EXPECT_EQ(replies[0].key.micro_batch, 1u);
  // Two halves of the same rows are the gradient of one.
  session_.Reopen();
  const std::vector<double> whole = NormsOf(session_.Send(RawForward())[1]);
  const std::vector<double> halves = NormsOf(replies[1]);
  for (size_t i = 0; i < whole.size(); ++i) EXPECT_NEAR(halves[i], whole[i], 1e-5 * whole[i]);
}

TEST_F(EngineTest, TheNormsAreThoseOfTheAccumulatedGradients) {
  const std::vector<double> norms = NormsOf(session_.Send(RawForward())[1]);
  const auto stage = FreshStage();
  const models::BatchContext context = models::MakeBatchContext(
      stage->spec(), test::TinySupervision().segments, {}, at::kFloat, at::kCPU);
  std::vector<models::BlockSaved> saved;
  const at::Tensor hidden = stage->Forward(test::TinyActivation(), context, &saved);
  const train::Supervision supervision = test::TinySupervision();
  const models::LossResult loss =
      models::HeadLoss(hidden, stage->head(), {supervision.target_rows, supervision.targets}, 5);
  stage->Backward(loss.gradient, context, std::move(saved), models::InputGradient::kNeeded,
                  nullptr);
  train::AdamW optimizer(stage->adapters(), {});

  const std::vector<train::TensorNorm> expected = optimizer.SquaredNorms();

  ASSERT_EQ(norms.size(), expected.size());
  for (size_t i = 0; i < norms.size(); ++i) EXPECT_EQ(norms[i], expected[i].squared);
}

TEST_F(EngineTest, ACommitIsAppliedOnceAndItsRepeatGetsTheStoredAnswer) {
  const Bytes before = session_.Adapter();
  session_.Send(RawForward());
  const Message commit = Commit(0, {false, 0.5, 0.01, 0});

  const std::vector<Message> first = session_.Send(commit);
  const Bytes after = session_.Adapter();
  const std::vector<Message> repeated = session_.Send(commit);

  ASSERT_EQ(first.size(), 1u);
  ASSERT_EQ(repeated.size(), 1u);
  EXPECT_EQ(std::get<transport::CommittedInfo>(first[0].item).committed_steps, 1u);
  EXPECT_EQ(transport::MessageDigest(repeated[0]), transport::MessageDigest(first[0]));
  EXPECT_NE(after, before);
  EXPECT_EQ(session_.Adapter(), after);
}

TEST_F(EngineTest, ACommitOfOtherContentsUnderTheSameNameIsRefused) {
  session_.Send(RawForward());
  session_.Send(Commit(0, {false, 0.5, 0.01, 0}));
  const Bytes after = session_.Adapter();

  EXPECT_THROWS(session_.Send(Commit(0, {false, 0.5, 0.02, 0})), Code::kFailedPrecondition,
                "other contents");
  EXPECT_EQ(session_.Adapter(), after);
}

TEST_F(EngineTest, ACommitBeforeItsMicroBatchesIsRefused) {
  const Bytes before = session_.Adapter();

  EXPECT_THROWS(session_.Send(Commit(0, {false, 1, 0.01, 0})), Code::kFailedPrecondition,
                "0 of 0 micro-batches");
  EXPECT_EQ(session_.Adapter(), before);
}

TEST_F(EngineTest, ARepeatedForwardIsNotWorkedOnTwice) {
  session_.Send(RawForward());

  EXPECT_TRUE(session_.Send(RawForward()).empty());

  EXPECT_THROWS(session_.Send(RawForward(0, 2)), Code::kFailedPrecondition, "other contents");
}

TEST_F(EngineTest, ASkipLeavesTheAdapterAndNoGradientBehind) {
  const Bytes before = session_.Adapter();
  session_.Send(RawForward(0, 2));

  session_.Send(Commit(0, {true, 0, 0.01, 0}));

  EXPECT_EQ(session_.Adapter(), before);
  const std::vector<double> next = NormsOf(session_.Send(RawForward(1, 1))[1]);
  session_.Reopen();
  EXPECT_EQ(next, NormsOf(session_.Send(RawForward(0, 1))[1]));
}

TEST_F(EngineTest, AnAbortLeavesNoGradientBehind) {
  const Bytes before = session_.Adapter();
  session_.Send(RawForward(0, 2));
  Message abort = Commit(0, {});
  abort.key.phase = Phase::kAbort;
  abort.item = transport::AbortInfo{"calibration"};

  EXPECT_TRUE(session_.Send(abort).empty());

  EXPECT_EQ(session_.Adapter(), before);
  Message again = RawForward(0, 1);
  EXPECT_THROWS(session_.Send(again), Code::kAborted, "stale");
  again.key.attempt = 1;
  const std::vector<double> norms = NormsOf(session_.Send(again)[1]);
  session_.Reopen();
  EXPECT_EQ(norms, NormsOf(session_.Send(RawForward(0, 1))[1]));
}

Message NonFiniteForward() {
  Message message = RawForward();
  message.tensor.reset();
  message.sections.clear();
  message.item = transport::NonFinite{"activation", 3, 7};
  return message;
}

TEST_F(EngineTest, AnActivationThatIsNotFiniteMakesTheStepASkip) {
  const Bytes before = session_.Adapter();

  const std::vector<Message> replies = session_.Send(NonFiniteForward());

  ASSERT_EQ(replies.size(), 2u);
  const auto& what = std::get<transport::NonFinite>(replies[0].item);
  EXPECT_EQ(what.tensor, "activation");
  EXPECT_EQ(what.token, 3u);
  EXPECT_EQ(what.channel, 7u);
  EXPECT_FALSE(std::get<transport::NormInfo>(replies[1].item).finite);
  EXPECT_THROWS(session_.Send(Commit(0, {false, 1, 0.01, 0})), Code::kInvalidArgument,
                "not finite");
  EXPECT_EQ(session_.Adapter(), before);
}

TEST_F(EngineTest, AfterASkippedStepTrainingGoesOn) {
  const Bytes before = session_.Adapter();
  session_.Send(NonFiniteForward());

  session_.Send(Commit(0, {true, 0, 0.01, 0}));

  EXPECT_EQ(session_.Adapter(), before);
  EXPECT_TRUE(std::get<transport::NormInfo>(session_.Send(RawForward(1))[1].item).finite);
  session_.Send(Commit(1, {false, 1, 0.01, 0}));
  EXPECT_NE(session_.Adapter(), before);
}

TEST_F(EngineTest, OneBrokenMicroBatchOfTwoSpoilsTheStep) {
  Message first = NonFiniteForward();
  first.micro_batches = 2;
  Message second = RawForward();
  second.micro_batches = 2;
  second.key.micro_batch = 1;
  EXPECT_EQ(session_.Send(first).size(), 1u);

  const std::vector<Message> replies = session_.Send(second);

  EXPECT_TRUE(std::holds_alternative<transport::BackwardInfo>(replies[0].item));
  EXPECT_FALSE(std::get<transport::NormInfo>(replies[1].item).finite);
}

// Finite activations, infinite inside.
TEST_F(EngineTest, AnOverflowInsideIsReportedAndNotTrained) {
  const auto other = FreshStage();
  for (lora::LowRank* adapter : other->adapters()) adapter->b().fill_(3e38);
  session_.session().PutAdapter(lora::SerializeAdapter(other->adapters()));

  const std::vector<Message> replies = session_.Send(RawForward());

  ASSERT_EQ(replies.size(), 2u);
  EXPECT_EQ(std::get<transport::NonFinite>(replies[0].item).tensor, "loss");
  EXPECT_FALSE(std::get<transport::NormInfo>(replies[1].item).finite);
}

TEST_F(EngineTest, ACommitWithNumbersThatCannotBeIsRefused) {
  for (const transport::CommitInfo info :
       {transport::CommitInfo{false, std::nan(""), 0.01, 0}, transport::CommitInfo{false, -1, 0, 0},
        transport::CommitInfo{false, 1, std::nan(""), 0},
        transport::CommitInfo{false, 1, -0.01, 0}}) {
    session_.Reopen();
    session_.Send(RawForward());

    EXPECT_THROWS(session_.Send(Commit(0, info)), Code::kInvalidArgument, "not finite");
  }
}

TEST_F(EngineTest, AGateVersionCrossesOnceAndIsEchoed) {
  Message first = CodedForward(4, std::vector<uint8_t>(32, 3));
  first.micro_batches = 2;
  first.loss_tokens = 10;
  Message second = first;
  second.key.micro_batch = 1;
  std::erase_if(second.sections,
                [](const Section& section) { return section.kind == SectionKind::kWidths; });

  EXPECT_EQ(session_.Send(first)[0].gate.decoded_version, 4u);
  const Message backward = session_.Send(second)[0];

  EXPECT_EQ(backward.gate.decoded_version, 4u);
  EXPECT_EQ(backward.gate.version, 4u);
}

Message WithoutWidths(Message message) {
  std::erase_if(message.sections,
                [](const Section& section) { return section.kind == SectionKind::kWidths; });
  return message;
}

TEST_F(EngineTest, AnUnknownGateVersionIsRefused) {
  const Message message = WithoutWidths(CodedForward(9, std::vector<uint8_t>(32, 3)));

  EXPECT_THROWS(session_.Send(message), Code::kFailedPrecondition,
                "gate version 9, which this party does not hold");
}

TEST_F(EngineTest, AStaleGateVersionIsRefused) {
  const auto request = [](uint64_t version) {
    return AsRequest(CodedForward(version, std::vector<uint8_t>(32, static_cast<uint8_t>(version))),
                     Phase::kEvaluate);
  };
  for (const uint64_t version : {2u, 3u, 4u}) session_.Send(request(version));

  EXPECT_EQ(session_.Send(WithoutWidths(request(4))).size(), 1u);
  EXPECT_EQ(session_.Send(WithoutWidths(request(3))).size(), 1u);
  EXPECT_THROWS(session_.Send(WithoutWidths(request(2))), Code::kFailedPrecondition,
                "gate version 2, which this party does not hold");
}

TEST_F(EngineTest, OneGateVersionHasOneSetOfWidths) {
  session_.Send(AsRequest(CodedForward(2, std::vector<uint8_t>(32, 3)), Phase::kEvaluate));

  EXPECT_THROWS(
      session_.Send(AsRequest(CodedForward(2, std::vector<uint8_t>(32, 4)), Phase::kEvaluate)),
      Code::kInvalidArgument, "two different sets of widths");
}

TEST_F(EngineTest, AnEvaluationCountsAndChangesNothing) {
  const Bytes before = session_.Adapter();

  const std::vector<Message> replies = session_.Send(AsRequest(RawForward(), Phase::kEvaluate));

  ASSERT_EQ(replies.size(), 1u);
  EXPECT_EQ(replies[0].key.phase, Phase::kEvaluate);
  EXPECT_EQ(replies[0].key.request_id, 1u);
  const auto& info = std::get<transport::EvalInfo>(replies[0].item);
  const std::vector<Message> trained = session_.Send(RawForward());
  EXPECT_EQ(info.loss_sum, std::get<transport::BackwardInfo>(trained[0].item).loss_sum);
  EXPECT_EQ(info.tokens, 5u);
  EXPECT_LE(info.correct, 5u);
  EXPECT_EQ(session_.Adapter(), before);
  session_.Reopen();
  EXPECT_EQ(NormsOf(session_.Send(RawForward())[1]), NormsOf(trained[1]));
}

TEST_F(EngineTest, ADecodeGivesTheGreedyTokenAfterTheLastRow) {
  const auto stage = FreshStage();
  const models::BatchContext context = models::MakeBatchContext(
      stage->spec(), test::TinySupervision().segments, {}, at::kFloat, at::kCPU);
  const at::Tensor logits =
      models::HeadLogits(stage->Forward(test::TinyActivation(), context, nullptr), stage->head(),
                         std::vector<uint32_t>{9});

  const std::vector<Message> replies = session_.Send(AsRequest(RawForward(), Phase::kDecode));

  ASSERT_EQ(replies.size(), 1u);
  EXPECT_EQ(std::get<transport::DecodeInfo>(replies[0].item).token_id,
            static_cast<uint32_t>(logits.argmax().item<int64_t>()));
}

TEST_F(EngineTest, AnInitialAdapterIsTakenBeforeTheFirstStepOnly) {
  const auto other = FreshStage();
  for (lora::LowRank* adapter : other->adapters()) adapter->b().fill_(0.25);
  const Bytes initial = lora::SerializeAdapter(other->adapters());

  session_.session().PutAdapter(initial);

  EXPECT_EQ(session_.Adapter(), initial);
  session_.Send(RawForward());
  EXPECT_THROWS(session_.session().PutAdapter(initial), Code::kFailedPrecondition,
                "before the first step only");
  session_.Send(Commit(0, {false, 1, 0.01, 0}));
  EXPECT_THROWS(session_.session().PutAdapter(initial), Code::kFailedPrecondition, "at step 1");
}

TEST_F(EngineTest, AnAdapterOfTheWrongHalfIsRefused) {
  const Bytes before = session_.Adapter();
  const models::BaseModel model = models::OpenModel(run_.client.model.model_name_or_path);
  const auto client = models::LoadStage(model, models::ClientRange(model.spec, 2),
                                        client::StageOptionsOf(run_.client));

  EXPECT_THROWS(session_.session().PutAdapter(lora::SerializeAdapter(client->adapters())),
                Code::kInvalidArgument, "the initial adapter of the server's half lacks tensor");
  EXPECT_EQ(session_.Adapter(), before);
}

TEST_F(EngineTest, AServerMayKeepItsHalf) {
  run_.server.limits.allow_fetch_adapter = false;
  const ServerSession session(run_);

  EXPECT_THROWS(session.Adapter(), Code::kPermissionDenied, "limits.allow_fetch_adapter is false");
}

}  // namespace
}  // namespace amaq::server
