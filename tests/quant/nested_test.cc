// Nested codes: made at 8 bits, shifted down to n. Against rounding at once onto the same grid.
//
// With D = 8 - n bits dropped, t = (x - lo) / step8 uniform: the two differ where t lies in the
// half step below a tie that the first rounding moves onto it, a share of 0.5 / 2^D = 2^-(D+1).
// There the error is h + e instead of h - e, h = 2^(D-1), e uniform in (0, 1/2): 4 h e = h more on
// average (units step8^2), so the energy 4^D / 12 grows by 2^-(D+1) * h = 1/4; at n = 4 by the
// factor 1.0117.

#include <algorithm>
#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "quant/codec.h"
#include "quant/octet.h"
#include "quant/uniform.h"
#include "tests/quant/samples.h"

namespace amaq::quant {
namespace {

constexpr int64_t kRows = 4096;
constexpr int64_t kChannels = 64;

Matrix Uniforms() {
  Random random(5);
  Matrix x{kRows, kChannels, std::vector<float>(static_cast<size_t>(kRows * kChannels))};
  for (float& value : x.values) value = static_cast<float>(random.Uniform() * 2 - 1);
  return x;
}

struct Difference {
  double share = 0;         // of values
  double energy_ratio = 0;  // nested / at once
};

Difference Compare(uint8_t width) {
  const Matrix x = Uniforms();
  const std::vector<uint8_t> widths(kChannels, width);
  EncodeOptions options;
  options.nested = true;
  const std::vector<Section> sections = Encode(x.view(), widths, {}, options);
  const DecodedRanges ranges = ReadRanges(sections, widths);
  std::vector<float> decoded(x.values.size());
  Decode(sections, widths, {}, kRows, kChannels, decoded);
  const double largest = LargestCode(width);
  uint64_t differing = 0, count = 0;
  double nested_energy = 0, direct_energy = 0;
  for (size_t i = 0; i < decoded.size(); ++i) {
    const double lo = ranges.lo[i % kChannels];
    const double step = ranges.step[i % kChannels];
    const double t = (x.values[i] - lo) / step;
    if (t > largest) continue;  // above the last code: both clip
    const double direct = lo + std::nearbyint(t) * step;
    ++count;
    differing += std::fabs(decoded[i] - direct) > 0.5 * step ? 1 : 0;
    nested_energy += std::pow(decoded[i] - x.values[i], 2);
    direct_energy += std::pow(direct - x.values[i], 2);
  }
  return {static_cast<double>(differing) / static_cast<double>(count),
          nested_energy / direct_energy};
}

TEST(NestedTest, AShareOfTwoToTheMinusDroppedBitsMinusOneDiffersFromRoundingAtOnce) {
  for (uint8_t width = 2; width < 8; ++width) {
    const double share = std::exp2(-(8 - width) - 1);
    // Five standard errors of about 250000 draws.
    const double tolerance = 5 * std::sqrt(share / 250000);
    EXPECT_NEAR(Compare(width).share, share, tolerance) << int{width};
  }
}

TEST(NestedTest, TheErrorEnergyGrowsByOnePercentAtFourBits) {
  // Five standard errors of the share, 2 % each, move the 1.17 % by a tenth of it.
  EXPECT_NEAR(Compare(4).energy_ratio, 1 + 0.25 / (256.0 / 12), 0.0012);
}

TEST(NestedTest, EightBitsAreAsWithoutNesting) {
  const Matrix x = Activations(2, 50, 20);
  const std::vector<uint8_t> widths(20, 8);
  EncodeOptions options;
  const std::vector<Section> plain = Encode(x.view(), widths, {}, options);
  options.nested = true;
  const std::vector<Section> nested = Encode(x.view(), widths, {}, options);
  EXPECT_EQ(plain.front().bytes, nested.front().bytes);
  EXPECT_EQ(plain.back().bytes, nested.back().bytes);
}

// What nesting is for: the codes of fewer bits follow from those of 8, without the tensor.
TEST(NestedTest, FewerBitsAreTheHighBitsOfTheEightBitCodesRounded) {
  const Matrix x = Activations(2, 8, 33);
  EncodeOptions options;
  options.nested = true;
  const std::vector<uint8_t> eight(33, 8);
  std::vector<uint8_t> codes(8 * 33), expected(codes.size()), found(codes.size());
  UnpackGroup(Encode(x.view(), eight, {}, options).back().bytes, eight, codes.data());
  for (uint8_t width = 1; width < 8; ++width) {
    const std::vector<uint8_t> widths(33, width);
    const int drop = 8 - width;
    for (size_t i = 0; i < codes.size(); ++i) {
      const int rounded = (codes[i] + (1 << (drop - 1))) >> drop;
      expected[i] = static_cast<uint8_t>(std::min(rounded, (1 << width) - 1));
    }
    UnpackGroup(Encode(x.view(), widths, {}, options).back().bytes, widths, found.data());
    EXPECT_EQ(found, expected) << int{width};
  }
}

TEST(NestedTest, StochasticRoundingIsRefused) {
  const Matrix x = Activations(2, 8, 3);
  EncodeOptions options;
  options.nested = true;
  options.rounding = Rounding::kStochastic;
  EXPECT_ERROR(Encode(x.view(), std::vector<uint8_t>(3, 4), {}, options), Code::kInvalidArgument,
               "rounded to nearest");
}

}  // namespace
}  // namespace amaq::quant
