#include "transport/status_convert.h"

#include <grpcpp/support/status.h>

#include <string>

namespace amaq::transport {
namespace {
constexpr size_t kMaxSentence = 2048;
}  // namespace

grpc::Status ToStatus(const Error& error) {
  return {static_cast<grpc::StatusCode>(error.code()), error.message().substr(0, kMaxSentence)};
}

Error FromStatus(const grpc::Status& status) {
  const int code = status.error_code();
  const bool known = code > 0 && code <= static_cast<int>(Code::kUnauthenticated);
  return {known ? static_cast<Code>(code) : Code::kUnknown, status.error_message()};
}

Error FromCall(const grpc::Status& status, std::string_view call, std::string_view address) {
  Error error = FromStatus(status);
  if (error.code() == Code::kCancelled) {
    return {Code::kUnavailable,
            StrCat(call, " with the server at ", address, " ended: the server went away")};
  }
  if (error.code() == Code::kUnavailable || error.code() == Code::kDeadlineExceeded) {
    return {error.code(),
            StrCat(call, " with the server at ", address, " ended: ", error.message())};
  }
  return error;
}

}  // namespace amaq::transport
