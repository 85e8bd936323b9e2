#ifndef AMAQ_TRANSPORT_LINK_RATE_H_
#define AMAQ_TRANSPORT_LINK_RATE_H_

// How fast the other party's end of a link receives: from when each message began to be written and
// when the peer acknowledged it. What was acknowledged between the two is divided by that time,
// from the acknowledgement before the message on, so that acknowledgements that come in a bunch do
// not make the link look fast; of the latest messages the fastest counts, since a busy machine only
// ever makes it look slow. Knows no clock and no gRPC. Thread-safe. Source: the rate sample is that
// of BBR (draft-ietf-ccwg-bbr, "delivery rate samples"); the rest is our choice.

#include <array>
#include <chrono>
#include <cstdint>
#include <deque>
#include <optional>

#include "core/mutex.h"

namespace amaq::transport {

class LinkRate {
 public:
  using Clock = std::chrono::steady_clock;

  // Message `sequence` (ascending) of `bytes` on the wire begins to be written. Before its
  // acknowledgement can come. Only messages that the peer acknowledges when they come: one that
  // waits makes the link look busy while nothing crosses.
  void Sent(uint64_t sequence, uint64_t bytes, Clock::time_point now) AMAQ_EXCLUDES(mutex_);
  // The peer has all messages up to `sequence`. May repeat itself.
  void Acknowledged(uint64_t sequence, Clock::time_point now) AMAQ_EXCLUDES(mutex_);

  // nullopt: nothing of kLeastBytes was acknowledged yet.
  std::optional<double> bytes_per_second() const AMAQ_EXCLUDES(mutex_);

  // Smaller samples tell the link's latency, which is taken off the time of larger ones.
  static constexpr uint64_t kLeastBytes = 16 * 1024;

 private:
  struct Pending {
    uint64_t sequence;
    uint64_t bytes;
    uint64_t delivered_before;
    Clock::time_point since;  // of what was delivered before
  };
  static constexpr size_t kMaxPending = 1024;  // of a peer that acknowledges nothing

  mutable Mutex mutex_;
  std::deque<Pending> pending_ AMAQ_GUARDED_BY(mutex_);
  uint64_t delivered_ AMAQ_GUARDED_BY(mutex_) = 0;
  Clock::time_point delivered_at_ AMAQ_GUARDED_BY(mutex_);
  std::optional<double> latency_ AMAQ_GUARDED_BY(mutex_);       // seconds
  std::array<double, 8> samples_ AMAQ_GUARDED_BY(mutex_) = {};  // bytes a second, in a ring
  size_t num_samples_ AMAQ_GUARDED_BY(mutex_) = 0;
};

}  // namespace amaq::transport

#endif  // AMAQ_TRANSPORT_LINK_RATE_H_
