// gradient.method: rd at the engine: what its gradients say, and that an attempt or step that does
// not count leaves no trace in those that follow.

#include <gtest/gtest.h>

#include "quant/rd.h"
#include "tests/support/errors.h"
#include "tests/support/server_session.h"

namespace amaq::server {
namespace {

using test::ServerSession;
using test::TinyRun;
using transport::Message;
using transport::Phase;

class EngineRdTest : public ::testing::Test {
 protected:
  EngineRdTest() : run_("engine-rd") {
    run_.client.quant.gradient.method = "rd";
    run_.client.quant.gradient.target_bits = 3;
    session_ = std::make_unique<ServerSession>(run_);
  }

  // The gradient that answers the step's only micro-batch.
  Message Gradient(uint64_t step, uint64_t seed, uint32_t attempt = 0) {
    Message forward = test::RawForward(step, seed);
    forward.key.attempt = attempt;
    return session_->Send(forward).at(0);
  }
  void CommitStep(uint64_t step, bool skip) { session_->Send(test::Commit(step, {skip, 1, 0, 0})); }
  void Abort(uint64_t step) {
    Message abort;
    abort.key = {1, step, 0, 0, Phase::kAbort, 0};
    abort.item = transport::AbortInfo{"a test"};
    session_->Send(abort);
  }
  static Bytes CodesOf(const Message& gradient) {
    const Bytes* codes = FindSection(gradient.sections, SectionKind::kRdCodes);
    EXPECT_NE(codes, nullptr);
    return codes == nullptr ? Bytes() : *codes;
  }

  TinyRun run_;
  std::unique_ptr<ServerSession> session_;
};

TEST_F(EngineRdTest, ARawActivationIsAnsweredCodedNearTheRawGradient) {
  const train::Supervision supervision = test::TinySupervision();
  const train::GradientRows plan =
      train::PlanGradientRows(supervision.segments, supervision.target_rows, 1);
  const auto decode = [&](const Message& message, std::optional<DType> raw_dtype) {
    train::CutCoder coder(client::CutOptionsOf(run_.client));
    return coder.DecodeGradient(message.sections, raw_dtype, plan, 10, {}, test::kTinyHidden,
                                at::kCPU, at::kFloat);
  };
  const Message coded = Gradient(0, 1);
  const float step = quant::RdStepOf(CodesOf(coded)).value();
  run_.client.quant.gradient.method = "same";
  session_ = std::make_unique<ServerSession>(run_);
  const at::Tensor raw = decode(Gradient(0, 1), DType::kF32);
  run_.client.quant.gradient.method = "rd";

  const at::Tensor difference = (decode(coded, {}) - raw).abs();

  EXPECT_GT(difference.max().item<float>(), 0);
  EXPECT_LT(difference.max().item<float>(), 1.001f * step);
}

TEST_F(EngineRdTest, AnAbortedAttemptLeavesNoTrace) {
  Gradient(0, 1);
  CommitStep(0, false);
  Gradient(1, 3);
  Abort(1);
  const Bytes after_abort = CodesOf(Gradient(1, 4, 1));

  session_->Reopen();
  Gradient(0, 1);
  CommitStep(0, false);
  EXPECT_TRUE(CodesOf(Gradient(1, 4)) == after_abort);
}

TEST_F(EngineRdTest, ASkippedStepLeavesNoTrace) {
  const auto third_after = [&](uint64_t seed, bool skip) {
    session_->Reopen();
    Gradient(0, 1);
    CommitStep(0, false);
    Gradient(1, seed);
    CommitStep(1, skip);
    return CodesOf(Gradient(2, 4));
  };
  EXPECT_TRUE(third_after(3, true) == third_after(5, true));
  EXPECT_FALSE(third_after(3, true) == third_after(3, false));  // the negative control
}

}  // namespace
}  // namespace amaq::server
