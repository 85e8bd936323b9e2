#include "quant/config.h"

#include <array>
#include <utility>

namespace amaq::quant {
namespace {

constexpr std::array<std::pair<Method, std::string_view>, 10> kMethods = {
    {{Method::kNone, "none"},
     {Method::kFixed, "fixed"},
     {Method::kLinear, "linear"},
     {Method::kWaterfill, "waterfill"},
     {Method::kAmaq, "amaq"},
     {Method::kGroup, "group"},
     {Method::kAqsgd, "aqsgd"},
     {Method::kTahquant, "tahquant"},
     {Method::kAmaqDelta, "amaq-delta"},
     {Method::kAmaqRd, "amaq-rd"}}};

constexpr std::array<std::pair<Transform, std::string_view>, 3> kTransforms = {
    {{Transform::kNone, "none"}, {Transform::kEigen, "eigen"}, {Transform::kHadamard, "hadamard"}}};

template <typename Value, size_t count>
std::string_view NameOf(const std::array<std::pair<Value, std::string_view>, count>& table,
                        Value wanted, std::string_view otherwise) {
  for (const auto& [value, name] : table) {
    if (value == wanted) return name;
  }
  return otherwise;
}

template <typename Value, size_t count>
std::optional<Value> Find(const std::array<std::pair<Value, std::string_view>, count>& table,
                          std::string_view name) {
  for (const auto& [value, known] : table) {
    if (known == name) return value;
  }
  return std::nullopt;
}

}  // namespace

std::optional<Range> ParseRange(std::string_view name) {
  static constexpr std::array<std::pair<Range, std::string_view>, 5> kRanges = {
      {{Range::kMinMax, "minmax"},
       {Range::kAbsMax, "absmax"},
       {Range::kPercentile, "percentile"},
       {Range::kMae, "mae"},
       {Range::kDelayed, "delayed"}}};
  return Find(kRanges, name);
}

std::optional<Axis> ParseAxis(std::string_view name) {
  static constexpr std::array<std::pair<Axis, std::string_view>, 2> kAxes = {
      {{Axis::kChannel, "channel"}, {Axis::kToken, "token"}}};
  return Find(kAxes, name);
}

std::optional<TargetSchedule> ParseSchedule(std::string_view name) {
  static constexpr std::array<std::pair<TargetSchedule, std::string_view>, 3> kSchedules = {
      {{TargetSchedule::kCosine, "cosine"},
       {TargetSchedule::kLinear, "linear"},
       {TargetSchedule::kConstant, "constant"}}};
  return Find(kSchedules, name);
}

std::string_view TransformName(Transform transform) {
  return NameOf(kTransforms, transform, "transform outside the table");
}

std::optional<Transform> ParseTransform(std::string_view name) { return Find(kTransforms, name); }

std::string_view MethodName(Method method) {
  return NameOf(kMethods, method, "method outside the table");
}

std::optional<Method> ParseMethod(std::string_view name) { return Find(kMethods, name); }

}  // namespace amaq::quant
