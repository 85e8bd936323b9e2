#ifndef AMAQ_TESTS_BENCH_CODEC_BENCH_H_
#define AMAQ_TESTS_BENCH_CODEC_BENCH_H_

// The codec's speed on one core, against memcpy of the fp32 tensor and against its scalar kernels.

#include <vector>

#include "tests/bench/ratio.h"

namespace amaq::bench {

// small: tiny tensors, to see that everything runs. Errors: kInternal when a result is wrong;
// nothing is timed before it was compared.
std::vector<Ratio> RunCodecBench(const Effort& effort, bool small);

}  // namespace amaq::bench

#endif  // AMAQ_TESTS_BENCH_CODEC_BENCH_H_
