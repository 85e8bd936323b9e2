#ifndef AMAQ_CORE_QUEUE_H_
#define AMAQ_CORE_QUEUE_H_

// A bounded first-in first-out queue between two lanes. Thread-safe. Close() lets the consumer
// drain what is in and then get nullopt; a producer's Push returns false from then on.

#include <chrono>
#include <cstddef>
#include <deque>
#include <optional>
#include <utility>

#include "core/mutex.h"

namespace amaq {

template <typename T>
class BoundedQueue {
 public:
  explicit BoundedQueue(size_t capacity) : capacity_(capacity) {}
  BoundedQueue(const BoundedQueue&) = delete;
  BoundedQueue& operator=(const BoundedQueue&) = delete;

  // Blocks while full. False (and the item is dropped) when closed.
  bool Push(T item) AMAQ_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    while (items_.size() >= capacity_ && !closed_) not_full_.Wait(mutex_);
    if (closed_) return false;
    items_.push_back(std::move(item));
    not_empty_.NotifyOne();
    return true;
  }

  // Never blocks: for callbacks that must not. False when closed or full.
  bool TryPush(T item) AMAQ_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    if (closed_ || items_.size() >= capacity_) return false;
    items_.push_back(std::move(item));
    not_empty_.NotifyOne();
    return true;
  }

  // Blocks while empty. nullopt when closed and drained.
  std::optional<T> Pop() AMAQ_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    while (items_.empty() && !closed_) not_empty_.Wait(mutex_);
    return TakeFront();
  }

  // nullopt when nothing came within `timeout` or the queue is closed and drained: see closed().
  std::optional<T> PopFor(std::chrono::milliseconds timeout) AMAQ_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    const auto deadline = std::chrono::steady_clock::now() + timeout;
    while (items_.empty() && !closed_) {
      const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
          deadline - std::chrono::steady_clock::now());
      if (left.count() <= 0 || !not_empty_.WaitFor(mutex_, left)) break;
    }
    return TakeFront();
  }

  void Close() AMAQ_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    closed_ = true;
    not_empty_.NotifyAll();
    not_full_.NotifyAll();
  }

  bool closed() const AMAQ_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    return closed_;
  }

  size_t size() const AMAQ_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    return items_.size();
  }

 private:
  std::optional<T> TakeFront() AMAQ_REQUIRES(mutex_) {
    if (items_.empty()) return std::nullopt;
    std::optional<T> item(std::move(items_.front()));
    items_.pop_front();
    not_full_.NotifyOne();
    return item;
  }

  const size_t capacity_;
  mutable Mutex mutex_;
  CondVar not_empty_;
  CondVar not_full_;
  std::deque<T> items_ AMAQ_GUARDED_BY(mutex_);
  bool closed_ AMAQ_GUARDED_BY(mutex_) = false;
};

}  // namespace amaq

#endif  // AMAQ_CORE_QUEUE_H_
