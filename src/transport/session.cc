#include "transport/session.h"

#include <utility>

#include "core/check.h"

namespace amaq::transport {
namespace {

template <typename... Args>
Verdict Refuse(Code code, const Args&... args) {
  return {Verdict::Action::kRefuse, code, StrCat(args...)};
}

}  // namespace

Verdict::Action Verdict::OrThrow() const {
  if (action == Action::kRefuse) throw Error(code, sentence);
  return action;
}

Verdict StepLedger::Admit(const Message& message, uint64_t digest) {
  const MessageKey& key = message.key;
  if (key.epoch != epoch_) {
    return Refuse(Code::kAborted, ToString(key), " is of epoch ", key.epoch, ", the session is in ",
                  epoch_);
  }
  switch (key.phase) {
    case Phase::kForward:
      return Forward(message, digest);
    case Phase::kCommit:
      return Commit(message, digest);
    case Phase::kAbort:
      return Abort(message, digest);
    case Phase::kBasis:
      return Basis(key);
    case Phase::kEvaluate:
    case Phase::kDecode:
      if (key.request_id == 0) {
        return Refuse(Code::kInvalidArgument, PhaseName(key.phase), " needs a request id");
      }
      return {};
    default:
      return Refuse(Code::kInvalidArgument, "a client does not send ", PhaseName(key.phase));
  }
}

// Step and attempt must be the current ones.
Verdict StepLedger::CheckPlace(const MessageKey& key) const {
  if (committing_) {
    return Refuse(Code::kFailedPrecondition, ToString(key), " came before step ", step_,
                  " was committed");
  }
  if (key.step < step_) {
    return Refuse(Code::kFailedPrecondition, ToString(key),
                  " is of a step that is committed: ", step_, " steps are");
  }
  if (key.step > step_) {
    return Refuse(Code::kFailedPrecondition, ToString(key), " leaves a gap: step ", step_,
                  " is not committed");
  }
  if (key.attempt < attempt_) {
    return Refuse(Code::kAborted, ToString(key), " is stale: the step is in attempt ", attempt_);
  }
  if (key.attempt > attempt_) {
    return Refuse(Code::kFailedPrecondition, ToString(key), " leaves a gap: attempt ", attempt_,
                  " was not aborted");
  }
  return {};
}

Verdict StepLedger::Forward(const Message& message, uint64_t digest) {
  const MessageKey& key = message.key;
  if (Verdict place = CheckPlace(key); place.action == Verdict::Action::kRefuse) return place;
  if (key.micro_batch < received()) {
    if (forwards_[key.micro_batch] == digest) return {Verdict::Action::kIgnore, Code::kOk, ""};
    return Refuse(Code::kFailedPrecondition, ToString(key),
                  " was received before with other contents");
  }
  if (message.micro_batches == 0 || key.micro_batch >= message.micro_batches) {
    return Refuse(Code::kInvalidArgument, ToString(key), " is not one of the ",
                  message.micro_batches, " micro-batches that it announces");
  }
  if (key.micro_batch > received()) {
    return Refuse(Code::kFailedPrecondition, ToString(key), " came out of order: micro-batch ",
                  received(), " is next");
  }
  if (received() > 0 &&
      (message.micro_batches != micro_batches_ || message.loss_tokens != loss_tokens_)) {
    return Refuse(Code::kInvalidArgument, ToString(key), " announces ", message.micro_batches,
                  " micro-batches with ", message.loss_tokens,
                  " supervised tokens, the step began with ", micro_batches_, " and ",
                  loss_tokens_);
  }
  micro_batches_ = message.micro_batches;
  loss_tokens_ = message.loss_tokens;
  forwards_.push_back(digest);
  return {};
}

Verdict StepLedger::Commit(const Message& message, uint64_t digest) {
  const MessageKey& key = message.key;
  if (key == commit_key_) {
    if (digest != commit_digest_) {
      return Refuse(Code::kFailedPrecondition, ToString(key),
                    " was received before with other contents");
    }
    return {committing_ ? Verdict::Action::kIgnore : Verdict::Action::kReplay, Code::kOk, ""};
  }
  if (Verdict place = CheckPlace(key); place.action == Verdict::Action::kRefuse) return place;
  if (!is_complete()) {
    return Refuse(Code::kFailedPrecondition, ToString(key), " came after ", received(), " of ",
                  micro_batches_, " micro-batches");
  }
  if (!std::holds_alternative<CommitInfo>(message.item)) {
    return Refuse(Code::kInvalidArgument, ToString(key), " has no commit info");
  }
  committing_ = true;
  commit_key_ = key;
  commit_digest_ = digest;
  return {};
}

Verdict StepLedger::Abort(const Message& message, uint64_t digest) {
  const MessageKey& key = message.key;
  if (!committing_ && key.step == step_ && attempt_ > 0 && key.attempt == attempt_ - 1) {
    if (digest == abort_digest_) return {Verdict::Action::kIgnore, Code::kOk, ""};
  }
  if (Verdict place = CheckPlace(key); place.action == Verdict::Action::kRefuse) return place;
  ++attempt_;
  abort_digest_ = digest;
  micro_batches_ = 0;
  loss_tokens_ = 0;
  forwards_.clear();
  return {};
}

Verdict StepLedger::Basis(const MessageKey& key) const {
  if (Verdict place = CheckPlace(key); place.action == Verdict::Action::kRefuse) return place;
  if (step_ == 0 && received() == 0) return {};
  return Refuse(Code::kFailedPrecondition, ToString(key), " came after the first FORWARD");
}

void StepLedger::Committed(Message reply) {
  AMAQ_CHECK(committing_);
  committing_ = false;
  ++step_;
  attempt_ = 0;
  micro_batches_ = 0;
  loss_tokens_ = 0;
  forwards_.clear();
  last_reply_ = std::move(reply);
}

}  // namespace amaq::transport
