#include "tests/bench/ratio.h"

#include <time.h>

#include <algorithm>
#include <chrono>
#include <cstdio>

namespace amaq::bench {
namespace {

struct Times {
  double wall = 0;
  double cpu = 0;
};

double CpuSeconds() {
  timespec now;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

// Of one call; the action is called `calls` times.
Times TimeOf(const Action& action, int calls) {
  const double cpu = CpuSeconds();
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < calls; ++i) action();
  const std::chrono::duration<double> wall = std::chrono::steady_clock::now() - start;
  return {wall.count() / calls, (CpuSeconds() - cpu) / calls};
}

int CallsFor(const Action& action, double seconds) {
  const double once = std::max(1e-9, TimeOf(action, 1).wall);  // and warms up
  return std::max(1, static_cast<int>(seconds / once));
}

std::string Format(const char* format, double a, double b, double c) {
  char text[96];
  std::snprintf(text, sizeof(text), format, a, b, c);
  return text;
}

}  // namespace

Spread SpreadOf(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const auto at = [&](double share) {
    return values[static_cast<size_t>(share * static_cast<double>(values.size() - 1) + 0.5)];
  };
  return {at(0.5), at(0.1), at(0.9)};
}

Ratio Compare(std::string name, std::string baseline_name, const Action& baseline,
              const Action& candidate, const Effort& effort) {
  const int baseline_calls = CallsFor(baseline, effort.seconds);
  const int candidate_calls = CallsFor(candidate, effort.seconds);
  std::vector<double> wall, cpu, baseline_wall;
  for (int round = 0; round < effort.rounds; ++round) {
    const Times base = TimeOf(baseline, baseline_calls);
    const Times own = TimeOf(candidate, candidate_calls);
    wall.push_back(base.wall / std::max(1e-12, own.wall));
    cpu.push_back(base.cpu / std::max(1e-12, own.cpu));
    baseline_wall.push_back(base.wall);
  }
  const Spread base = SpreadOf(baseline_wall);
  return {std::move(name), std::move(baseline_name), SpreadOf(wall),
          SpreadOf(cpu),   base.median * 1e3,        base.p90 - base.p10 > 0.25 * base.median};
}

std::string ToMarkdown(const std::vector<Ratio>& ratios) {
  std::string text =
      "| what | baseline | wall: median (10-90 %) | CPU: median (10-90 %) | |\n"
      "|---|---|---|---|---|\n";
  for (const Ratio& ratio : ratios) {
    text += "| " + ratio.name + " | " + ratio.baseline;
    for (const Spread& spread : {ratio.wall, ratio.cpu}) {
      text += Format(" | %.3g (%.3g-%.3g)", spread.median, spread.p10, spread.p90);
    }
    text += ratio.unstable ? " | unstable |\n" : " | |\n";
  }
  return text;
}

std::string ToJson(const std::vector<Ratio>& ratios, std::string_view group,
                   std::string_view kernels) {
  std::string text = "{\"group\": \"" + std::string(group) + "\", \"kernels\": \"" +
                     std::string(kernels) + "\", \"ratios\": [\n";
  for (size_t i = 0; i < ratios.size(); ++i) {
    const Ratio& ratio = ratios[i];
    text +=
        "  {\"name\": \"" + ratio.name + "\", \"baseline\": \"" + ratio.baseline + "\", \"wall\": ";
    text += Format("[%.4f, %.4f, %.4f]", ratio.wall.p10, ratio.wall.median, ratio.wall.p90);
    text += Format(", \"cpu\": [%.4f, %.4f, %.4f]", ratio.cpu.p10, ratio.cpu.median, ratio.cpu.p90);
    text += ", \"baseline_ms\": " + std::to_string(ratio.baseline_ms);
    text += std::string(", \"unstable\": ") + (ratio.unstable ? "true" : "false") + "}";
    text += i + 1 < ratios.size() ? ",\n" : "\n";
  }
  return text + "]}\n";
}

}  // namespace amaq::bench
