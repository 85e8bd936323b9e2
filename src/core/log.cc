#include "core/log.h"

#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <array>
#include <memory>

namespace amaq {
namespace {

spdlog::level::level_enum Convert(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarning:
      return spdlog::level::warn;
    case LogLevel::kError:
      return spdlog::level::err;
    case LogLevel::kOff:
      break;
  }
  return spdlog::level::off;
}

spdlog::logger& Logger() {
  static const std::shared_ptr<spdlog::logger> logger = [] {
    auto made = std::make_shared<spdlog::logger>(
        "amaq", std::make_shared<spdlog::sinks::stderr_color_sink_mt>());
    made->set_pattern("%H:%M:%S %^%L%$ %v");
    made->flush_on(spdlog::level::info);
    return made;
  }();
  return *logger;
}

}  // namespace

LogLevel ParseLogLevel(std::string_view name) {
  static constexpr std::array<std::string_view, 5> kNames = {"debug", "info", "warning", "error",
                                                             "off"};
  for (size_t i = 0; i < kNames.size(); ++i) {
    if (kNames[i] == name) return static_cast<LogLevel>(i);
  }
  Throw(Code::kInvalidArgument, "log_level is debug, info, warning, error or off, got '", name,
        "'");
}

void SetLogLevel(LogLevel level) { Logger().set_level(Convert(level)); }

bool LogEnabled(LogLevel level) { return Logger().should_log(Convert(level)); }

void LogLine(LogLevel level, std::string_view line) { Logger().log(Convert(level), "{}", line); }

}  // namespace amaq
