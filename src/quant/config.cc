#include "quant/config.h"

#include <array>
#include <utility>

namespace amaq::quant {
namespace {

constexpr std::array<std::pair<Method, std::string_view>, 5> kMethods = {
    {{Method::kNone, "none"},
     {Method::kFixed, "fixed"},
     {Method::kLinear, "linear"},
     {Method::kWaterfill, "waterfill"},
     {Method::kAmaq, "amaq"}}};

}  // namespace

std::string_view MethodName(Method method) {
  for (const auto& [value, name] : kMethods) {
    if (value == method) return name;
  }
  return "method outside the table";
}

std::optional<Method> ParseMethod(std::string_view name) {
  for (const auto& [value, known] : kMethods) {
    if (known == name) return value;
  }
  return std::nullopt;
}

}  // namespace amaq::quant
