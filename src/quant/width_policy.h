#ifndef AMAQ_QUANT_WIDTH_POLICY_H_
#define AMAQ_QUANT_WIDTH_POLICY_H_

// Who decides the widths of a cut's forward tensor, message by message: none (raw), fixed, linear,
// waterfill, amaq. Owned by the sender of the tensor; all that crosses the wire is the widths and
// their version. Thread-compatible. Source: amaq as in width_config; see each method's file.

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "quant/config.h"

namespace amaq::quant {

enum class PolicyPhase : uint32_t { kRaw = 0, kCalibrating = 1, kAdapting = 2, kFrozen = 3 };

// What one micro-batch tells about the channels, formed where the activation x, its decoded form
// x_hat and the decoded gradient g are known. Non-sink rows only. All spans [H].
struct ChannelStats {
  std::vector<double> range;  // R_c = hi - lo of the activation (step * (2^n - 1) when coded)
  std::vector<double> gradient_energy;  // S_c = max(0, sum g^2 - N * step_g^2 / 6)
  // sum g * (x_hat - x) over the elements that were not clipped; adam + ste only, else empty
  std::vector<double> error_dot;
  std::vector<double> weight = {};  // elements of each unit, where they differ; else empty
};

// For the log: does the gate learn anything?
struct WidthReport {
  double mean_bits = 0;           // of the integer widths
  double spread_bits = 0;         // standard deviation of the real-valued bits
  double correlation = 0;         // of the real-valued bits with the measured optimum at this mean
  double widths_spread = 0;       // the same two figures of the integer widths: at the freeze they
  double widths_correlation = 0;  // say what the gate learned
  double target_bits = 0;
  std::vector<uint64_t> histogram;  // [9] channels at width 0...8
};

class WidthPolicy {
 public:
  virtual ~WidthPolicy() = default;

  // Widths of the next message [H]; empty: send the tensor raw.
  virtual std::span<const uint8_t> widths() const = 0;
  // 0 while raw; changes exactly when widths() does, never goes back.
  virtual uint64_t version() const = 0;
  virtual PolicyPhase phase() const = 0;
  virtual double target_bits() const = 0;

  // Does Observe need anything? (fixed and linear do not)
  virtual bool wants_stats() const = 0;
  virtual bool wants_error_dot() const = 0;
  // Once per micro-batch of a step, in index order. loss_tokens: supervised tokens of the whole
  // step, kappa of the curvature.
  virtual void Observe(const ChannelStats& stats, uint64_t loss_tokens) = 0;
  // Drops what was observed since the last Commit (a step was skipped or aborted).
  virtual void Discard() = 0;
  // Once per optimizer step, after its last Observe: updates the bits, freezes at adapt_steps.
  virtual void Commit() = 0;
  // waterfill: micro-batches still wanted at step 0, attempt 0, before training; 0 for the others.
  virtual uint32_t calibration_micro_batches() const = 0;
  virtual void FinishCalibration() = 0;

  virtual WidthReport Report() const = 0;
  // Named float vectors for amaq_gate.safetensors ("bits", "Q", "curvature", "widths", ...).
  virtual std::map<std::string, std::vector<float>> State() const = 0;
};

// Errors: kInvalidArgument naming the option for values outside their range (a target of b_min
// itself, b_start above b_max, ...).
std::unique_ptr<WidthPolicy> MakeWidthPolicy(const WidthConfig& config, int64_t channels);

// The gate of gradient.bits: own, owned by the gradient's sender: target_bits, bounds, schedule and
// adapt_steps of `config`; Observe reads stats.range. Errors: as above.
std::unique_ptr<WidthPolicy> MakeGradientPolicy(const WidthConfig& config, int64_t channels);

}  // namespace amaq::quant

#endif  // AMAQ_QUANT_WIDTH_POLICY_H_
