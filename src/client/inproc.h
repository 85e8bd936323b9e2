#ifndef AMAQ_CLIENT_INPROC_H_
#define AMAQ_CLIENT_INPROC_H_

// Both halves in the client's process (server.address: inproc): for debugging and small machines.
// The messages take the same way through the same Link, but no network.

#include <memory>

#include "config/config.h"
#include "transport/endpoint.h"
#include "transport/link.h"

namespace amaq::client {

struct InprocServer {
  std::unique_ptr<transport::Endpoint> endpoint;
  std::unique_ptr<transport::Link> link;  // ends before the endpoint
};

// A server on the client's own model with no limits but the run's own wishes.
InprocServer StartInprocServer(const config::ClientConfig& config);

}  // namespace amaq::client

#endif  // AMAQ_CLIENT_INPROC_H_
