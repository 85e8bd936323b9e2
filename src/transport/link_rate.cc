#include "transport/link_rate.h"

#include <algorithm>

namespace amaq::transport {

void LinkRate::Sent(uint64_t sequence, uint64_t bytes, Clock::time_point now) {
  MutexLock lock(mutex_);
  if (pending_.empty()) delivered_at_ = now;
  if (pending_.size() == kMaxPending) pending_.pop_front();
  pending_.push_back({sequence, bytes, delivered_, delivered_at_});
}

void LinkRate::Acknowledged(uint64_t sequence, Clock::time_point now) {
  MutexLock lock(mutex_);
  std::optional<Pending> last;
  while (!pending_.empty() && pending_.front().sequence <= sequence) {
    last = pending_.front();
    delivered_ += last->bytes;
    pending_.pop_front();
  }
  if (!last) return;
  delivered_at_ = now;
  const uint64_t bytes = delivered_ - last->delivered_before;
  const double seconds = std::max(1e-6, std::chrono::duration<double>(now - last->since).count());
  if (bytes < kLeastBytes) {
    latency_ = std::min(latency_.value_or(seconds), seconds);
    return;
  }
  // Latency is the least of many: no more than three quarters of a time can be it.
  const double transfer = seconds - std::min(latency_.value_or(0), 0.75 * seconds);
  samples_[num_samples_++ % samples_.size()] = static_cast<double>(bytes) / transfer;
}

std::optional<double> LinkRate::bytes_per_second() const {
  MutexLock lock(mutex_);
  if (num_samples_ == 0) return std::nullopt;
  return *std::max_element(samples_.begin(), samples_.end());
}

}  // namespace amaq::transport
