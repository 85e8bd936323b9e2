#ifndef AMAQ_TESTS_BENCH_RD_BENCH_H_
#define AMAQ_TESTS_BENCH_RD_BENCH_H_

// The symbol coder of amaq-rd on one core, against memcpy of the same fp32 matrix and against the
// packed path at 3 bits. Not its transform: that is two matrix products of LibTorch.

#include <vector>

#include "tests/bench/ratio.h"

namespace amaq::bench {

// small, errors: as RunCodecBench.
std::vector<Ratio> RunRdBench(const Effort& effort, bool small);

// The same coder on two threads against one; not to be pinned to a core. 2048 rows at 1.5 bits, of
// 576 and of 4096 channels; small: two blocks.
std::vector<Ratio> RunThreadsBench(const Effort& effort, bool small);

}  // namespace amaq::bench

#endif  // AMAQ_TESTS_BENCH_RD_BENCH_H_
