#ifndef AMAQ_QUANT_GATE_GROUP_H_
#define AMAQ_QUANT_GATE_GROUP_H_

// Trainable gates under one budget: those of all cuts that a party owns, so that layers compete for
// bits as channels do. A gate has a trainable Q a unit; units are the channels of a tensor, or its
// positions with quant.axis: token. The gate's formula and the progressive fall are AMAQ's (arXiv
// 2510.05468); both updates, the schedule, the budget over cuts and the projection are our choice
// (docs/formats/gate.md). Thread-compatible.

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "quant/gate.h"
#include "quant/width_policy.h"

namespace amaq::quant {

struct GateShape {
  size_t units = 0;
  double elements_per_unit = 1;  // against those of the other gates
};

class GateGroup {
 public:
  // config: as MakeWidthPolicy takes it, validated there. At least one gate; no gate is empty.
  GateGroup(const WidthConfig& config, const std::vector<GateShape>& shapes);

  bool is_adapting() const { return steps_ < config_.adapt_steps; }
  double target_bits() const;
  bool wants_error_dot() const;
  // Integer widths of a gate, those of its next message.
  std::span<const uint8_t> widths(size_t gate) const;

  // Once per micro-batch and gate, in index order; loss_tokens as WidthPolicy::Observe says.
  void Observe(size_t gate, const ChannelStats& stats, uint64_t loss_tokens);
  void Discard();
  void Commit();  // once per optimizer step, for all gates

  WidthReport Report(size_t gate) const;
  std::map<std::string, std::vector<float>> State(size_t gate) const;

 private:
  std::span<const double> Part(const std::vector<double>& all, size_t gate) const;
  std::vector<double> Bits() const;
  std::vector<uint8_t> RoundedBits() const;
  std::vector<uint8_t> FrozenWidths() const;
  std::vector<double> Weights() const;
  std::vector<double> MeasuredCurvature() const;
  double TaskGradient(const ChannelStats& stats, size_t gate, size_t unit, double kappa) const;
  void AverageCurvature();
  void StepNewton(double target);
  void StepAdam(double target);

  const WidthConfig config_;
  std::vector<size_t> first_;              // [gates + 1] of a gate's units among all
  std::vector<double> elements_per_unit_;  // [U], U units of all gates
  std::vector<double> seen_;               // [U] elements seen; only relative sizes matter
  bool counts_elements_ = false;           // stats came with weights
  std::vector<double> q_;                  // [U]
  std::vector<uint8_t> widths_;            // [U]
  uint64_t steps_ = 0;                     // commits so far
  std::vector<double> average_;            // moving average of the curvature, not bias-corrected
  uint64_t averaged_steps_ = 0;
  std::vector<double> adam_m_;
  std::vector<double> adam_v_;
  double adam_steps_ = 0;
  PenaltyWeight penalty_;
  // Of the step under way.
  std::vector<double> pending_curvature_;
  std::vector<double> pending_gradient_;
  std::vector<double> pending_seen_;
  bool has_pending_ = false;
};

}  // namespace amaq::quant

#endif  // AMAQ_QUANT_GATE_GROUP_H_
