// amaq-bench: what the parts of amaq cost, as ratios to a baseline of the same run.
//   amaq-bench codec|threads [--rounds N] [--json FILE] [--once]
// codec: on one core; threads: what a second one gives the coder of amaq-rd.
// Prints a Markdown table. --once: everything one time on tiny tensors, to see that it runs.

#include <sched.h>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <iostream>
#include <string>
#include <utility>
#include <vector>

#include "core/error.h"
#include "quant/kernels.h"
#include "tests/bench/codec_bench.h"
#include "tests/bench/rd_bench.h"

namespace {

// To the core that it runs on.
void Pin() {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(static_cast<size_t>(sched_getcpu()), &set);
  sched_setaffinity(0, sizeof(set), &set);
}

std::vector<amaq::bench::Ratio> OfCodec(const amaq::bench::Effort& effort, bool once) {
  Pin();
  std::vector<amaq::bench::Ratio> ratios = amaq::bench::RunCodecBench(effort, once);
  for (amaq::bench::Ratio& ratio : amaq::bench::RunRdBench(effort, once)) {
    ratios.push_back(std::move(ratio));
  }
  return ratios;
}

int Run(int argc, char** argv) {
  amaq::bench::Effort effort;
  bool once = false;
  std::string json;
  const std::string group = argc > 1 ? argv[1] : "";
  if (group != "codec" && group != "threads") {
    std::fputs("usage: amaq-bench codec|threads [--rounds N] [--json FILE] [--once]\n", stderr);
    return 2;
  }
  for (int i = 2; i < argc; ++i) {
    const std::string option = argv[i];
    if (option == "--once") {
      once = true;
      effort = {1, 0};
    } else if (option == "--rounds" && i + 1 < argc) {
      effort.rounds = std::max(1, std::atoi(argv[++i]));
    } else if (option == "--json" && i + 1 < argc) {
      json = argv[++i];
    } else {
      std::fprintf(stderr, "amaq-bench: unknown argument %s\n", option.c_str());
      return 2;
    }
  }
  const auto kernels = amaq::quant::ActiveKernelSet().name;
  const std::vector<amaq::bench::Ratio> ratios =
      group == "codec" ? OfCodec(effort, once) : amaq::bench::RunThreadsBench(effort, once);
  std::cout << "Kernels: " << kernels << "\n\n" << amaq::bench::ToMarkdown(ratios);
  if (!json.empty()) {
    std::ofstream out(json);
    out << amaq::bench::ToJson(ratios, group, kernels);
    if (!out.flush()) amaq::Throw(amaq::Code::kInternal, "cannot write ", json);
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return Run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "amaq-bench: %s\n", error.what());
    return 1;
  }
}
