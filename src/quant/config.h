#ifndef AMAQ_QUANT_CONFIG_H_
#define AMAQ_QUANT_CONFIG_H_

// How a tensor that crosses the cut is coded: the quantizer's own options. Value types.
// Source: AMAQ (arXiv 2510.05468) for the gate's formula and the falling target; the rest is our
// choice (docs/formats/octet.md, docs/architecture.md).

#include <cstdint>
#include <optional>
#include <string_view>

#include "core/dtype.h"

namespace amaq::quant {

enum class Method : uint32_t {
  kNone = 1,
  kFixed = 2,
  kLinear = 3,
  kWaterfill = 4,
  kAmaq = 5,
  kGroup = 6,
  kAqsgd = 7,
  kTahquant = 8,
  kAmaqDelta = 9,
  kAmaqRd = 10,
};
enum class Range : uint32_t { kMinMax = 1, kAbsMax = 2, kPercentile = 3, kMae = 4, kDelayed = 5 };
// What a width belongs to: a channel, or a token's position in its sequence (token_axis.h).
enum class Axis : uint32_t { kChannel = 1, kToken = 2 };
enum class Rounding : uint32_t { kNearestEven = 1, kStochastic = 2 };
enum class TargetSchedule : uint32_t { kCosine = 1, kLinear = 2, kConstant = 3 };
enum class GateUpdate : uint32_t { kNewton = 1, kAdam = 2 };
enum class GateGradient : uint32_t { kSte = 1, kFisher = 2 };  // adam's task gradient
enum class GateFreeze : uint32_t { kMeasured = 1, kGate = 2 };
// amaq-rd: what crosses of an activation. On the wire; never renumber.
enum class Transform : uint32_t { kNone = 1, kEigen = 2, kHadamard = 3 };
enum class GatePenalty : uint32_t { kHinge = 1, kMean = 2, kDual = 3 };  // adam's price of bits

std::string_view MethodName(Method method);
std::optional<Method> ParseMethod(std::string_view name);
std::optional<Range> ParseRange(std::string_view name);
std::optional<Axis> ParseAxis(std::string_view name);
std::optional<TargetSchedule> ParseSchedule(std::string_view name);
std::string_view TransformName(Transform transform);
std::optional<Transform> ParseTransform(std::string_view name);
// Does it remember what it sent of each sample?
inline bool NeedsCache(Method method) {
  return method == Method::kAqsgd || method == Method::kAmaqDelta;
}
// Can its widths belong to token positions?
inline bool HasTokenAxis(Method method) {
  return method == Method::kFixed || method == Method::kLinear || method == Method::kWaterfill ||
         method == Method::kAmaq;
}

// The widths of the forward tensor over the run.
struct WidthConfig {
  Method method = Method::kAmaq;
  uint32_t bits = 4;  // fixed, group, aqsgd (from 1), tahquant (most tokens', from 3): the width
  double b_min = 2;   // linear, waterfill, amaq: bits per channel
  double b_max = 8;
  double b_start = 7.7;
  double target_bits = 3;
  TargetSchedule schedule = TargetSchedule::kCosine;
  uint64_t adapt_steps = 0;  // optimizer steps until the gate freezes
  double alpha = 1;          // scale of Q
  GateUpdate update = GateUpdate::kNewton;
  GateGradient gradient = GateGradient::kSte;
  GateFreeze freeze = GateFreeze::kMeasured;
  GatePenalty penalty = GatePenalty::kHinge;
  double penalty_beta = 1;  // adam: weight of hinge and mean; dual finds its own
};

}  // namespace amaq::quant

#endif  // AMAQ_QUANT_CONFIG_H_
