// The contract on every method and tensor, with the error that each may make.

#include "tests/contract/quantizer_contract.h"

namespace amaq::quant {
namespace {

// One step of a range [lo, hi] whose lo and step are rounded outwards to bf16.
double LargestStep(double lo, double hi, int width) {
  const double levels = std::exp2(width) - 1;
  return (hi - lo + std::abs(lo) * 0x1p-7) / levels * (1 + 0x1p-7);
}

// Half a step (a whole one when rounded stochastically) and the roundings of amaq.md section 3.
double CodeError(double step, int width, double magnitude, Rounding rounding) {
  const double share = rounding == Rounding::kStochastic ? 1 : 0.5;
  return step * (share + std::exp2(width) * 0x1p-22) + magnitude * 0x1p-22 + 0x1p-117;
}

ErrorBound PerChannel(int width, Range range, Rounding rounding) {
  return [=](const Matrix& x, const std::vector<uint32_t>& coded, int64_t, int64_t c) {
    double lo = HUGE_VAL;
    double hi = -HUGE_VAL;
    for (const uint32_t row : coded) {
      lo = std::min<double>(lo, x.at(row, c));
      hi = std::max<double>(hi, x.at(row, c));
    }
    const double magnitude = std::max(std::abs(lo), std::abs(hi));
    if (range == Range::kAbsMax) {
      lo = -magnitude;
      hi = magnitude;
    }
    return CodeError(LargestStep(lo, hi, width), width, magnitude, rounding);
  };
}

// One range for each `size` channels of a token.
ErrorBound PerTile(int width, int64_t size, Rounding rounding) {
  return [=](const Matrix& x, const std::vector<uint32_t>&, int64_t row, int64_t c) {
    const int64_t begin = c / size * size;
    double lo = HUGE_VAL;
    double hi = -HUGE_VAL;
    for (int64_t i = begin; i < std::min(x.channels, begin + size); ++i) {
      lo = std::min<double>(lo, x.at(row, i));
      hi = std::max<double>(hi, x.at(row, i));
    }
    return CodeError(LargestStep(lo, hi, width), width, std::max(std::abs(lo), std::abs(hi)),
                     rounding);
  };
}

// A tile may be turned; then each coefficient errs by a step, and an orthogonal matrix turns 32
// such errors to at most sqrt(32) of them in one place. The coefficients lie within the sum of the
// other magnitudes / sqrt(32) of the pivot's share.
ErrorBound PerTurnedTile(int lowest_width, Rounding rounding) {
  return [=](const Matrix& x, const std::vector<uint32_t>& coded, int64_t row, int64_t c) {
    const int64_t begin = c / 32 * 32;
    const double plain = PerTile(lowest_width, 32, rounding)(x, coded, row, c);
    if (begin + 32 > x.channels) return plain;
    double sum = 0;
    double largest = 0;
    for (int64_t i = begin; i < begin + 32; ++i) {
      sum += std::abs(x.at(row, i));
      largest = std::max<double>(largest, std::abs(x.at(row, i)));
    }
    const double root = std::sqrt(32.0);
    const double spread = (sum - largest) / root;
    const double step = LargestStep(largest / root - spread, largest / root + spread, lowest_width);
    return std::max(plain, root * CodeError(step, lowest_width, sum, rounding) + sum * 0x1p-18);
  };
}

ErrorBound Relative(double share) {
  return [=](const Matrix& x, const std::vector<uint32_t>&, int64_t row, int64_t c) {
    return std::abs(x.at(row, c)) * share;
  };
}

std::vector<QuantizerCase> AllCases() {
  const auto nearest = Rounding::kNearestEven;
  const auto stochastic = Rounding::kStochastic;
  const auto gradient = TensorKind::kGradient;
  std::vector<QuantizerCase> cases;
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kF16}) {
    cases.push_back({.name = StrCat("none_", DTypeName(dtype)),
                     .config = {.method = Method::kNone, .wire_dtype = dtype},
                     .width = 0,
                     .bound = Relative(dtype == DType::kF32 ? 0 : 0x1p-8)});
  }
  for (const Method method : {Method::kFixed, Method::kLinear, Method::kWaterfill, Method::kAmaq}) {
    for (const Range range : {Range::kMinMax, Range::kAbsMax}) {
      cases.push_back({.name = StrCat(MethodName(method), range == Range::kAbsMax ? "_absmax" : ""),
                       .config = {.method = method, .range = range},
                       .bound = PerChannel(3, range, nearest)});
    }
    // The first message of a sender has nothing to predict from: delayed_coder_test.cc goes on.
    cases.push_back({.name = StrCat(MethodName(method), "_delayed"),
                     .config = {.method = method, .range = Range::kDelayed},
                     .bound = PerChannel(3, Range::kMinMax, nearest)});
    cases.push_back({.name = StrCat(MethodName(method), "_gradient"),
                     .config = {.method = method},
                     .kind = gradient,
                     .rounding = stochastic,
                     .bound = PerChannel(3, Range::kMinMax, stochastic)});
  }
  for (const uint32_t size : {32u, 40u, 64u, 128u}) {
    for (const uint8_t width : std::vector<uint8_t>{2, 5, 8}) {
      cases.push_back({.name = StrCat("group_", size, "_", int{width}),
                       .config = {.method = Method::kGroup, .group_size = size},
                       .width = width,
                       .bound = PerTile(width, size, nearest),
                       .is_exact_for_zeros = 64 % size == 0});  // whole groups of zeros
    }
  }
  cases.push_back({.name = "group_gradient",
                   .config = {.method = Method::kGroup},
                   .kind = gradient,
                   .rounding = stochastic,
                   .bound = PerTile(3, 64, stochastic)});
  for (const uint8_t width : std::vector<uint8_t>{3, 4, 8}) {
    cases.push_back({.name = StrCat("tahquant_", int{width}),
                     .config = {.method = Method::kTahquant},
                     .width = width,
                     .bound = PerTurnedTile(width - 1, nearest)});
  }
  cases.push_back({.name = "tahquant_gradient",
                   .config = {.method = Method::kTahquant},
                   .kind = gradient,
                   .width = 6,
                   .rounding = stochastic,
                   .bound = PerTurnedTile(6, stochastic)});
  for (const Method method : {Method::kAqsgd, Method::kAmaqDelta}) {
    const std::string name = method == Method::kAqsgd ? "aqsgd" : "amaq_delta";
    // First visits; coders/delta_test.cc has the later ones.
    cases.push_back({.name = name, .config = {.method = method}, .bound = Relative(0x1p-8)});
    const Range range = method == Method::kAqsgd ? Range::kAbsMax : Range::kMinMax;
    cases.push_back({.name = name + "_gradient",
                     .config = {.method = method},
                     .kind = gradient,
                     .rounding = stochastic,
                     .bound = PerChannel(3, range, stochastic)});
  }
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Methods, QuantizerContract, ::testing::ValuesIn(AllCases()), CaseName);

// A new method must enter the list above.
TEST(QuantizerContractTest, CoversEveryMethod) {
  size_t methods = 0;
  for (uint32_t number = 1; number < 64; ++number) {
    const auto method = static_cast<Method>(number);
    if (!ParseMethod(MethodName(method))) continue;
    // Codes without widths behind a transform: rd_coder_test.cc, tests/client/rd_driver_test.cc.
    if (method == Method::kAmaqRd) continue;
    ++methods;
    EXPECT_TRUE(std::ranges::any_of(AllCases(), [&](const QuantizerCase& c) {
      return c.config.method == method;
    })) << MethodName(method);
  }
  EXPECT_GE(methods, 9u);
}

}  // namespace
}  // namespace amaq::quant
