#ifndef AMAQ_CORE_CHECK_H_
#define AMAQ_CORE_CHECK_H_

// Checks for bugs of ours. Always on; they print file, line and condition and end the process.
// A check is never reachable from outside input: input errors are amaq::Error (error.h).

namespace amaq {
[[noreturn]] void CheckFailed(const char* file, int line, const char* condition);
}  // namespace amaq

#define AMAQ_CHECK(condition)                              \
  do {                                                     \
    if (!(condition)) [[unlikely]] {                       \
      ::amaq::CheckFailed(__FILE__, __LINE__, #condition); \
    }                                                      \
  } while (false)

#endif  // AMAQ_CORE_CHECK_H_
