#ifndef AMAQ_TRANSPORT_CLIENT_EXCHANGE_H_
#define AMAQ_TRANSPORT_CLIENT_EXCHANGE_H_

// The client's end of one Exchange call: a send and a receive lane between gRPC and the caller.
// Send and Receive from one thread each, Close from any.

#include <chrono>
#include <memory>
#include <string>

#include "transport/capture.h"
#include "transport/message.h"
#include "transport/traffic.h"

namespace grpc {
class Channel;
}  // namespace grpc

namespace amaq::transport {

class ClientExchange {
 public:
  struct Options {
    std::shared_ptr<grpc::Channel> channel;  // shared: gRPC's own handle
    std::string address;                     // for sentences
    std::string session_id;
    uint32_t epoch = 0;
    uint32_t chunk_bytes = 0;
    uint64_t max_message_bytes = 0;
    size_t queue_messages = 0;
    bool measures_link = false;  // acknowledge messages, measure upload_bytes_per_second
    std::chrono::milliseconds silence_timeout{};
    std::chrono::milliseconds close_timeout{};
    const Capture* capture = nullptr;  // both outlive the exchange
    TrafficMeter* meter = nullptr;
  };

  static std::unique_ptr<ClientExchange> Create(const Options& options);
  virtual ~ClientExchange() = default;  // closes

  // As Link's.
  virtual void Send(Message message) = 0;
  virtual Message Receive() = 0;
  virtual std::optional<double> upload_bytes_per_second() const = 0;
  // What was sent still goes out and the server may end in peace, for close_timeout; then the call
  // is cancelled. Replies not yet received are dropped. Idempotent.
  virtual void Close() = 0;
};

}  // namespace amaq::transport

#endif  // AMAQ_TRANSPORT_CLIENT_EXCHANGE_H_
