#include "client/inproc.h"

#include <limits>

#include "client/settings.h"
#include "server/endpoint.h"
#include "transport/inproc_link.h"

namespace amaq::client {

InprocServer StartInprocServer(const config::ClientConfig& config) {
  config::ServerFileConfig server;
  server.model = config.model;
  server.device = config.device;
  server.limits.max_sessions = 1;
  server.limits.max_tokens = std::numeric_limits<uint32_t>::max();
  server.limits.max_in_flight = std::numeric_limits<uint32_t>::max();
  server.limits.max_rank = std::numeric_limits<uint32_t>::max();
  server.limits.max_cache_bytes = std::numeric_limits<uint64_t>::max();
  server.limits.max_coder_bytes = std::numeric_limits<uint64_t>::max();
  server.limits.dtypes.push_back("fp64");
  InprocServer made;
  made.endpoint = server::MakeEndpoint(server);
  transport::InprocLink::Options options;
  options.endpoint = made.endpoint.get();
  options.chunk_bytes = config.wire.chunk_bytes;
  options.capture_dir = config.wire.capture_dir;
  options.queue_messages = QueueMessages(config);
  made.link = transport::InprocLink::Create(options);
  return made;
}

}  // namespace amaq::client
