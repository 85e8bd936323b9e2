// Stochastic rounding: unbiased, and a function of (key, row id, channel) alone.

#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "quant/codec.h"
#include "tests/quant/samples.h"

namespace amaq::quant {
namespace {

EncodeOptions WithKey(uint64_t key) {
  return {.rounding = Rounding::kStochastic, .rounding_key = key};
}

std::vector<float> Decoded(const Matrix& x, const std::vector<uint8_t>& widths, const RowPlan& rows,
                           uint64_t key) {
  std::vector<float> out(x.values.size());
  Decode(Encode(x.view(), widths, rows, WithKey(key)), widths, rows, x.rows, x.channels, out);
  return out;
}

TEST(StochasticTest, MeanOverKeysIsTheValue) {
  const Matrix x = Activations(41, 12, 6);
  const std::vector<uint8_t> widths = {2, 3, 3, 4, 6, 8};
  const DecodedRanges ranges = ReadRanges(Encode(x.view(), widths, {}, {}), widths);
  constexpr int kKeys = 4000;
  std::vector<double> sum(x.values.size());

  for (uint64_t key = 0; key < kKeys; ++key) {
    const std::vector<float> back = Decoded(x, widths, {}, key);
    for (size_t i = 0; i < sum.size(); ++i) sum[i] += back[i];
  }

  // At most half a step of standard deviation a draw; 4.5 standard errors over 72 values. The last
  // part: x may stand above the last code by the rounding of t.
  for (size_t i = 0; i < sum.size(); ++i) {
    const double step = ranges.step[i % 6];
    EXPECT_NEAR(sum[i] / kKeys, x.values[i], 4.5 * 0.5 * step / std::sqrt(kKeys) + 1e-4 * step);
  }
}

TEST(StochasticTest, NearestRoundingIsBiasedWhereStochasticIsNot) {  // negative control
  Matrix x{9, 1, {0, 0.3f, 0.3f, 0.3f, 0.3f, 0.3f, 0.3f, 0.3f, 3}};
  std::vector<float> back(9);

  Decode(Encode(x.view(), std::vector<uint8_t>{2}, {}, {}), std::vector<uint8_t>{2}, {}, 9, 1,
         back);

  EXPECT_EQ(back[1], 0);
}

TEST(StochasticTest, TheKeyDecidesAndNothingElse) {
  const Matrix x = Activations(42, 20, 9);
  const std::vector<uint8_t> widths(9, 3);

  EXPECT_EQ(Decoded(x, widths, {}, 5), Decoded(x, widths, {}, 5));
  EXPECT_NE(Decoded(x, widths, {}, 5), Decoded(x, widths, {}, 6));
}

TEST(StochasticTest, ASubsetOfRowsDrawsTheSameWordsAsTheWhole) {
  // Rows 0 and 19 hold the extremes of every channel, so both messages have the same ranges.
  Matrix whole = Activations(43, 20, 5);
  for (int64_t c = 0; c < 5; ++c) {
    whole.at(0, c) = -100;
    whole.at(19, c) = 100;
  }
  const std::vector<uint32_t> ids = {0, 3, 4, 11, 17, 19};
  Matrix subset{6, 5, {}};
  for (const uint32_t id : ids) {
    for (int64_t c = 0; c < 5; ++c) subset.values.push_back(whole.at(id, c));
  }
  const std::vector<uint8_t> widths(5, 3);

  const std::vector<float> all = Decoded(whole, widths, {}, 77);
  const std::vector<float> some = Decoded(subset, widths, {{}, ids}, 77);
  const std::vector<float> unnumbered = Decoded(subset, widths, {}, 77);

  for (size_t i = 0; i < ids.size(); ++i) {
    for (size_t c = 0; c < 5; ++c) EXPECT_EQ(some[i * 5 + c], all[ids[i] * 5 + c]);
  }
  EXPECT_NE(unnumbered, some);  // negative control: the ids matter
}

TEST(StochasticTest, SinkRowsDoNotShiftTheCounter) {
  Matrix x = Activations(44, 10, 4);
  for (int64_t c = 0; c < 4; ++c) {
    x.at(1, c) = -100;
    x.at(2, c) = 100;
  }
  const std::vector<uint8_t> widths(4, 3);
  const std::vector<uint32_t> sinks = {0};

  const std::vector<float> without = Decoded(x, widths, {}, 78);
  const std::vector<float> with_sink = Decoded(x, widths, {sinks, {}}, 78);

  EXPECT_TRUE(std::equal(without.begin() + 4, without.end(), with_sink.begin() + 4));
}

TEST(StochasticTest, ErrorIsBelowOneStep) {
  const Matrix x = Activations(45, 50, 8);
  const std::vector<uint8_t> widths = {1, 2, 3, 4, 5, 6, 7, 8};
  const DecodedRanges ranges = ReadRanges(Encode(x.view(), widths, {}, {}), widths);

  const std::vector<float> back = Decoded(x, widths, {}, 79);

  for (size_t i = 0; i < back.size(); ++i) {
    EXPECT_LE(std::fabs(back[i] - x.values[i]), 1.001f * ranges.step[i % 8]);
  }
}

}  // namespace
}  // namespace amaq::quant
