#ifndef AMAQ_QUANT_RD_RATE_H_
#define AMAQ_QUANT_RD_RATE_H_

// Which step size a sender of rate-distortion coded tensors (rd.h) uses: the one at which its
// messages need the bits that it was told to spend. The receiver only reads the step. Pure.
// Source: design "AMAQ", section 10; the gain, the limit and the feed-forward are our choice.

#include <cstdint>
#include <optional>

#include "quant/config.h"

namespace amaq::quant {

class RdRateControl {
 public:
  // Of `config` the fall of the target is read (TargetBits, gate.h). Errors: kInvalidArgument for
  // targets that are not in [kRdLowestRate, 8].
  explicit RdRateControl(const WidthConfig& config);

  // Bits an element of the next step.
  double target_bits() const;
  // Of the next message; nullopt: none yet, solve it (RdSolveIndex) on the message itself.
  std::optional<int16_t> index() const;
  // That of the first training message. Until a step is committed it goes with a discarded one.
  void Start(int16_t index);

  // A training message crossed: bits of all its sections, elements [N * H] of its micro-batch.
  void Observe(uint64_t bits, uint64_t elements);
  // The step was skipped or aborted: its messages leave no trace.
  void Discard();
  // Once a step: log2 of the step size moves by what the target falls plus half of (rate -
  // target), the latter limited to a quarter of an octave, on the grid of 1/16 octave; what the
  // grid left over is carried.
  void Commit();

  double rate() const { return rate_; }  // of the last step that was committed; 0: none
  // The rate was more than half a bit from its target at each of the last 10 commits.
  bool is_off_target() const { return commits_off_ >= 10; }

  // What the steps that were committed left for the choice of later step sizes, and a controller
  // of the same config that goes on with it. wanted_index: as index, with its fraction.
  struct State {
    uint64_t commits = 0;
    std::optional<float> wanted_index;
  };
  State state() const { return {commits_, is_tried_ ? std::nullopt : wanted_index_}; }
  void Restore(const State& state);

 private:
  const WidthConfig config_;
  uint64_t commits_ = 0;
  uint64_t bits_ = 0;
  uint64_t elements_ = 0;
  std::optional<float> wanted_index_;  // index() is the nearest integer
  bool is_tried_ = false;              // wanted_index_ is of Start, no step was committed with it
  double rate_ = 0;
  uint32_t commits_off_ = 0;
};

inline constexpr double kRdLowestRate = 0.05;

}  // namespace amaq::quant

#endif  // AMAQ_QUANT_RD_RATE_H_
