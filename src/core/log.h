#ifndef AMAQ_CORE_LOG_H_
#define AMAQ_CORE_LOG_H_

// Log lines for people, on standard error. Library code logs through these and prints nowhere else.
// Thread-safe. SetLogLevel is called by main only.

#include <string>
#include <string_view>

#include "core/error.h"

namespace amaq {

enum class LogLevel { kDebug, kInfo, kWarning, kError, kOff };

// "debug", "info", "warning", "error" or "off". Errors: kInvalidArgument.
LogLevel ParseLogLevel(std::string_view name);
void SetLogLevel(LogLevel level);
bool LogEnabled(LogLevel level);
void LogLine(LogLevel level, std::string_view line);

}  // namespace amaq

#define AMAQ_LOG(level, ...)                                                 \
  do {                                                                       \
    if (::amaq::LogEnabled(::amaq::LogLevel::level)) {                       \
      ::amaq::LogLine(::amaq::LogLevel::level, ::amaq::StrCat(__VA_ARGS__)); \
    }                                                                        \
  } while (false)

#endif  // AMAQ_CORE_LOG_H_
