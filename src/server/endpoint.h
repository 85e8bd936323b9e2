#ifndef AMAQ_SERVER_ENDPOINT_H_
#define AMAQ_SERVER_ENDPOINT_H_

// What a server offers behind any transport: opens sessions on its model within the limits of its
// config, finds and closes them. Knows no network. Thread-safe.

#include <memory>

#include "config/config.h"
#include "transport/endpoint.h"

namespace amaq::server {

// Opens the model (memory-mapped); a session's half is loaded when its Open names the cut.
// Errors: those of models::OpenModel.
std::unique_ptr<transport::Endpoint> MakeEndpoint(const config::ServerFileConfig& config);

}  // namespace amaq::server

#endif  // AMAQ_SERVER_ENDPOINT_H_
