#ifndef AMAQ_TRANSPORT_CONTROL_POOL_H_
#define AMAQ_TRANSPORT_CONTROL_POOL_H_

// A few threads for control calls (Open loads a model, adapter calls wait for a session), so that
// gRPC's own threads never do. Thread-safe.

#include <functional>
#include <thread>
#include <utility>
#include <vector>

#include "core/queue.h"

namespace amaq::transport {

class ControlPool {
 public:
  ControlPool(size_t threads, size_t capacity) : tasks_(capacity) {
    for (size_t i = 0; i < threads; ++i) {
      threads_.emplace_back([this] {
        while (std::optional<std::function<void()>> task = tasks_.Pop()) (*task)();
      });
    }
  }
  ~ControlPool() { Finish(); }
  ControlPool(const ControlPool&) = delete;
  ControlPool& operator=(const ControlPool&) = delete;

  // Never blocks; false when `capacity` tasks wait. The task must not throw.
  bool TryPost(std::function<void()> task) { return tasks_.TryPush(std::move(task)); }
  // The tasks in the queue still run.
  void Finish() {
    tasks_.Close();
    for (std::thread& thread : threads_) {
      if (thread.joinable()) thread.join();
    }
  }

 private:
  BoundedQueue<std::function<void()>> tasks_;
  std::vector<std::thread> threads_;
};

}  // namespace amaq::transport

#endif  // AMAQ_TRANSPORT_CONTROL_POOL_H_
