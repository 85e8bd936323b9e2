#ifndef AMAQ_TRANSPORT_SESSION_H_
#define AMAQ_TRANSPORT_SESSION_H_

// Exactly once, the server's side: says what to do with each message of a client, so that nothing
// is applied twice and nothing is skipped. A pure state machine: no threads, no time, no I/O; it
// counts steps and knows messages by key and digest, never by content. Lane-bound.
// Source: design "The wire", sections 4 and 5 (our choice).
//
//   StepLedger ledger(epoch);
//   if (ledger.Admit(message, MessageDigest(message)).OrThrow() == Verdict::Action::kReplay) {
//     return reply(ledger.last_reply());
//   }

#include <cstdint>
#include <string>
#include <vector>

#include "core/error.h"
#include "transport/message.h"

namespace amaq::transport {

struct Verdict {
  enum class Action {
    kWork,    // do what the message says
    kReplay,  // a COMMIT that was applied: send last_reply() again
    kIgnore,  // a repeat whose reply is under way or was sent on this stream
    kRefuse,  // end the exchange with `code` and `sentence`
  };
  Action action = Action::kWork;
  Code code = Code::kOk;
  std::string sentence;

  Action OrThrow() const;  // the action; throws Error when it is kRefuse
};

class StepLedger {
 public:
  // A session that has applied `committed_steps` steps (SKIPs included) and now speaks in `epoch`.
  explicit StepLedger(uint32_t epoch, uint64_t committed_steps = 0)
      : epoch_(epoch), step_(committed_steps) {}

  // `digest` is MessageDigest(message). State changes only with kWork.
  //   FORWARD   step, attempt: the current ones; micro-batches in order, from 0
  //   COMMIT    after all of the step's micro-batches, once
  //   ABORT     of the current attempt: the next one starts with micro-batch 0
  //   BASIS     before the first FORWARD of the run
  //   EVALUATE, DECODE   any time; they need a request id
  Verdict Admit(const Message& message, uint64_t digest);

  // After the COMMIT that Admit let in was applied: the step counts. Keeps `reply`.
  void Committed(Message reply);

  const Message& last_reply() const { return last_reply_; }
  uint64_t step() const { return step_; }  // the one under way = number of steps applied
  uint32_t attempt() const { return attempt_; }
  uint32_t micro_batches() const {
    return micro_batches_;
  }  // announced; 0 before the first FORWARD
  uint32_t received() const { return static_cast<uint32_t>(forwards_.size()); }
  bool is_complete() const { return micro_batches_ > 0 && received() == micro_batches_; }

 private:
  Verdict Forward(const Message& message, uint64_t digest);
  Verdict Commit(const Message& message, uint64_t digest);
  Verdict Abort(const Message& message, uint64_t digest);
  Verdict Basis(const MessageKey& key) const;
  Verdict CheckPlace(const MessageKey& key) const;

  const uint32_t epoch_;
  uint64_t step_;
  uint32_t attempt_ = 0;
  uint32_t micro_batches_ = 0;
  uint64_t loss_tokens_ = 0;
  std::vector<uint64_t> forwards_;  // digests, by micro-batch
  bool committing_ = false;
  MessageKey commit_key_;  // of the COMMIT under way or last applied
  uint64_t commit_digest_ = 0;
  uint64_t abort_digest_ = 0;  // of the ABORT that began this attempt
  Message last_reply_;
};

}  // namespace amaq::transport

#endif  // AMAQ_TRANSPORT_SESSION_H_
