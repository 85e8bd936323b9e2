#ifndef AMAQ_TRANSPORT_STATUS_CONVERT_H_
#define AMAQ_TRANSPORT_STATUS_CONVERT_H_

// amaq::Error <-> grpc::Status: same codes, same sentence. Pure functions.

#include <string_view>

#include "core/error.h"

namespace grpc {
class Status;
}  // namespace grpc

namespace amaq::transport {

// Sentences above 2 KiB are cut: they travel in a header.
grpc::Status ToStatus(const Error& error);

// Of a status that is not OK. A code outside the table becomes kUnknown.
Error FromStatus(const grpc::Status& status);

// The same for a call to `address`: what gRPC itself says about a lost connection or a passed
// deadline names the peer. A call that we did not cancel and that was cancelled all the same was
// caught by the server's end: kUnavailable.
Error FromCall(const grpc::Status& status, std::string_view call, std::string_view address);

}  // namespace amaq::transport

#endif  // AMAQ_TRANSPORT_STATUS_CONVERT_H_
