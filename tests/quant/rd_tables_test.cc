// The family of tables: all of its numbers at once.

#include "quant/rd_tables.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "quant/rans.h"
#include "tests/quant/samples.h"

namespace amaq::quant {
namespace {

std::vector<uint32_t> Counts(size_t table) {
  return std::vector<uint32_t>(RdCountOffsets()[table + 1] - RdCountOffsets()[table]);
}

TEST(RdTables, FrequenciesSumUpWhateverWasCounted) {
  Random random(41);
  for (size_t t = 0; t < kRdTables; ++t) {
    for (int round = 0; round < 4; ++round) {
      std::vector<uint32_t> counts = Counts(t);
      for (uint32_t& count : counts) {
        count = round == 0 ? 0 : round == 1 ? UINT32_MAX : random.Below(1u << (8 * round));
      }
      if (round == 3) counts[counts.size() / 2] = UINT32_MAX;
      const std::vector<uint16_t> frequencies = RdFrequencies(t, counts);
      EXPECT_EQ(frequencies.size(), RdShapeOf(t).num_symbols());
      EXPECT_EQ(std::accumulate(frequencies.begin(), frequencies.end(), 0u), kFrequencyTotal);
      for (const uint16_t frequency : frequencies) ASSERT_GE(frequency, 1);
      for (size_t s = 1; s + 2 < frequencies.size(); s += 2) {
        ASSERT_EQ(frequencies[s], frequencies[s + 1]);
      }
    }
  }
}

TEST(RdTables, PriorsHaveTheMeanMagnitudeOfTheirTable) {
  for (size_t t = 0; t < kRdTables; ++t) {
    const std::vector<uint16_t> frequencies = RdFrequencies(t, Counts(t));
    double mean = 0;
    for (size_t s = 0; s + 1 < frequencies.size(); ++s) {
      mean += frequencies[s] * static_cast<double>((s + 1) / 2) / kFrequencyTotal;
    }
    const double wanted =
        std::exp2((static_cast<double>(t) - kRdUnitTable) / 4 - RdShapeOf(t).low_bits);
    EXPECT_NEAR(mean, wanted, 0.04 * wanted + 0.0006) << "table " << t;
  }
}

TEST(RdTables, CountsMoveTheFrequencies) {
  std::vector<uint32_t> counts = Counts(32);
  counts[3] = 100000;
  EXPECT_GT(RdFrequencies(32, counts)[5], 8000);  // one sign of 3
  EXPECT_LT(RdFrequencies(32, Counts(32))[5], 1000);
}

TEST(RdTables, SymbolsAndLowBitsStandForTheirInteger) {
  for (size_t t = 0; t < kRdTables; ++t) {
    const RdTableShape& shape = RdShapeOf(t);
    for (int32_t q = -40000; q <= 40000; ++q) {
      const uint8_t symbol = shape.SymbolOf(q);
      ASSERT_LT(symbol, shape.num_symbols());
      if (symbol == shape.escape()) continue;
      const uint32_t low = (static_cast<uint32_t>(q) + shape.half()) & ((1u << shape.low_bits) - 1);
      ASSERT_EQ(shape.ValueOf(symbol, low), q) << "table " << t;
    }
  }
}

TEST(RdTables, SixteenthsAreTheLogarithm) {
  EXPECT_EQ(RdSixteenths(1), 0);
  EXPECT_EQ(RdSixteenths(2), 16);
  EXPECT_EQ(RdSixteenths(UINT64_MAX), 16 * 64 - 1);
  Random random(42);
  for (int i = 0; i < 2000; ++i) {
    const uint64_t value = 1 + (uint64_t{random.Below(UINT32_MAX)} >> random.Below(32));
    const double exact = 16 * std::log2(static_cast<double>(value));
    EXPECT_LE(RdSixteenths(value), exact + 1e-9);
    EXPECT_GT(RdSixteenths(value), exact - 1 - 1e-9);
  }
}

TEST(RdTables, ScaledIsTheProductCutOff) {
  EXPECT_EQ(RdScaled(1000, 0), 1000u);
  EXPECT_EQ(RdScaled(1000, 16), 2000u);
  EXPECT_EQ(RdScaled(1000, -32), 250u);
  EXPECT_EQ(RdScaled(1000, 8), 1414u);
  EXPECT_EQ(RdScaled(1000, -3000), 0u);
  EXPECT_EQ(RdScaled(1000, 3000), UINT32_MAX);
  EXPECT_EQ(RdScaled(UINT64_MAX, -16), UINT32_MAX / 2);
  EXPECT_EQ(RdScaled(0, 3000), 0u);
}

TEST(RdTables, StepsAreThePowersOfTwo) {
  for (int32_t index = -kRdLargestIndex; index <= kRdLargestIndex; ++index) {
    const RdStep step{3.0f, static_cast<int16_t>(index)};
    ASSERT_TRUE(step.is_valid());
    EXPECT_NEAR(step.value() / (3 * std::exp2(index / 16.0)), 1, 2e-7);
  }
  EXPECT_FALSE((RdStep{1.0f, kRdLargestIndex + 1}).is_valid());
  EXPECT_FALSE((RdStep{0x1p100f, kRdLargestIndex}).is_valid());
  EXPECT_FALSE((RdStep{0x1p-100f, -kRdLargestIndex}).is_valid());
}

TEST(RdTables, BasesStayWithinTheFamily) {
  EXPECT_EQ(RdBaseOf(0), 24);
  EXPECT_EQ(RdBaseOf(16), 28);
  EXPECT_EQ(RdBaseOf(-10000), 0);
  EXPECT_EQ(RdBaseOf(10000), kRdBases - 1);
}

}  // namespace
}  // namespace amaq::quant
