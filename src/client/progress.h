#ifndef AMAQ_CLIENT_PROGRESS_H_
#define AMAQ_CLIENT_PROGRESS_H_

// The progress of a run for a person: one line that rewrites itself on a terminal, plain lines
// elsewhere. Lane-bound. Writes to standard output.

#include <chrono>
#include <cstdint>
#include <string>

namespace amaq::client {

struct ProgressState {
  uint64_t step = 0;  // steps done
  uint64_t max_steps = 0;
  double loss = 0;
  double tokens_per_second = 0;  // of all rows, since the first step
  double mean_bits = 0;          // of the forward tensor; 16 or 32 when raw
  uint64_t bytes_up = 0;
  uint64_t bytes_down = 0;
  double seconds = 0;  // since the first step
};

// "step 12/60  loss 1.4120  312 tok/s  7.40 bits  up 3.2 MB  down 2.9 MB  ETA 0:42"
std::string ProgressLine(const ProgressState& state);

// "0:42", "1:02:03".
std::string Clock(double seconds);
// 1.2345 with so many digits after the point.
std::string Fixed(double value, int digits);

enum class ProgressStyle { kNone, kPlain, kBar };
// "auto" is kBar on a terminal, else kPlain.
ProgressStyle ParseProgressStyle(const std::string& name);

class Progress {
 public:
  // Plain lines come every `every` steps.
  Progress(ProgressStyle style, uint64_t every) : style_(style), every_(every) {}
  void Show(const ProgressState& state);
  // A line of its own between progress lines.
  void Say(const std::string& line);

 private:
  void ClearBar();

  const ProgressStyle style_;
  const uint64_t every_;
  size_t shown_width_ = 0;
};

}  // namespace amaq::client

#endif  // AMAQ_CLIENT_PROGRESS_H_
