#include "client/progress.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

namespace amaq::client {
namespace {

template <typename... Args>
std::string Format(const char* format, Args... args) {
  std::array<char, 256> text;
  std::snprintf(text.data(), text.size(), format, args...);
  return text.data();
}

}  // namespace

std::string Clock(double seconds) {
  const auto total = static_cast<long long>(std::llround(std::max(0.0, seconds)));
  if (total < 3600) return Format("%lld:%02lld", total / 60, total % 60);
  return Format("%lld:%02lld:%02lld", total / 3600, total / 60 % 60, total % 60);
}

std::string Fixed(double value, int digits) { return Format("%.*f", digits, value); }

std::string ProgressLine(const ProgressState& state) {
  const double left = state.step > 0 ? state.seconds / static_cast<double>(state.step) *
                                           static_cast<double>(state.max_steps - state.step)
                                     : 0;
  return Format("step %llu/%llu  loss %.4f  %.0f tok/s  %.2f bits  up %.1f MB  down %.1f MB  ETA ",
                static_cast<unsigned long long>(state.step),
                static_cast<unsigned long long>(state.max_steps), state.loss,
                state.tokens_per_second, state.mean_bits, static_cast<double>(state.bytes_up) / 1e6,
                static_cast<double>(state.bytes_down) / 1e6) +
         Clock(left);
}

ProgressStyle ParseProgressStyle(const std::string& name) {
  if (name == "none") return ProgressStyle::kNone;
  if (name == "plain") return ProgressStyle::kPlain;
  if (name == "bar") return ProgressStyle::kBar;
  return isatty(STDOUT_FILENO) == 1 ? ProgressStyle::kBar : ProgressStyle::kPlain;
}

void Progress::ClearBar() {
  if (shown_width_ == 0) return;
  std::printf("\r%*s\r", static_cast<int>(shown_width_), "");
  shown_width_ = 0;
}

void Progress::Show(const ProgressState& state) {
  const bool is_last = state.step == state.max_steps;
  if (style_ == ProgressStyle::kNone) return;
  const std::string line = ProgressLine(state);
  if (style_ == ProgressStyle::kPlain) {
    if (state.step % every_ == 0 || is_last) std::printf("%s\n", line.c_str());
  } else {
    ClearBar();
    std::printf("%s%s", line.c_str(), is_last ? "\n" : "");
    shown_width_ = is_last ? 0 : line.size();
  }
  std::fflush(stdout);
}

void Progress::Say(const std::string& line) {
  if (style_ == ProgressStyle::kNone) return;
  ClearBar();
  std::printf("%s\n", line.c_str());
  std::fflush(stdout);
}

}  // namespace amaq::client
