#ifndef AMAQ_TRANSPORT_SESSION_SLOTS_H_
#define AMAQ_TRANSPORT_SESSION_SLOTS_H_

// What keeps a session lane-bound although calls for it come on several threads: one slot a
// session, held while it works on a message or an adapter; and at most one exchange at a time.
// Thread-safe.

#include <map>
#include <memory>
#include <string>
#include <utility>

#include "core/mutex.h"

namespace amaq::transport {

class SessionSlot {
 public:
  Mutex& work() { return work_; }

  // False when the session has an exchange.
  bool BeginExchange() AMAQ_EXCLUDES(state_) {
    MutexLock lock(state_);
    return !std::exchange(exchanging_, true);
  }
  void EndExchange() AMAQ_EXCLUDES(state_) {
    MutexLock lock(state_);
    exchanging_ = false;
  }

 private:
  Mutex work_;
  Mutex state_;
  bool exchanging_ AMAQ_GUARDED_BY(state_) = false;
};

class SessionSlots {
 public:
  // Shared by the calls that use the slot; it goes with the last of them.
  std::shared_ptr<SessionSlot> Get(const std::string& session_id) AMAQ_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    std::erase_if(slots_, [](const auto& entry) { return entry.second.expired(); });
    std::weak_ptr<SessionSlot>& entry = slots_[session_id];
    std::shared_ptr<SessionSlot> slot = entry.lock();
    if (slot == nullptr) entry = slot = std::make_shared<SessionSlot>();
    return slot;
  }

 private:
  Mutex mutex_;
  std::map<std::string, std::weak_ptr<SessionSlot>> slots_ AMAQ_GUARDED_BY(mutex_);
};

}  // namespace amaq::transport

#endif  // AMAQ_TRANSPORT_SESSION_SLOTS_H_
