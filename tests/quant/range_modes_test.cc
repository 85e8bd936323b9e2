// percentile and mae clip what they say, delayed predicts and falls back, and none of it harms what
// lies inside the ranges.

#include "quant/range_modes.h"

#include <algorithm>
#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "quant/codec.h"
#include "tests/quant/samples.h"

namespace amaq::quant {
namespace {

std::vector<float> Normals(uint64_t seed, size_t count) {
  Random random(seed);
  std::vector<float> values(count);
  for (float& value : values) value = static_cast<float>(random.Normal());
  return values;
}

TEST(PercentileExtremesTest, LeaveOutAsManyValuesAsTheyShould) {
  std::vector<float> values(1000);
  for (size_t i = 0; i < values.size(); ++i) values[(i * 7) % 1000] = static_cast<float>(i);
  for (const auto& [percentile, left_out] : std::vector<std::pair<double, float>>{
           {100, 0}, {99.9, 0}, {99.8, 1}, {99, 5}, {90, 50}, {1, 495}, {1e-9, 499}}) {
    const ColumnExtremes found = PercentileExtremes(values, percentile);
    EXPECT_EQ(found.lo, left_out) << percentile;
    EXPECT_EQ(found.hi, 999 - left_out) << percentile;
  }
  EXPECT_EQ(PercentileExtremes(std::vector<float>{7}, 50).lo, 7);
}

// The least error of all pairs of places.
double BestOnTheGrid(Column column, uint32_t width) {
  const auto [lo, hi] = std::minmax_element(column.begin(), column.end());
  const float unit = (*hi - *lo) / 32;
  double least = AbsoluteError(column, {*lo, *hi}, width);
  for (int i = 0; i < 16; ++i) {
    for (int j = 0; j < 16; ++j) {
      const float low = *lo + static_cast<float>(i) * unit;
      const float high = *hi - static_cast<float>(j) * unit;
      least = std::min(least, AbsoluteError(column, {low, high}, width));
    }
  }
  return least;
}

TEST(MaeExtremesTest, AreNearlyAsGoodAsTheBestOfAllPairsAndNeverWorseThanMinMax) {
  for (uint64_t seed = 1; seed <= 12; ++seed) {
    std::vector<float> values = Normals(seed, 300);
    if (seed % 2 == 0) values[17] = 9;  // an outlier at one side
    if (seed % 3 == 0) values[18] = -6;
    for (const uint32_t width : {2u, 3u, 4u, 8u}) {
      const auto [lo, hi] = std::minmax_element(values.begin(), values.end());
      const double own = AbsoluteError(values, {*lo, *hi}, width);
      const double found = AbsoluteError(values, MaeExtremes(values, width), width);
      EXPECT_LE(found, own);
      EXPECT_LE(found, 1.07 * BestOnTheGrid(values, width)) << "seed " << seed << " at " << width;
      if (width == 2) {
        EXPECT_LT(found, 0.95 * own) << "clipping serves at 2 bits";
      }
    }
  }
}

TEST(MaeExtremesTest, OfAConstantOrUnquantizedColumnAreItsOwn) {
  const std::vector<float> constant(9, 2.5f);
  EXPECT_EQ(MaeExtremes(constant, 3).lo, 2.5f);
  EXPECT_EQ(MaeExtremes(constant, 3).hi, 2.5f);
  const std::vector<float> values = Normals(1, 50);
  EXPECT_EQ(MaeExtremes(values, 0).hi, *std::max_element(values.begin(), values.end()));
}

std::vector<float> DecodedBy(const Matrix& x, const std::vector<uint8_t>& widths,
                             const RowPlan& rows, const EncodeOptions& options) {
  Matrix out = x;
  Decode(Encode(x.view(), widths, rows, options), widths, rows, x.rows, x.channels, out.values);
  return out.values;
}

double MeanError(const Matrix& x, const std::vector<float>& decoded) {
  double sum = 0;
  for (size_t i = 0; i < decoded.size(); ++i) sum += std::fabs(double{decoded[i]} - x.values[i]);
  return sum / static_cast<double>(decoded.size());
}

TEST(RangeModesTest, MaeLowersTheMeanErrorOfAMessageAndPercentileOfOneWithOutliers) {
  Matrix x = Activations(5, 400, 20);
  for (int64_t c = 0; c < x.channels; ++c) x.at(7, c) *= 20;  // a token of outliers
  const std::vector<uint8_t> widths(20, 3);
  const double minmax = MeanError(x, DecodedBy(x, widths, {}, {}));
  EXPECT_LT(MeanError(x, DecodedBy(x, widths, {}, {.range = Range::kMae})), 0.8 * minmax);
  EXPECT_LT(MeanError(x, DecodedBy(x, widths, {}, {.range = Range::kPercentile})), 0.8 * minmax);
}

TEST(RangeModesTest, PercentileOf100IsMinMaxAndSinkRowsHaveNoPartInAnyMode) {
  Matrix x = Activations(6, 60, 9);
  const std::vector<uint8_t> widths(9, 4);
  const std::vector<uint32_t> sinks = {0};
  const RowPlan rows{sinks, {}};
  const auto minmax = Encode(x.view(), widths, rows, {});
  const EncodeOptions whole{.range = Range::kPercentile, .range_percentile = 100};
  EXPECT_EQ(*FindSection(minmax, SectionKind::kCodes),
            *FindSection(Encode(x.view(), widths, rows, whole), SectionKind::kCodes));
  for (const Range mode : {Range::kPercentile, Range::kMae, Range::kDelayed}) {
    const EncodeOptions options{.range = mode, .range_percentile = 95};
    Matrix other = x;
    for (int64_t c = 0; c < x.channels; ++c) other.at(0, c) = 1e6f;
    EXPECT_EQ(*FindSection(Encode(x.view(), widths, rows, options), SectionKind::kRanges),
              *FindSection(Encode(other.view(), widths, rows, options), SectionKind::kRanges));
  }
}

TEST(RangeModesTest, ANonFiniteValueIsNamedInEveryMode) {
  Matrix x = Activations(6, 10, 5);
  x.at(4, 2) = std::nanf("");
  for (const Range mode : {Range::kPercentile, Range::kMae, Range::kDelayed}) {
    DelayedRanges delayed(1, 0);
    try {
      Encode(x.view(), std::vector<uint8_t>(5, 3), {}, {.range = mode, .delayed = &delayed});
      FAIL() << "coded";
    } catch (const NonFiniteError& error) {
      EXPECT_EQ(error.row(), 4u);
      EXPECT_EQ(error.channel(), 2u);
    }
  }
}

Extremes Of(float lo, float hi) {
  Extremes extremes(1);
  extremes.lo[0] = lo;
  extremes.hi[0] = hi;
  return extremes;
}

uint64_t NothingOutside(size_t, float, float) { return 0; }

TEST(DelayedRangesTest, PredictTheWidestOfTheLastEightStepsTimesTheMargin) {
  DelayedRanges delayed(1.5, 1);
  EXPECT_EQ(delayed.Choose(Of(-1, 3), 10, NothingOutside).hi[0], 3) << "nothing to predict from";
  delayed.Commit();
  const Extremes first = delayed.Choose(Of(0, 1), 10, NothingOutside);
  EXPECT_EQ(first.lo[0], -2);  // middle 1, half 2 * 1.5
  EXPECT_EQ(first.hi[0], 4);
  for (int step = 0; step < 8; ++step) {
    delayed.Choose(Of(0, 2), 10, NothingOutside);
    delayed.Commit();
  }
  EXPECT_EQ(delayed.Choose(Of(0, 1), 10, NothingOutside).hi[0], 2.5f) << "the first is forgotten";
}

TEST(DelayedRangesTest, DoNotChangeWithinAStepAndForgetWhatIsDiscarded) {
  DelayedRanges delayed(1, 1);
  delayed.Choose(Of(0, 1), 10, NothingOutside);
  delayed.Commit();
  EXPECT_EQ(delayed.Choose(Of(0, 50), 10, NothingOutside).hi[0], 1);
  EXPECT_EQ(delayed.Choose(Of(0, 50), 10, NothingOutside).hi[0], 1) << "still the step's start";
  delayed.Discard();
  delayed.Commit();
  EXPECT_EQ(delayed.Choose(Of(0, 1), 10, NothingOutside).hi[0], 1);
  delayed.Commit();
  delayed.Choose(Of(0, 50), 10, NothingOutside);
  delayed.Choose(Of(0, 20), 10, NothingOutside);
  delayed.Commit();
  EXPECT_EQ(delayed.Choose(Of(0, 1), 10, NothingOutside).hi[0], 50);
}

TEST(DelayedRangesTest, TakeTheExactRangeOfAChannelThatWouldClipTooMuch) {
  Matrix x = Activations(8, 100, 3);
  const std::vector<uint8_t> widths(3, 8);
  DelayedRanges delayed(1, 0.02);  // two of a hundred
  const EncodeOptions options{.range = Range::kDelayed, .delayed = &delayed};
  DecodedBy(x, widths, {}, options);
  delayed.Commit();
  for (int64_t n = 0; n < 2; ++n) x.at(n, 0) = 100;
  for (int64_t n = 0; n < 3; ++n) x.at(n, 1) = 100;

  const std::vector<float> decoded = DecodedBy(x, widths, {}, options);

  EXPECT_LT(decoded[0], 99) << "clipped: two are allowed";
  EXPECT_NEAR(decoded[1], 100, 1) << "three are not";
  EXPECT_EQ(delayed.clipped_values(), 2u);
  EXPECT_EQ(delayed.exact_channels(), 1u);
}

TEST(DelayedRangesTest, OptionsOutsideTheirRangeAreRefused) {
  EXPECT_ERROR(DelayedRanges(0.9, 0), Code::kInvalidArgument, "margin");
  EXPECT_ERROR(DelayedRanges(1, 1.1), Code::kInvalidArgument, "clipped");
  EXPECT_ERROR(DelayedRanges(std::nan(""), 0), Code::kInvalidArgument, "margin");
}

}  // namespace
}  // namespace amaq::quant
