#include "core/parallel.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <system_error>
#include <thread>
#include <vector>

#include "core/mutex.h"

namespace amaq {
namespace {

class Loop {
 public:
  Loop(size_t count, const std::function<void(size_t)>& body)
      : count_(count), body_(body), failed_(count) {}

  // Takes turns until none is left.
  void Work() AMAQ_EXCLUDES(mutex_) {
    for (size_t turn = next_++; turn < count_; turn = next_++) {
      try {
        body_(turn);
      } catch (...) {
        next_ = count_;  // all turns below this one have been taken
        MutexLock lock(mutex_);
        if (turn > failed_) continue;
        failed_ = turn;
        error_ = std::current_exception();
      }
    }
  }
  void Rethrow() AMAQ_EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    if (error_) std::rethrow_exception(error_);
  }

 private:
  const size_t count_;
  const std::function<void(size_t)>& body_;
  std::atomic<size_t> next_{0};
  Mutex mutex_;
  size_t failed_ AMAQ_GUARDED_BY(mutex_);  // the lowest turn that threw
  std::exception_ptr error_ AMAQ_GUARDED_BY(mutex_);
};

}  // namespace

void ParallelFor(size_t count, size_t max_threads, const std::function<void(size_t)>& body) {
  const size_t threads = std::min(count, max_threads);
  if (threads <= 1) {
    for (size_t turn = 0; turn < count; ++turn) body(turn);
    return;
  }
  Loop loop(count, body);
  {
    std::vector<std::jthread> others;
    others.reserve(threads - 1);
    try {
      while (others.size() + 1 < threads) others.emplace_back([&loop] { loop.Work(); });
    } catch (const std::system_error&) {
      // No thread is to be had: those that are there do the work.
    }
    loop.Work();
  }
  loop.Rethrow();
}

}  // namespace amaq
