#ifndef AMAQ_TRANSPORT_LINK_H_
#define AMAQ_TRANSPORT_LINK_H_

// The client's end of a session: control calls and one bidirectional exchange of messages. Two
// implementations: grpc_client_link (a network) and inproc_link (both halves in one process); one
// contract suite runs on both. Not a retry layer: a broken link is an Error, kUnavailable.
// Thread-safety: Send and Receive may be called from two different threads, each from one only;
// control calls from any thread.

#include <chrono>
#include <cstdint>
#include <optional>

#include "core/section.h"
#include "transport/message.h"
#include "transport/open.h"

namespace amaq::transport {

// Serialized frames + 5 bytes each (gRPC's own prefix), counted where they are made or arrive.
struct LinkTraffic {
  uint64_t train_bytes_up = 0;  // phases FORWARD to COMMITTED, and BASIS
  uint64_t train_bytes_down = 0;
  uint64_t forward_bytes = 0;   // of FORWARD and BASIS messages
  uint64_t backward_bytes = 0;  // of BACKWARD messages alone
  uint64_t total_bytes = 0;     // everything on the connection, adapters and control calls included
  uint64_t copied_bytes = 0;    // payload bytes of messages that this end of the link copied
};

class Link {
 public:
  virtual ~Link() = default;

  // Once, first. kUnavailable after the connect time-out names the address and the time tried;
  // a refusal of the server arrives as the server's own code and sentence.
  virtual OpenReply Open(const OpenRequest& request) = 0;

  // Blocks while the send queue is full. Throws once the exchange has ended.
  virtual void Send(Message message) = 0;
  // Blocks until the next message. kUnavailable when the exchange ended, kDeadlineExceeded after
  // `silence_timeout` without a byte. PROGRESS messages are consumed here and not returned.
  virtual Message Receive() = 0;

  // The server's half of an adapter as the bytes of a safetensors file.
  virtual void PutAdapter(ByteSpan adapter) = 0;
  virtual Bytes FetchAdapter() = 0;

  // Ends the session; the server frees its memory. Idempotent.
  virtual void Close() = 0;

  virtual LinkTraffic traffic() const = 0;

  // What the way to the server carries, as its acknowledgements tell; nullopt: not measured (yet),
  // or there is no way.
  virtual std::optional<double> upload_bytes_per_second() const { return std::nullopt; }
};

}  // namespace amaq::transport

#endif  // AMAQ_TRANSPORT_LINK_H_
