#ifndef AMAQ_TRANSPORT_GRPC_SERVICE_H_
#define AMAQ_TRANSPORT_GRPC_SERVICE_H_

// An Endpoint served over gRPC: split_learning.proto and grpc.health.v1.Health (service name
// amaq.v1.SplitLearning). A bad call ends that call with a status and nothing else. When an
// exchange ends, for whatever reason, its session is closed: there is no resume yet.
// Thread-safe. Source: design "The wire", sections 1, 2, 5 and 7.

#include <chrono>
#include <memory>
#include <string>

#include "transport/endpoint.h"
#include "transport/limits.h"

namespace amaq::transport {

class GrpcServer {
 public:
  struct Options {
    std::string listen = "127.0.0.1:0";  // host:port; port 0 takes a free one
    Endpoint* endpoint = nullptr;        // not owned, outlives the server
    bool allow_plaintext = false;        // security.allow_plaintext: other than loopback
    uint32_t chunk_bytes = kDefaultChunkBytes;
    uint64_t max_message_bytes = kDefaultMaxMessageBytes;
    uint64_t max_adapter_bytes = kDefaultMaxAdapterBytes;
    size_t queue_messages = 16;  // between two lanes of an exchange
    // A session that works longer than this in silence is reported by PROGRESS.
    std::chrono::milliseconds progress_interval{5000};
    // A message that stops moving half-way for so long ends its exchange.
    std::chrono::milliseconds silence_timeout{60000};
    // For messages under work when the server goes down.
    std::chrono::milliseconds drain_timeout{10000};
    // Keepalive, a pair with GrpcClientLink::Options::ping_interval, which must be longer.
    std::chrono::milliseconds min_ping_interval{15000};
    std::string capture_dir = {};  // wire.capture_dir; a folder a session inside; empty: no capture
  };

  // Listens when it returns. kFailedPrecondition for an address beyond loopback without
  // allow_plaintext, kUnavailable when the address cannot be had.
  static std::unique_ptr<GrpcServer> Create(const Options& options);
  virtual ~GrpcServer() = default;  // shuts down

  virtual int port() const = 0;
  // Refuses new calls, lets messages under work end within drain_timeout, cancels the rest (their
  // clients get kUnavailable), returns when everything has ended. Idempotent.
  virtual void Shutdown() = 0;
};

// Whether the host of "host:port" can be reached from this machine only.
bool IsLoopback(const std::string& address);

}  // namespace amaq::transport

#endif  // AMAQ_TRANSPORT_GRPC_SERVICE_H_
