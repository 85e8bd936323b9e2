#ifndef AMAQ_CORE_ERROR_H_
#define AMAQ_CORE_ERROR_H_

// The one exception type of the project. Its codes are the 17 canonical RPC codes with the same
// numbers, so that transport/status_convert is a table. A message names what was wrong, the value,
// the limit and the key or tensor, as one sentence for a person.
// Bugs are not errors: see check.h. Source: our choice (docs/adr/0003).

#include <exception>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>

namespace amaq {

// Numbers are those of gRPC; never renumber.
enum class Code : int {
  kOk = 0,
  kCancelled = 1,
  kUnknown = 2,
  kInvalidArgument = 3,
  kDeadlineExceeded = 4,
  kNotFound = 5,
  kAlreadyExists = 6,
  kPermissionDenied = 7,
  kResourceExhausted = 8,
  kFailedPrecondition = 9,
  kAborted = 10,
  kOutOfRange = 11,
  kUnimplemented = 12,
  kInternal = 13,
  kUnavailable = 14,
  kDataLoss = 15,
  kUnauthenticated = 16,
};

// "INVALID_ARGUMENT" and so on; "CODE_OUTSIDE_TABLE" for any other number.
std::string_view CodeName(Code code);

class Error : public std::exception {
 public:
  Error(Code code, std::string message) : code_(code), message_(std::move(message)) {}
  Code code() const { return code_; }
  const std::string& message() const { return message_; }
  const char* what() const noexcept override { return message_.c_str(); }

 private:
  Code code_;
  std::string message_;
};

// Concatenates anything that can be streamed: StrCat("lora.r must be in [1, 1024], got ", r).
template <typename... Args>
std::string StrCat(const Args&... args) {
  std::ostringstream out;
  (out << ... << args);
  return std::move(out).str();
}

template <typename... Args>
[[noreturn]] void Throw(Code code, const Args&... args) {
  throw Error(code, StrCat(args...));
}

}  // namespace amaq

#endif  // AMAQ_CORE_ERROR_H_
