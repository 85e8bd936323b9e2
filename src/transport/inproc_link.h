#ifndef AMAQ_TRANSPORT_INPROC_LINK_H_
#define AMAQ_TRANSPORT_INPROC_LINK_H_

// A Link to an Endpoint in the same process: messages are moved, nothing is serialized, and the
// traffic is what the same messages would take on a network. The session runs on a lane of its own.

#include <cstddef>
#include <memory>
#include <string>

#include "transport/endpoint.h"
#include "transport/limits.h"
#include "transport/link.h"

namespace amaq::transport {

class InprocLink {
 public:
  struct Options {
    Endpoint* endpoint = nullptr;  // not owned, outlives the link
    uint32_t chunk_bytes = kDefaultChunkBytes;
    // Messages that wait in each direction before Send, or the session's reply, blocks.
    size_t queue_messages = 16;
    std::string capture_dir = {};  // wire.capture_dir; empty: no capture
  };
  static std::unique_ptr<Link> Create(const Options& options);
};

}  // namespace amaq::transport

#endif  // AMAQ_TRANSPORT_INPROC_LINK_H_
