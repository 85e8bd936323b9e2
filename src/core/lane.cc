#include "core/lane.h"

#include <pthread.h>

namespace amaq {

Lane::Lane(std::string name, size_t capacity, OnError on_error)
    : name_(std::move(name)),
      queue_(capacity),
      on_error_(std::move(on_error)),
      thread_([this] { Run(); }) {}

Lane::~Lane() { Finish(); }

void Lane::Finish() {
  queue_.Close();
  if (thread_.joinable()) thread_.join();
}

void Lane::Run() {
  pthread_setname_np(pthread_self(), name_.substr(0, 15).c_str());
  while (std::optional<Task> task = queue_.Pop()) {
    try {
      (*task)();
    } catch (...) {
      queue_.Close();
      on_error_(std::current_exception());
      return;
    }
  }
}

}  // namespace amaq
