// What the engine remembers of a sample (aqsgd): an attempt or a step that does not count leaves no
// visit behind. A client that takes its own back is the judge: with another memory at the server,
// the same message means another activation and has another loss.

#include <gtest/gtest.h>

#include "server/engine.h"
#include "tests/support/errors.h"
#include "tests/support/server_session.h"

namespace amaq::server {
namespace {

using test::Commit;
using test::ServerSession;
using test::TinyRun;
using transport::Message;
using transport::Phase;

class EngineVisitsTest : public ::testing::Test {
 protected:
  EngineVisitsTest() : run_("engine-visits") {
    run_.client.quant.method = "aqsgd";
    session_ = std::make_unique<ServerSession>(run_);
    coder_ = std::make_unique<train::CutCoder>(client::CutOptionsOf(run_.client));
  }

  // A FORWARD of two samples whose activations are near those of every other seed.
  Message Visit(uint64_t step, uint32_t attempt, uint64_t seed) {
    const std::vector<uint64_t> keys = {5, 6};
    const train::Supervision supervision = test::TinySupervision();
    const at::Tensor x = test::TinyActivation(1) + 0.1 * test::TinyActivation(seed);
    const std::vector<uint8_t> widths(test::kTinyHidden, 4);
    const train::CodedTensor coded = coder_->EncodeActivation(
        x, supervision.segments, widths,
        quant::SampleContext{supervision.segments, keys, {step, attempt, 0}});
    Message message;
    message.key = {1, step, attempt, 0, Phase::kForward, 0};
    message.micro_batches = 1;
    message.loss_tokens = 5;
    message.tensor = transport::TensorSpec{10, static_cast<uint32_t>(test::kTinyHidden),
                                           DType::kF32, 2, transport::Direction::kForward};
    message.gate.version = 1;
    message.sections = {{SectionKind::kWidths, widths}};
    message.sections.insert(message.sections.end(), coded.sections.begin(), coded.sections.end());
    train::AppendSupervision(supervision, &message.sections);
    return message;
  }
  double Loss(const Message& forward) {
    return std::get<transport::BackwardInfo>(session_->Send(forward).at(0).item).loss_sum;
  }
  // The loss of a later visit when nothing lies between it and a first one.
  double LossUndisturbed() {
    session_->Reopen();
    coder_ = std::make_unique<train::CutCoder>(client::CutOptionsOf(run_.client));
    Loss(Visit(0, 0, 2));
    session_->Send(Commit(0, {false, 1, 0, 1}));
    coder_->KeepSteps(1);
    return Loss(Visit(1, 0, 4));
  }
  void FirstVisitAndAnother() {
    Loss(Visit(0, 0, 2));
    session_->Send(Commit(0, {false, 1, 0, 1}));
    coder_->KeepSteps(1);
    Loss(Visit(1, 0, 3));
    coder_->TakeBackStep(1);
  }

  TinyRun run_;
  std::unique_ptr<ServerSession> session_;
  std::unique_ptr<train::CutCoder> coder_;
};

TEST_F(EngineVisitsTest, AnAbortedAttemptLeavesNoVisit) {
  FirstVisitAndAnother();
  Message abort;
  abort.key = {1, 1, 0, 0, Phase::kAbort, 0};
  abort.item = transport::AbortInfo{"a test"};
  session_->Send(abort);

  const double loss = Loss(Visit(1, 1, 4));

  EXPECT_EQ(loss, LossUndisturbed());
}

TEST_F(EngineVisitsTest, ASkippedStepLeavesNoVisit) {
  FirstVisitAndAnother();
  session_->Send(Commit(1, {true, 0, 0, 1}));

  const double loss = Loss(Visit(2, 0, 4));

  EXPECT_EQ(loss, LossUndisturbed());
}

// Negative control: a server that kept the visit would be seen. Here the step counts there alone.
TEST_F(EngineVisitsTest, AVisitThatOnePartyKeepsIsSeenInTheLoss) {
  FirstVisitAndAnother();
  session_->Send(Commit(1, {false, 1, 0, 1}));

  const double loss = Loss(Visit(2, 0, 4));

  EXPECT_NE(loss, LossUndisturbed());
}

TEST_F(EngineVisitsTest, ADifferenceFromASampleThatWasNeverSentIsRefused) {
  Loss(Visit(0, 0, 2));
  session_->Reopen();

  EXPECT_THROWS(session_->Send(Visit(0, 0, 3)), Code::kDataLoss, "never seen");
}

}  // namespace
}  // namespace amaq::server
