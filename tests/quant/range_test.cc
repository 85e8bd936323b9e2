#include "quant/range.h"

#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/bytes.h"
#include "tests/quant/samples.h"

namespace amaq::quant {
namespace {

using ::testing::ElementsAre;

const std::vector<uint8_t> kWidths = {3, 2, 2};

// The section of docs/formats/octet.md's worked example.
Bytes Example() {
  return {0x04, 0x00, 0x00, 0x80, 0xbf, 0x00, 0x20, 0x7a, 0x44, 0x80, 0x3f, 0x80, 0x3f, 0x2b, 0x3e};
}

TEST(RangeTest, SectionIsThatOfTheWorkedExample) {
  Extremes extremes(3);
  extremes.Add(std::vector<float>{0, -1, 1000.5f});
  extremes.Add(std::vector<float>{7, 2, 1001});

  EXPECT_EQ(WriteRanges(MakeRanges(extremes, kWidths, Range::kMinMax)), Example());
}

TEST(RangeTest, ParseGivesBackWhatWasWritten) {
  const std::vector<ChannelRange> ranges = ParseRanges(Example(), kWidths);

  ASSERT_EQ(ranges.size(), 3u);
  EXPECT_EQ(ranges[0].lo, 0);
  EXPECT_EQ(ranges[1].lo, -1);
  EXPECT_EQ(ranges[2].lo, 1000.5f);
  EXPECT_EQ(ranges[2].step, 0.1669921875f);
  EXPECT_TRUE(ranges[2].lo_is_fp32);
  EXPECT_EQ(WriteRanges(ranges), Example());
}

TEST(RangeTest, AbsMaxIsSymmetric) {
  Extremes extremes(2);
  extremes.Add(std::vector<float>{-1, 2});
  extremes.Add(std::vector<float>{3, -8});

  const std::vector<ChannelRange> ranges =
      MakeRanges(extremes, std::vector<uint8_t>{2, 4}, Range::kAbsMax);

  EXPECT_EQ(ranges[0].lo, -3);
  EXPECT_EQ(ranges[0].step, 2);
  EXPECT_EQ(ranges[1].lo, -8);
}

TEST(RangeTest, EveryTruncationAndExcessIsDataLoss) {
  const Bytes whole = Example();
  for (size_t size = 0; size < whole.size(); ++size) {
    const Bytes cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
    EXPECT_ERROR(ParseRanges(cut, kWidths), Code::kDataLoss, "ends early");
  }
  Bytes longer = whole;
  longer.push_back(0);
  EXPECT_ERROR(ParseRanges(longer, kWidths), Code::kDataLoss, "1 bytes too many");
}

TEST(RangeTest, StepsThatNoEncoderWritesAreRefusedByChannel) {
  // bf16: -1, -0, NaN, Inf, the largest denormal
  for (const uint32_t step : {0xbf80u, 0x8000u, 0x7fc0u, 0x7f80u, 0x007fu}) {
    Bytes bytes = Example();
    bytes[11] = static_cast<uint8_t>(step);
    bytes[12] = static_cast<uint8_t>(step >> 8);
    EXPECT_ERROR(ParseRanges(bytes, kWidths), Code::kDataLoss, "channel 1");
  }
}

TEST(RangeTest, LowEndsThatAreNotFiniteAreRefusedByChannel) {
  for (const float lo :
       {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
        std::numeric_limits<float>::quiet_NaN()}) {
    Bytes bytes = Example();
    std::memcpy(bytes.data() + 5, &lo, sizeof(lo));
    EXPECT_ERROR(ParseRanges(bytes, kWidths), Code::kDataLoss, "channel 2");
  }
}

TEST(RangeTest, ARangeThatDecodesToInfinityIsRefused) {
  Bytes bytes = Example();
  bytes[9] = 0x7f;  // step of channel 0: 3.39e38, times 7
  bytes[10] = 0x7f;

  EXPECT_ERROR(ParseRanges(bytes, kWidths), Code::kDataLoss, "channel 0");
}

TEST(RangeTest, SpareBitsOfTheBitmapMustBeZero) {
  Bytes bytes = Example();
  bytes[0] = 0x0c;

  EXPECT_ERROR(ParseRanges(bytes, kWidths), Code::kDataLoss, "bit 3");
}

}  // namespace
}  // namespace amaq::quant
