#ifndef AMAQ_TRANSPORT_EXCHANGE_STREAM_H_
#define AMAQ_TRANSPORT_EXCHANGE_STREAM_H_

// The server's end of one Exchange call: a receive, a compute and a send lane between gRPC and a
// Session. The stream ends with the first error, of either side; replies made before an error of
// the session are sent first. Thread-safe where it says so.

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "transport/endpoint.h"
#include "transport/session_slots.h"

namespace grpc {
class ByteBuffer;
class CallbackServerContext;
template <typename Request, typename Response>
class ServerBidiReactor;
}  // namespace grpc

namespace amaq::transport {

// Initial metadata of Exchange and PutAdapter.
inline constexpr const char kSessionMetadata[] = "amaq-session";
inline constexpr const char kEpochMetadata[] = "amaq-epoch";

struct SessionName {
  std::string session_id;
  uint32_t epoch = 0;
};
// kInvalidArgument when they are missing or malformed.
SessionName ReadSessionName(const grpc::CallbackServerContext& context);

class ExchangeStream {
 public:
  using Clock = std::chrono::steady_clock;
  using Reactor = grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>;

  struct Options {
    Endpoint* endpoint = nullptr;  // outlives the stream, as do the two below
    SessionSlots* slots = nullptr;
    std::function<void(ExchangeStream*)> on_done;  // on a thread of gRPC: hand over, do not destroy
    uint32_t chunk_bytes = 0;
    uint64_t max_message_bytes = 0;
    size_t queue_messages = 0;
    std::chrono::milliseconds progress_interval{};
    std::chrono::milliseconds silence_timeout{};
    std::string capture_dir;
  };

  // The call is begun by Start(), which returns what gRPC wants to have.
  static std::unique_ptr<ExchangeStream> Create(const Options& options,
                                                grpc::CallbackServerContext* context);
  virtual ~ExchangeStream() = default;  // after Join()

  virtual Reactor* Start() = 0;

  // Sends PROGRESS when the session has worked in silence for progress_interval; ends the call when
  // a transfer has not moved for silence_timeout. From one thread at a time.
  virtual void Tick(Clock::time_point now) = 0;

  // The server goes down: finishes the message being worked on, sends its replies, then ends the
  // call with kUnavailable. Does not wait for that. Thread-safe.
  virtual void Stop() = 0;

  // After on_done: ends the lanes and closes the session. Blocks while a message is worked on.
  virtual void Join() = 0;
};

}  // namespace amaq::transport

#endif  // AMAQ_TRANSPORT_EXCHANGE_STREAM_H_
