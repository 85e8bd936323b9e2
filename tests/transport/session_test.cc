#include "transport/session.h"

#include <gtest/gtest.h>

#include "tests/support/errors.h"

namespace amaq::transport {
namespace {

using Action = Verdict::Action;

Message Make(Phase phase, uint64_t step, uint32_t attempt = 0, uint32_t micro_batch = 0) {
  Message message;
  message.key = {
      .epoch = 1, .step = step, .attempt = attempt, .micro_batch = micro_batch, .phase = phase};
  if (phase == Phase::kForward) {
    message.micro_batches = 2;
    message.loss_tokens = 50;
  }
  if (phase == Phase::kCommit) message.item = CommitInfo{};
  return message;
}

Message ReplyOf(uint64_t step) { return Make(Phase::kCommitted, step); }

// Takes the ledger through a whole step; digests are 10 * step + micro-batch, COMMIT 10 * step + 9.
void RunStep(StepLedger* ledger, uint64_t step) {
  ASSERT_EQ(ledger->Admit(Make(Phase::kForward, step, 0, 0), 10 * step).action, Action::kWork);
  ASSERT_EQ(ledger->Admit(Make(Phase::kForward, step, 0, 1), 10 * step + 1).action, Action::kWork);
  ASSERT_EQ(ledger->Admit(Make(Phase::kCommit, step), 10 * step + 9).action, Action::kWork);
  ledger->Committed(ReplyOf(step));
}

void ExpectRefused(const Verdict& verdict, Code code, const std::string& text) {
  ASSERT_EQ(verdict.action, Action::kRefuse);
  EXPECT_EQ(verdict.code, code);
  EXPECT_NE(verdict.sentence.find(text), std::string::npos) << verdict.sentence;
  EXPECT_THROWS(verdict.OrThrow(), code, text);
}

TEST(StepLedgerTest, CountsStepsThatAreCommitted) {
  StepLedger ledger(1);

  RunStep(&ledger, 0);
  RunStep(&ledger, 1);

  EXPECT_EQ(ledger.step(), 2u);
  EXPECT_EQ(ledger.received(), 0u);
}

TEST(StepLedgerTest, KnowsWhenAllMicroBatchesAreThere) {
  StepLedger ledger(1);
  EXPECT_FALSE(ledger.is_complete());

  ledger.Admit(Make(Phase::kForward, 0, 0, 0), 1);
  EXPECT_FALSE(ledger.is_complete());
  ledger.Admit(Make(Phase::kForward, 0, 0, 1), 2);

  EXPECT_TRUE(ledger.is_complete());
  EXPECT_EQ(ledger.micro_batches(), 2u);
}

TEST(StepLedgerTest, GoesOnFromTheStepOfAResumedSession) {
  StepLedger ledger(1, 7);

  ExpectRefused(ledger.Admit(Make(Phase::kForward, 6), 1), Code::kFailedPrecondition, "committed");
  EXPECT_EQ(ledger.Admit(Make(Phase::kForward, 7), 1).OrThrow(), Action::kWork);
}

TEST(StepLedgerTest, RefusesAnotherEpoch) {
  StepLedger ledger(2);

  ExpectRefused(ledger.Admit(Make(Phase::kForward, 0), 1), Code::kAborted,
                "is of epoch 1, the session is in 2");
}

TEST(StepLedgerTest, RefusesOlderStepsAndGaps) {
  StepLedger ledger(1);
  RunStep(&ledger, 0);

  ExpectRefused(ledger.Admit(Make(Phase::kForward, 0), 0), Code::kFailedPrecondition,
                "of a step that is committed");
  ExpectRefused(ledger.Admit(Make(Phase::kForward, 2), 1), Code::kFailedPrecondition,
                "step 1 is not committed");
  ExpectRefused(ledger.Admit(Make(Phase::kCommit, 2), 1), Code::kFailedPrecondition, "gap");
  EXPECT_EQ(ledger.step(), 1u);
}

TEST(StepLedgerTest, RefusesMicroBatchesOutOfOrder) {
  StepLedger ledger(1);

  ExpectRefused(ledger.Admit(Make(Phase::kForward, 0, 0, 1), 1), Code::kFailedPrecondition,
                "micro-batch 0 is next");
  ExpectRefused(ledger.Admit(Make(Phase::kForward, 0, 0, 2), 1), Code::kInvalidArgument,
                "not one of the 2");
}

TEST(StepLedgerTest, RefusesAStepThatChangesItsSize) {
  StepLedger ledger(1);
  ledger.Admit(Make(Phase::kForward, 0, 0, 0), 1);
  Message more = Make(Phase::kForward, 0, 0, 1);
  more.micro_batches = 3;
  Message tokens = Make(Phase::kForward, 0, 0, 1);
  tokens.loss_tokens = 51;

  ExpectRefused(ledger.Admit(more, 2), Code::kInvalidArgument, "the step began with 2 and 50");
  ExpectRefused(ledger.Admit(tokens, 2), Code::kInvalidArgument, "with 51 supervised tokens");
}

TEST(StepLedgerTest, ARepeatOfAForwardIsNotWorkedOnTwice) {
  StepLedger ledger(1);
  ledger.Admit(Make(Phase::kForward, 0), 5);

  EXPECT_EQ(ledger.Admit(Make(Phase::kForward, 0), 5).OrThrow(), Action::kIgnore);
  EXPECT_EQ(ledger.received(), 1u);
}

TEST(StepLedgerTest, RefusesTheSameNameWithOtherContents) {
  StepLedger ledger(1);
  ledger.Admit(Make(Phase::kForward, 0), 5);

  ExpectRefused(ledger.Admit(Make(Phase::kForward, 0), 6), Code::kFailedPrecondition,
                "received before with other contents");
}

TEST(StepLedgerTest, RefusesACommitBeforeTheLastMicroBatch) {
  StepLedger ledger(1);
  ExpectRefused(ledger.Admit(Make(Phase::kCommit, 0), 9), Code::kFailedPrecondition,
                "after 0 of 0");
  ledger.Admit(Make(Phase::kForward, 0), 1);

  ExpectRefused(ledger.Admit(Make(Phase::kCommit, 0), 9), Code::kFailedPrecondition,
                "after 1 of 2");
}

TEST(StepLedgerTest, RefusesACommitWithoutItsInfo) {
  StepLedger ledger(1);
  ledger.Admit(Make(Phase::kForward, 0, 0, 0), 1);
  ledger.Admit(Make(Phase::kForward, 0, 0, 1), 2);
  Message commit = Make(Phase::kCommit, 0);
  commit.item = std::monostate{};

  ExpectRefused(ledger.Admit(commit, 9), Code::kInvalidArgument, "has no commit info");
}

TEST(StepLedgerTest, ARepeatedCommitGetsTheStoredReplyAndIsNotAppliedAgain) {
  StepLedger ledger(1);
  RunStep(&ledger, 0);

  EXPECT_EQ(ledger.Admit(Make(Phase::kCommit, 0), 9).OrThrow(), Action::kReplay);

  EXPECT_EQ(ledger.last_reply().key, ReplyOf(0).key);
  EXPECT_EQ(ledger.step(), 1u);
}

TEST(StepLedgerTest, ARepeatedCommitWithOtherContentsIsRefused) {
  StepLedger ledger(1);
  RunStep(&ledger, 0);

  ExpectRefused(ledger.Admit(Make(Phase::kCommit, 0), 8), Code::kFailedPrecondition,
                "other contents");
}

TEST(StepLedgerTest, ACommitOfTheStepBeforeTheLastIsRefused) {
  StepLedger ledger(1);
  RunStep(&ledger, 0);
  RunStep(&ledger, 1);

  ExpectRefused(ledger.Admit(Make(Phase::kCommit, 0), 9), Code::kFailedPrecondition, "committed");
}

TEST(StepLedgerTest, ACommitUnderWayLetsNothingElseIn) {
  StepLedger ledger(1);
  ledger.Admit(Make(Phase::kForward, 0, 0, 0), 1);
  ledger.Admit(Make(Phase::kForward, 0, 0, 1), 2);
  ledger.Admit(Make(Phase::kCommit, 0), 9);

  EXPECT_EQ(ledger.Admit(Make(Phase::kCommit, 0), 9).OrThrow(), Action::kIgnore);
  ExpectRefused(ledger.Admit(Make(Phase::kForward, 1), 1), Code::kFailedPrecondition,
                "before step 0 was committed");
  ExpectRefused(ledger.Admit(Make(Phase::kAbort, 0), 1), Code::kFailedPrecondition,
                "before step 0 was committed");
}

TEST(StepLedgerTest, AnAbortBeginsTheNextAttempt) {
  StepLedger ledger(1);
  ledger.Admit(Make(Phase::kForward, 0), 5);

  EXPECT_EQ(ledger.Admit(Make(Phase::kAbort, 0, 0), 3).OrThrow(), Action::kWork);

  EXPECT_EQ(ledger.attempt(), 1u);
  EXPECT_EQ(ledger.received(), 0u);
  Message three = Make(Phase::kForward, 0, 1);
  three.micro_batches = 3;  // another attempt may be cut otherwise
  EXPECT_EQ(ledger.Admit(three, 6).OrThrow(), Action::kWork);
}

TEST(StepLedgerTest, RefusesStaleAndFutureAttempts) {
  StepLedger ledger(1);
  ledger.Admit(Make(Phase::kAbort, 0, 0), 3);

  ExpectRefused(ledger.Admit(Make(Phase::kForward, 0, 0), 5), Code::kAborted,
                "stale: the step is in attempt 1");
  ExpectRefused(ledger.Admit(Make(Phase::kForward, 0, 2), 5), Code::kFailedPrecondition,
                "attempt 1 was not aborted");
}

TEST(StepLedgerTest, ARepeatedAbortDoesNotBeginAnotherAttempt) {
  StepLedger ledger(1);
  ledger.Admit(Make(Phase::kAbort, 0, 0), 3);

  EXPECT_EQ(ledger.Admit(Make(Phase::kAbort, 0, 0), 3).OrThrow(), Action::kIgnore);
  ExpectRefused(ledger.Admit(Make(Phase::kAbort, 0, 0), 4), Code::kAborted, "stale");

  EXPECT_EQ(ledger.attempt(), 1u);
}

TEST(StepLedgerTest, TheNextStepBeginsWithAttemptZero) {
  StepLedger ledger(1);
  ledger.Admit(Make(Phase::kAbort, 0, 0), 3);
  ledger.Admit(Make(Phase::kForward, 0, 1, 0), 1);
  ledger.Admit(Make(Phase::kForward, 0, 1, 1), 2);
  ledger.Admit(Make(Phase::kCommit, 0, 1), 9);
  ledger.Committed(ReplyOf(0));

  EXPECT_EQ(ledger.Admit(Make(Phase::kForward, 1, 0, 0), 1).OrThrow(), Action::kWork);
}

TEST(StepLedgerTest, EvaluationAndDecodingChangeNothing) {
  StepLedger ledger(1);
  ledger.Admit(Make(Phase::kForward, 0), 5);
  Message evaluate = Make(Phase::kEvaluate, 0);
  ExpectRefused(ledger.Admit(evaluate, 1), Code::kInvalidArgument, "needs a request id");
  evaluate.key.request_id = 4;

  EXPECT_EQ(ledger.Admit(evaluate, 1).OrThrow(), Action::kWork);

  EXPECT_EQ(ledger.received(), 1u);
  EXPECT_EQ(ledger.Admit(Make(Phase::kForward, 0, 0, 1), 6).OrThrow(), Action::kWork);
}

TEST(StepLedgerTest, RefusesPhasesThatOnlyAServerSends) {
  StepLedger ledger(1);

  for (const Phase phase : {Phase::kBackward, Phase::kNorm, Phase::kCommitted, Phase::kProgress}) {
    ExpectRefused(ledger.Admit(Make(phase, 0), 1), Code::kInvalidArgument,
                  "a client does not send");
  }
}

}  // namespace
}  // namespace amaq::transport
