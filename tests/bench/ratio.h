#ifndef AMAQ_TESTS_BENCH_RATIO_H_
#define AMAQ_TESTS_BENCH_RATIO_H_

// Speeds as ratios: in every round the baseline and the candidate run one after the other in the
// same process, so that what disturbs the machine disturbs both. Wall time and the process's CPU
// time. Not thread-safe.

#include <functional>
#include <string>
#include <vector>

namespace amaq::bench {

struct Spread {
  double median = 0;
  double p10 = 0;
  double p90 = 0;
};
Spread SpreadOf(std::vector<double> values);

struct Ratio {
  std::string name;
  std::string baseline;
  Spread wall;  // time of the baseline / time of the candidate: above 1 is faster
  Spread cpu;
  double baseline_ms = 0;  // median wall time of one call
  bool unstable =
      false;  // the baseline's wall time moved by more than 25 % (10th to 90th percentile)
};

struct Effort {
  int rounds = 15;
  double seconds = 0.02;  // of each of the two in a round, at least; 0: one call
};

using Action = std::function<void()>;
Ratio Compare(std::string name, std::string baseline_name, const Action& baseline,
              const Action& candidate, const Effort& effort);

std::string ToMarkdown(const std::vector<Ratio>& ratios);
std::string ToJson(const std::vector<Ratio>& ratios, std::string_view group,
                   std::string_view kernels);

}  // namespace amaq::bench

#endif  // AMAQ_TESTS_BENCH_RATIO_H_
