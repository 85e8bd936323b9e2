#ifndef AMAQ_TRANSPORT_GRPC_CLIENT_LINK_H_
#define AMAQ_TRANSPORT_GRPC_CLIENT_LINK_H_

// A Link to a GrpcServer. Control calls and the exchange use a connection each, so that bulk data
// does not delay control. Close never throws: a session that cannot be told ends at the server with
// its exchange. Source: design "The wire", sections 1, 2 and 5.

#include <chrono>
#include <memory>
#include <string>

#include "transport/limits.h"
#include "transport/link.h"

namespace amaq::transport {

class GrpcClientLink {
 public:
  struct Options {
    std::string address;  // host:port
    std::chrono::milliseconds connect_timeout{20000};
    // Without a whole chunk in either direction, the server's PROGRESS included. On a link slower
    // than wire.chunk_bytes in this time, make the chunks smaller.
    std::chrono::milliseconds silence_timeout{60000};
    std::chrono::milliseconds control_timeout{
        600000};                                    // of Open, in which the server loads a model
    std::chrono::milliseconds close_timeout{5000};  // for an orderly end
    // Keepalive, a pair with GrpcServer::Options::min_ping_interval, which must be shorter.
    std::chrono::milliseconds ping_interval{30000};
    uint32_t chunk_bytes = kDefaultChunkBytes;
    uint64_t max_message_bytes = kDefaultMaxMessageBytes;
    uint64_t max_adapter_bytes = kDefaultMaxAdapterBytes;
    size_t queue_messages = 16;    // in each direction; a window above it needs two threads
    bool measures_link = false;    // wire.entropy auto: see Link::upload_bytes_per_second
    std::string capture_dir = {};  // wire.capture_dir; empty: no capture
  };
  static std::unique_ptr<Link> Create(const Options& options);
};

}  // namespace amaq::transport

#endif  // AMAQ_TRANSPORT_GRPC_CLIENT_LINK_H_
