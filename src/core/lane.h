#ifndef AMAQ_CORE_LANE_H_
#define AMAQ_CORE_LANE_H_

// A lane is one thread that runs a function over the items of a bounded queue, in order. Objects
// that belong to a lane are touched by it alone; hand-over is by moving items. An exception ends
// the lane: it is kept, handed to on_error on the lane's thread, and later items are refused.

#include <exception>
#include <functional>
#include <string>
#include <thread>

#include "core/queue.h"

namespace amaq {

class Lane {
 public:
  using Task = std::function<void()>;
  using OnError = std::function<void(std::exception_ptr)>;

  // `name` shows in debuggers (15 characters are kept).
  Lane(std::string name, size_t capacity, OnError on_error);
  ~Lane();  // drains and joins
  Lane(const Lane&) = delete;
  Lane& operator=(const Lane&) = delete;

  // Blocks while full; false when the lane has ended.
  bool Post(Task task) { return queue_.Push(std::move(task)); }
  // Never blocks; false when full or when the lane has ended.
  bool TryPost(Task task) { return queue_.TryPush(std::move(task)); }
  // No further tasks; the ones in the queue still run. Must not be called on the lane itself.
  void Finish();

 private:
  void Run();

  const std::string name_;
  BoundedQueue<Task> queue_;
  OnError on_error_;
  std::thread thread_;
};

}  // namespace amaq

#endif  // AMAQ_CORE_LANE_H_
