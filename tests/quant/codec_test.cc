#include "quant/codec.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/quant/samples.h"

namespace amaq::quant {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::vector<float> RoundTrip(const Matrix& x, std::span<const uint8_t> widths,
                             const RowPlan& rows = {}, const EncodeOptions& options = {}) {
  std::vector<float> out(x.values.size(), -777);
  Decode(Encode(x.view(), widths, rows, options), widths, rows, x.rows, x.channels, out);
  return out;
}

// |x - x_hat| <= step * (1/2 + L * 2^-22) + 2^-23 * max(|lo|, |x_hat|), in double.
void ExpectWithinBound(const Matrix& x, std::span<const uint8_t> widths, const Range range) {
  const std::vector<Section> sections = Encode(x.view(), widths, {}, {.range = range});
  const DecodedRanges ranges = ReadRanges(sections, widths);
  Matrix back{x.rows, x.channels, std::vector<float>(x.values.size())};
  Decode(sections, widths, {}, x.rows, x.channels, back.values);
  for (int64_t n = 0; n < x.rows; ++n) {
    for (int64_t c = 0; c < x.channels; ++c) {
      const auto channel = static_cast<size_t>(c);
      const double largest = std::exp2(widths[channel]) - 1;
      const double lo = ranges.lo[channel];
      const double bound = ranges.step[channel] * (0.5 + largest * 0x1p-22) +
                           0x1p-23 * std::max(std::fabs(lo), std::fabs(double{back.at(n, c)}));
      EXPECT_LE(std::fabs(double{x.at(n, c)} - double{back.at(n, c)}), bound)
          << "row " << n << " channel " << c << " width " << int{widths[channel]};
    }
  }
}

TEST(CodecTest, ErrorStaysWithinTheStatedBoundAtEveryWidthAndShape) {
  for (uint8_t width = 1; width <= 8; ++width) {
    for (const auto& [rows, channels] : {std::pair<int64_t, int64_t>{1, 1},
                                         {1, 7},
                                         {2, 13},
                                         {7, 9},
                                         {8, 8},
                                         {9, 5},
                                         {33, 31},
                                         {100, 3}}) {
      const Matrix x = Activations(width * 100u + static_cast<uint64_t>(rows), rows, channels);
      const std::vector<uint8_t> widths(static_cast<size_t>(channels), width);
      ExpectWithinBound(x, widths, Range::kMinMax);
      ExpectWithinBound(x, widths, Range::kAbsMax);
    }
  }
}

TEST(CodecTest, ErrorStaysWithinTheBoundForHardChannels) {
  const float denormal = std::numeric_limits<float>::denorm_min();
  // One column a case; its width rises with the case.
  Matrix x{5, 8, {}};
  x.values = {1000.5f,    -0.0f,  0,       1e38f,  denormal,
              0.1f,       65504,  1e-30f,  //
              1000.75f,   0.0f,   0,       -1e38f, -denormal,
              0.2f,       -65504, -1e-30f,  //
              1001.0f,    1,      0,       0,      0,
              0.3f,       1,      0,  //
              1000.875f,  2,      0,       5e37f,  0x1p-120f,
              0.4f,       2,      2e-30f,  //
              1000.5625f, 3,      0,       -2e37f, 255 * 0x1p-120f,
              1e6f,       3,      3e-30f};

  for (uint8_t width = 1; width <= 8; ++width) {
    ExpectWithinBound(x, std::vector<uint8_t>(8, width), Range::kMinMax);
  }
}

TEST(CodecTest, TheBoundCatchesAWrongCode) {  // negative control
  const Matrix x = Activations(5, 9, 1);
  const std::vector<uint8_t> widths = {4};
  std::vector<Section> sections = Encode(x.view(), widths, {}, {});
  const float step = ReadRanges(sections, widths).step[0];
  sections[1].bytes[0] ^= 2;  // two steps off
  std::vector<float> back(9);

  Decode(sections, widths, {}, 9, 1, back);

  EXPECT_GT(std::fabs(x.values[0] - back[0]), 1.4f * step);
}

TEST(CodecTest, CodeBytesFollowTheOctetFormulaForEveryWidthAndShape) {
  for (uint8_t width = 0; width <= 8; ++width) {
    for (const int64_t rows : {1, 3, 7, 8, 9, 16, 17}) {
      for (const int64_t channels : {1, 5, 8, 13}) {
        const Matrix x = Activations(9, rows, channels);
        const std::vector<uint8_t> widths(static_cast<size_t>(channels), width);

        const std::vector<Section> sections = Encode(x.view(), widths, {}, {});

        const auto formula = static_cast<size_t>((rows + 7) / 8 * channels * width);
        EXPECT_EQ(FindSection(sections, SectionKind::kCodes)->size(), formula);
        EXPECT_EQ(CodesBytes(static_cast<uint64_t>(rows), widths), formula);
      }
    }
  }
}

TEST(CodecTest, RangesTakeABitmapTheLowEndsAndTheSteps) {
  Matrix x = Activations(3, 10, 11);
  for (int64_t n = 0; n < 10; ++n) x.at(n, 4) = 1;  // constant: its lo is fp32
  const std::vector<uint8_t> widths(11, 4);
  for (int64_t n = 0; n < 10; ++n) {
    for (int64_t c = 0; c < 11; ++c) {
      if (c != 4) x.at(n, c) = static_cast<float>(n + c);
    }
  }

  const std::vector<Section> sections = Encode(x.view(), widths, {}, {});

  EXPECT_EQ(FindSection(sections, SectionKind::kRanges)->size(), 2u + 10 * 2 + 1 * 4 + 11 * 2);
}

TEST(CodecTest, ConstantChannelsAreExactAndKeepTheirBytes) {
  Matrix x{9, 2, std::vector<float>(18)};
  for (int64_t n = 0; n < 9; ++n) {
    x.at(n, 0) = 3.14159265f;
    x.at(n, 1) = -0.0f;
  }
  const std::vector<uint8_t> widths = {5, 3};

  const std::vector<Section> sections = Encode(x.view(), widths, {}, {});
  const std::vector<float> back = RoundTrip(x, widths);

  EXPECT_EQ(*FindSection(sections, SectionKind::kCodes), Bytes(16, 0));
  EXPECT_EQ(back, x.values);
}

TEST(CodecTest, SignOfZeroAndItsPlaceDoNotChangeTheBytes) {
  Matrix negative{3, 1, {-0.0f, 0.0f, 1.0f}};
  Matrix positive{3, 1, {0.0f, -0.0f, 1.0f}};
  const std::vector<uint8_t> widths = {3};

  const auto a = Encode(negative.view(), widths, {}, {});
  const auto b = Encode(positive.view(), widths, {}, {});

  EXPECT_EQ(a[0].bytes, b[0].bytes);
  EXPECT_EQ(a[1].bytes, b[1].bytes);
}

TEST(CodecTest, SinkRowsStayOutOfRangesAndCrossAsBF16) {
  Matrix x = Activations(11, 20, 6);
  for (int64_t c = 0; c < 6; ++c) x.at(9, c) = 5000.25f;  // would spoil every range
  const std::vector<uint32_t> sinks = {0, 9};
  const std::vector<uint8_t> widths(6, 4);
  const RowPlan rows{sinks, {}};

  const std::vector<Section> sections = Encode(x.view(), widths, rows, {});
  const std::vector<float> back = RoundTrip(x, widths, rows);

  EXPECT_EQ(FindSection(sections, SectionKind::kSinkRows)->size(), 2u * 6 * 2);
  EXPECT_EQ(FindSection(sections, SectionKind::kCodes)->size(), CodesBytes(18, widths));
  EXPECT_THAT(ReadRanges(sections, widths).step, Each(::testing::Lt(10.0f)));
  for (size_t c = 0; c < 6; ++c) {
    EXPECT_EQ(back[c], BF16ToF32(F32ToBF16(x.values[c])));
    EXPECT_EQ(back[9 * 6 + c], BF16ToF32(F32ToBF16(5000.25f)));
  }
}

TEST(CodecTest, CodedRowsKeepTheirPlacesBetweenSinkRows) {
  Matrix x{5, 1, {100, 1, 200, 3, 7}};
  const std::vector<uint32_t> sinks = {0, 2};

  EXPECT_THAT(
      RoundTrip(x, std::vector<uint8_t>{8}, {sinks, {}}),
      ElementsAre(100, 1, 200, ::testing::FloatNear(3, 0.02f), ::testing::FloatNear(7, 0.05f)));
}

TEST(CodecTest, SegmentsOfOneTokenLeaveNothingToCode) {
  const Matrix x = Activations(12, 3, 5);
  const std::vector<uint32_t> sinks = {0, 1, 2};
  const std::vector<uint8_t> widths(5, 3);

  const std::vector<Section> sections = Encode(x.view(), widths, {sinks, {}}, {});
  const std::vector<float> back = RoundTrip(x, widths, {sinks, {}});

  EXPECT_THAT(*FindSection(sections, SectionKind::kRanges), IsEmpty());
  EXPECT_THAT(*FindSection(sections, SectionKind::kCodes), IsEmpty());
  EXPECT_THAT(ReadRanges(sections, widths).step, Each(0.0f));
  for (size_t i = 0; i < back.size(); ++i) {
    EXPECT_EQ(back[i], BF16ToF32(F32ToBF16(x.values[i])));
  }
}

TEST(CodecTest, NoRowsAtAllIsAnEmptyMessage) {
  const std::vector<uint8_t> widths(4, 3);
  const MatrixView empty{nullptr, DType::kF32, 0, 4};

  const std::vector<Section> sections = Encode(empty, widths, {}, {});

  EXPECT_EQ(sections.size(), 2u);
  Decode(sections, widths, {}, 0, 4, {});
}

TEST(CodecTest, HalfPrecisionInputGivesTheBytesOfItsWidenedForm) {
  for (const DType dtype : {DType::kBF16, DType::kF16}) {
    const Matrix source = Activations(13, 19, 10);
    std::vector<uint16_t> half;
    Matrix widened = source;
    for (float& value : widened.values) {
      half.push_back(dtype == DType::kBF16 ? F32ToBF16(value) : F32ToF16(value));
      value = dtype == DType::kBF16 ? BF16ToF32(half.back()) : F16ToF32(half.back());
    }
    const std::vector<uint8_t> widths(10, 5);
    const std::vector<uint32_t> sinks = {0};

    const auto from_half = Encode({half.data(), dtype, 19, 10}, widths, {sinks, {}}, {});
    const auto from_float = Encode(widened.view(), widths, {sinks, {}}, {});

    ASSERT_EQ(from_half.size(), 3u);
    for (size_t i = 0; i < 3; ++i) EXPECT_EQ(from_half[i].bytes, from_float[i].bytes);
  }
}

TEST(CodecTest, NonFiniteValuesNameRowAndChannel) {
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
        -std::numeric_limits<float>::infinity()}) {
    for (const int64_t row : {0, 7}) {  // a sink row and a coded row
      Matrix x = Activations(14, 9, 6);
      x.at(row, 4) = bad;
      const std::vector<uint32_t> sinks = {0};
      try {
        Encode(x.view(), std::vector<uint8_t>(6, 4), {sinks, {}}, {});
        ADD_FAILURE() << "no error";
      } catch (const NonFiniteError& error) {
        EXPECT_EQ(error.row(), static_cast<uint64_t>(row));
        EXPECT_EQ(error.channel(), 4u);
        EXPECT_THAT(error.message(), ::testing::HasSubstr(StrCat("row ", row, ", channel 4")));
      }
    }
  }
}

TEST(CodecTest, ARangeThatOverflowsNamesChannelAndLargestRow) {
  Matrix x{3, 2, {0, 1, -2e38f, 2, 3e38f, 3}};
  try {
    Encode(x.view(), std::vector<uint8_t>{4, 4}, {}, {});
    ADD_FAILURE() << "no error";
  } catch (const NonFiniteError& error) {
    EXPECT_EQ(error.row(), 2u);
    EXPECT_EQ(error.channel(), 0u);
  }
}

TEST(CodecTest, WidthZeroErrsByAtMostHalfTheRange) {
  Matrix x{4, 1, {-1, 0, 3, 2}};

  EXPECT_THAT(RoundTrip(x, std::vector<uint8_t>{0}), Each(1.0f));
}

TEST(CodecTest, WrongArgumentsAreRefused) {
  const Matrix x = Activations(15, 4, 3);
  const std::vector<uint8_t> widths(3, 4);
  const std::vector<uint8_t> too_wide = {4, 9, 4};
  const std::vector<uint8_t> too_few(2, 4);
  const std::vector<uint32_t> descending = {2, 1};
  const std::vector<uint32_t> beyond = {4};
  const std::vector<uint32_t> ids = {1, 2};
  const std::vector<double> doubles(12);

  EXPECT_ERROR(Encode(x.view(), too_wide, {}, {}), Code::kInvalidArgument, "channel 1");
  EXPECT_ERROR(Encode(x.view(), too_few, {}, {}), Code::kInvalidArgument, "2 widths");
  EXPECT_ERROR(Encode(x.view(), widths, {descending, {}}, {}), Code::kInvalidArgument, "ascend");
  EXPECT_ERROR(Encode(x.view(), widths, {beyond, {}}, {}), Code::kInvalidArgument, "below 4");
  EXPECT_ERROR(Encode(x.view(), widths, {{}, ids}, {}), Code::kInvalidArgument, "row id");
  EXPECT_ERROR(Encode({doubles.data(), DType::kF64, 4, 3}, widths, {}, {}), Code::kInvalidArgument,
               "fp64");
  std::vector<float> out(11);
  EXPECT_ERROR(Decode(Encode(x.view(), widths, {}, {}), widths, {}, 4, 3, out),
               Code::kInvalidArgument, "11 elements");
}

}  // namespace
}  // namespace amaq::quant
