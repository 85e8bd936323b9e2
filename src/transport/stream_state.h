#ifndef AMAQ_TRANSPORT_STREAM_STATE_H_
#define AMAQ_TRANSPORT_STREAM_STATE_H_

// The part of a bidirectional stream that has nothing to do with gRPC: one buffer being written and
// one prepared behind it, and the end, which must come after every operation that was started.
// Each method returns what the caller has to start next, so no lock is held while starting it.
// Thread-safe; Offer is for one producer. Both ends of Exchange use it.

#include <optional>
#include <utility>

#include "core/mutex.h"

namespace amaq::transport {

template <typename Buffer>
class StreamState {
 public:
  enum class Next {
    kNothing,
    kWrite,   // start writing current()
    kFinish,  // end the stream: returned once, nothing may be started after it
  };

  // Blocks while another buffer waits. The buffer is dropped once the stream ends.
  Next Offer(Buffer buffer) AMAQ_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    while (waiting_ && !closed_) changed_.Wait(mutex_);
    if (closed_) return Next::kNothing;
    if (writing_) {
      waiting_.emplace(std::move(buffer));
      return Next::kNothing;
    }
    current_ = std::move(buffer);
    writing_ = true;
    return Next::kWrite;
  }

  // The write that was started is over. Not ok: the connection is broken.
  Next Written(bool ok) AMAQ_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    writing_ = false;
    current_ = Buffer();
    if (!ok) {
      closed_ = true;
      waiting_.reset();
    }
    changed_.NotifyAll();
    if (!waiting_) return FinishIfDue();
    current_ = *std::move(waiting_);
    waiting_.reset();
    writing_ = true;
    return Next::kWrite;
  }

  // Around each operation that is started outside a reaction. False: too late, start nothing.
  bool BeginStart() AMAQ_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    if (finished_) return false;
    ++starting_;
    return true;
  }
  Next EndStart() AMAQ_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    --starting_;
    return FinishIfDue();
  }

  // No more buffers; kFinish comes when those that were accepted are written.
  Next Finish() AMAQ_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    return Close();
  }
  // The same without the waiting buffer.
  Next Abandon() AMAQ_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    waiting_.reset();
    return Close();
  }

  // Blocks until nothing is being written or the stream ends.
  void WaitUntilWritten() AMAQ_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    while (writing_ && !closed_) changed_.Wait(mutex_);
  }

  bool is_writing() const AMAQ_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    return writing_;
  }

  // Stays put from kWrite to Written().
  Buffer* current() { return &current_; }

 private:
  Next Close() AMAQ_REQUIRES(mutex_) {
    closed_ = true;
    finishing_ = true;
    changed_.NotifyAll();
    return FinishIfDue();
  }
  Next FinishIfDue() AMAQ_REQUIRES(mutex_) {
    if (!finishing_ || finished_ || writing_ || starting_ > 0) return Next::kNothing;
    finished_ = true;
    return Next::kFinish;
  }

  mutable Mutex mutex_;
  CondVar changed_;
  Buffer current_;  // the writer's while writing_
  std::optional<Buffer> waiting_ AMAQ_GUARDED_BY(mutex_);
  bool writing_ AMAQ_GUARDED_BY(mutex_) = false;
  bool closed_ AMAQ_GUARDED_BY(mutex_) = false;  // no more buffers are taken
  bool finishing_ AMAQ_GUARDED_BY(mutex_) = false;
  bool finished_ AMAQ_GUARDED_BY(mutex_) = false;
  int starting_ AMAQ_GUARDED_BY(mutex_) = 0;
};

}  // namespace amaq::transport

#endif  // AMAQ_TRANSPORT_STREAM_STATE_H_
