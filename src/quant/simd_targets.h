// What the sources that Highway compiles once for each instruction set have in common. A source
// includes this header, defines HWY_TARGET_INCLUDE, its own path, then includes Highway's.

#ifndef AMAQ_QUANT_SIMD_TARGETS_H_
#define AMAQ_QUANT_SIMD_TARGETS_H_

// NOLINTBEGIN(readability-identifier-naming): Highway's names
#define HWY_WANT_AVX3_DL
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128)
// NOLINTEND(readability-identifier-naming)

#endif  // AMAQ_QUANT_SIMD_TARGETS_H_
