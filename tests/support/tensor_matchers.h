#ifndef AMAQ_TESTS_SUPPORT_TENSOR_MATCHERS_H_
#define AMAQ_TESTS_SUPPORT_TENSOR_MATCHERS_H_

// Predicates over tensors for EXPECT_TRUE, and the numeric derivative that explicit gradients are
// compared with. Their negative controls are in tests/tensor/tensor_matchers_test.cc.

#include <gtest/gtest.h>

#include <cstring>
#include <functional>

#include "tensor/aten.h"

namespace amaq::test {

inline ::testing::AssertionResult SameKind(const at::Tensor& actual, const at::Tensor& expected) {
  if (!actual.defined() || !expected.defined()) {
    return ::testing::AssertionFailure() << "a tensor is undefined";
  }
  if (actual.sizes() != expected.sizes()) {
    return ::testing::AssertionFailure()
           << "shapes " << actual.sizes() << " and " << expected.sizes();
  }
  return ::testing::AssertionSuccess();
}

// Shape, type and every bit are the same (so 0 and -0 differ and a NaN equals itself).
inline ::testing::AssertionResult BitEqual(const at::Tensor& actual, const at::Tensor& expected) {
  if (auto same = SameKind(actual, expected); !same) return same;
  if (actual.scalar_type() != expected.scalar_type()) {
    return ::testing::AssertionFailure()
           << "types " << actual.scalar_type() << " and " << expected.scalar_type();
  }
  const at::Tensor x = actual.contiguous();
  const at::Tensor y = expected.contiguous();
  if (std::memcmp(x.const_data_ptr(), y.const_data_ptr(), x.nbytes()) == 0) {
    return ::testing::AssertionSuccess();
  }
  return ::testing::AssertionFailure()
         << "bits differ; greatest difference "
         << (x.to(at::kDouble) - y.to(at::kDouble)).abs().max().item<double>();
}

// max |actual - expected| <= tolerance * max |expected|, over the whole tensor and in double. An
// expected tensor of zeros wants exact zeros; a NaN on either side is a failure.
inline ::testing::AssertionResult NearRelative(const at::Tensor& actual, const at::Tensor& expected,
                                               double tolerance) {
  if (auto same = SameKind(actual, expected); !same) return same;
  if (actual.numel() == 0) return ::testing::AssertionSuccess();
  const at::Tensor wide = expected.to(at::kDouble);
  const auto error = (actual.to(at::kDouble) - wide).abs().max().item<double>();
  const auto size = wide.abs().max().item<double>();
  if (error <= tolerance * size) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure()
         << "greatest difference " << error << " against values up to " << size << ": "
         << error / size << " relative, allowed " << tolerance;
}

// d f / d x by central differences. x is a contiguous fp64 tensor that f reads; each element is
// moved by +-step and restored. The error is about step^2 f'''/6 + 1e-16 f/step: with the default
// and values near 1, 1e-9.
inline at::Tensor CentralDifference(const std::function<double()>& f, const at::Tensor& x,
                                    double step = 1e-5) {
  at::Tensor derivative = x.clone();
  auto* into = derivative.mutable_data_ptr<double>();
  auto* values = x.mutable_data_ptr<double>();
  for (int64_t i = 0; i < x.numel(); ++i) {
    const double kept = values[i];
    values[i] = kept + step;
    const double above = f();
    values[i] = kept - step;
    const double below = f();
    values[i] = kept;
    into[i] = (above - below) / (2 * step);
  }
  return derivative;
}

// What CentralDifference leaves of agreement, relative to the greatest value: ten times its error.
inline constexpr double kDifferenceTolerance = 1e-8;

// sum(x * weights) in double: makes a scalar of an output whose gradient is `weights`.
inline double Dot(const at::Tensor& x, const at::Tensor& weights) {
  return (x * weights).to(at::kDouble).sum().item<double>();
}

}  // namespace amaq::test

#endif  // AMAQ_TESTS_SUPPORT_TENSOR_MATCHERS_H_
