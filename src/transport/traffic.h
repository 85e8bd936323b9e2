#ifndef AMAQ_TRANSPORT_TRAFFIC_H_
#define AMAQ_TRANSPORT_TRAFFIC_H_

// Counts a link's bytes as LinkTraffic defines them. Thread-safe: each counter on its own; a
// snapshot taken during a transfer may be between two of them.

#include <atomic>
#include <cstdint>

#include "transport/link.h"
#include "transport/message.h"

namespace amaq::transport {

enum class Way { kUp, kDown };  // client to server, server to client

class TrafficMeter {
 public:
  // Frames of a message: `bytes` includes the 5 bytes of each.
  void CountFrames(Way way, Phase phase, uint64_t bytes) {
    const bool trains = phase >= Phase::kForward && phase <= Phase::kCommitted;
    const bool is_forward = phase == Phase::kForward || phase == Phase::kBasis;
    if (trains || is_forward) (way == Way::kUp ? train_up_ : train_down_) += bytes;
    if (is_forward) forward_ += bytes;
    if (phase == Phase::kBackward) backward_ += bytes;
    total_ += bytes;
  }
  void CountCopied(uint64_t bytes) { copied_ += bytes; }
  void CountControl(uint64_t bytes) { total_ += bytes; }

  LinkTraffic Snapshot() const {
    return {.train_bytes_up = train_up_,
            .train_bytes_down = train_down_,
            .forward_bytes = forward_,
            .backward_bytes = backward_,
            .total_bytes = total_,
            .copied_bytes = copied_};
  }

 private:
  std::atomic<uint64_t> train_up_ = 0;
  std::atomic<uint64_t> train_down_ = 0;
  std::atomic<uint64_t> forward_ = 0;
  std::atomic<uint64_t> backward_ = 0;
  std::atomic<uint64_t> total_ = 0;
  std::atomic<uint64_t> copied_ = 0;
};

}  // namespace amaq::transport

#endif  // AMAQ_TRANSPORT_TRAFFIC_H_
