// quant.axis: token against the stored bytes of an independent script, and against the usual layout
// of a transpose made here by hand.

#include "quant/token_axis.h"

#include <bit>
#include <cmath>
#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/bytes.h"
#include "quant/coder.h"
#include "tests/quant/samples.h"

namespace amaq::quant {
namespace {

using ::testing::ElementsAre;

Matrix Transposed(const Matrix& x) {
  Matrix out{x.channels, x.rows, std::vector<float>(x.values.size())};
  for (int64_t n = 0; n < x.rows; ++n) {
    for (int64_t c = 0; c < x.channels; ++c) out.at(c, n) = x.at(n, c);
  }
  return out;
}

std::vector<uint8_t> MixedWidths(int64_t count) {
  std::vector<uint8_t> widths;
  for (int64_t i = 0; i < count; ++i) widths.push_back(static_cast<uint8_t>(2 + i % 7));
  return widths;
}

TEST(TokenAxisTest, APositionsWidthIsThatOfAllItsRowsAndTheLastOneGoesOn) {
  const std::vector<uint32_t> segments = {0, 3, 4, 9};
  EXPECT_THAT(PositionsOfRows(segments), ElementsAre(0, 1, 2, 0, 0, 1, 2, 3, 4));
  EXPECT_THAT(WidthsOfRows(std::vector<uint8_t>{8, 5, 3}, PositionsOfRows(segments)),
              ElementsAre(8, 5, 3, 8, 8, 5, 3, 3, 3));
}

TEST(TokenAxisTest, TheLayoutIsTheUsualOneOfTheTranspose) {
  const Matrix x = Activations(1, 13, 21);
  const std::vector<uint8_t> widths = MixedWidths(13);
  const Matrix t = Transposed(x);

  const auto by_token = EncodeByToken(x.view(), widths, {}, {});
  const auto usual = Encode(t.view(), widths, {}, {});

  ASSERT_EQ(by_token.size(), 2u);
  EXPECT_EQ(*FindSection(by_token, SectionKind::kRanges),
            *FindSection(usual, SectionKind::kRanges));
  EXPECT_EQ(*FindSection(by_token, SectionKind::kCodes), *FindSection(usual, SectionKind::kCodes));
  const auto by_channel = Encode(x.view(), MixedWidths(21), {}, {});
  EXPECT_NE(*FindSection(by_token, SectionKind::kCodes),
            *FindSection(by_channel, SectionKind::kCodes));
}

TEST(TokenAxisTest, ComesBackWithinHalfAStepOfItsTokenAndSinksAsBf16) {
  Matrix x = Activations(2, 30, 17);
  for (int64_t n = 0; n < x.rows; ++n) {  // tokens of very different size
    for (int64_t c = 0; c < x.channels; ++c) x.at(n, c) *= std::exp2(static_cast<float>(n % 9));
  }
  const std::vector<uint32_t> sinks = {0, 11, 29};
  const std::vector<uint8_t> widths(30, 4);
  const RowPlan rows{sinks, {}};
  std::vector<float> out(x.values.size());

  DecodeByToken(EncodeByToken(x.view(), widths, rows, {}), widths, rows, 30, 17, out);

  for (int64_t n = 0; n < 30; ++n) {
    float lo = HUGE_VALF, hi = -HUGE_VALF, largest = 0;
    for (int64_t c = 0; c < 17; ++c) {
      lo = std::min(lo, x.at(n, c));
      hi = std::max(hi, x.at(n, c));
      largest = std::max(largest, std::fabs(x.at(n, c)));
    }
    const bool is_sink = n == 0 || n == 11 || n == 29;
    const double bound = is_sink ? largest / 256 : (hi - lo) / 15 * 0.52 + largest * 1e-5;
    for (int64_t c = 0; c < 17; ++c) {
      EXPECT_NEAR(out[static_cast<size_t>(n * 17 + c)], x.at(n, c), bound) << n << ", " << c;
    }
  }
}

TEST(TokenAxisTest, AllSinksAndNoRowsAreLegal) {
  const Matrix x = Activations(3, 3, 5);
  const std::vector<uint32_t> sinks = {0, 1, 2};
  std::vector<float> out(15);
  DecodeByToken(EncodeByToken(x.view(), MixedWidths(3), {sinks, {}}, {}), MixedWidths(3),
                {sinks, {}}, 3, 5, out);
  EXPECT_NEAR(out[7], x.at(1, 2), std::fabs(x.at(1, 2)) / 256);
}

TEST(TokenAxisTest, WhatCannotBeIsRefusedAndNothingIsWritten) {
  Matrix x = Activations(4, 9, 5);
  const std::vector<uint8_t> widths = MixedWidths(9);
  EXPECT_ERROR(EncodeByToken(x.view(), MixedWidths(8), {}, {}), Code::kInvalidArgument,
               "one width a row");
  EXPECT_ERROR(EncodeByToken(x.view(), widths, {}, {.range = Range::kDelayed}),
               Code::kInvalidArgument, "delayed");
  const std::vector<uint32_t> beyond = {9};
  EXPECT_ERROR(EncodeByToken(x.view(), widths, {beyond, {}}, {}), Code::kInvalidArgument,
               "sink rows");
  auto sections = EncodeByToken(x.view(), widths, {}, {});
  sections[1].bytes.pop_back();
  std::vector<float> out(45, -777);
  EXPECT_ERROR(DecodeByToken(sections, widths, {}, 9, 5, out), Code::kDataLoss, "codes");
  sections = EncodeByToken(x.view(), widths, {}, {});
  sections.push_back({SectionKind::kSinkRows, Bytes(10)});
  EXPECT_ERROR(DecodeByToken(sections, widths, {}, 9, 5, out), Code::kDataLoss, "sink rows");
  EXPECT_THAT(out, ::testing::Each(-777));
  EXPECT_ERROR(DecodeByToken(sections, widths, {}, 9, 6, out), Code::kInvalidArgument, "output");
  x.at(6, 3) = INFINITY;
  try {
    EncodeByToken(x.view(), widths, {}, {});
    FAIL() << "coded";
  } catch (const NonFiniteError& error) {
    EXPECT_EQ(error.row(), 6u);
    EXPECT_EQ(error.channel(), 3u);
  }
  x.at(6, 3) = 3e38f;
  x.at(6, 2) = -3e38f;
  try {
    EncodeByToken(x.view(), widths, {}, {});
    FAIL() << "coded";
  } catch (const NonFiniteError& error) {
    EXPECT_EQ(error.row(), 6u);
  }
}

TEST(TokenAxisTest, StoredInputsEncodeToTheStoredBytes) {
  const std::filesystem::path path = AMAQ_SOURCE_DIR "/tests/golden/by_token.axis";
  std::ifstream file(path, std::ios::binary);
  const Bytes bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  ByteReader reader(bytes, "golden file");
  const auto rows = reader.Read<uint32_t>();
  const auto channels = reader.Read<uint32_t>();
  std::vector<uint32_t> segments(reader.Read<uint32_t>());
  for (uint32_t& start : segments) start = reader.Read<uint32_t>();
  std::vector<uint8_t> by_position(reader.Read<uint32_t>());
  for (uint8_t& width : by_position) width = reader.Read<uint8_t>();
  Matrix x{rows, channels, std::vector<float>(rows * channels)};
  for (float& value : x.values) value = reader.Read<float>();
  const std::vector<uint32_t> sinks(segments.begin(), segments.end() - 1);
  const std::vector<uint8_t> widths = WidthsOfRows(by_position, PositionsOfRows(segments));

  const auto sections = EncodeByToken(x.view(), widths, {sinks, {}}, {});

  for (const SectionKind kind :
       {SectionKind::kRanges, SectionKind::kSinkRows, SectionKind::kCodes}) {
    const auto size = reader.Read<uint32_t>();
    const ByteSpan stored = reader.Take(size);
    EXPECT_EQ(*FindSection(sections, kind), Bytes(stored.begin(), stored.end()));
  }
  std::vector<float> out(x.values.size());
  DecodeByToken(sections, widths, {sinks, {}}, rows, channels, out);
  for (const float value : out) {
    EXPECT_EQ(std::bit_cast<uint32_t>(value), std::bit_cast<uint32_t>(reader.Read<float>()));
  }
  reader.ExpectEnd();
}

TEST(TokenCoderTest, WritesEachRowAtTheWidthOfItsPosition) {
  const Matrix x = Activations(5, 20, 17);
  const std::vector<uint32_t> segments = {0, 9, 20}, sinks = {0, 9};
  const std::vector<uint32_t> positions = PositionsOfRows(segments);
  const std::vector<uint8_t> by_position = {8, 2, 3, 4, 5, 6, 7};
  const MessageContext context{.widths = by_position, .rows = {sinks, {}}, .positions = positions};
  const CoderConfig config{.method = Method::kAmaq, .axis = Axis::kToken};
  const auto coder = MakeCoder(config, TensorKind::kActivation, nullptr);
  std::vector<float> decoded(x.values.size()), received(x.values.size());

  const CodedMatrix sent = coder->Encode(x.view(), context, decoded);
  coder->Decode(sent.sections, sent.raw_dtype, context, 20, 17, received);

  const auto direct =
      EncodeByToken(x.view(), WidthsOfRows(by_position, positions), {sinks, {}}, {});
  EXPECT_FALSE(sent.raw_dtype);
  EXPECT_EQ(*FindSection(sent.sections, SectionKind::kCodes),
            *FindSection(direct, SectionKind::kCodes));
  EXPECT_EQ(decoded, received);
  MessageContext lost = context;
  lost.positions = std::span(positions).first(19);
  EXPECT_ERROR(coder->Encode(x.view(), lost, {}), Code::kInvalidArgument, "one width a row");
}

TEST(TokenCoderTest, WhatDoesNotGoWithTokensIsRefused) {
  const auto make = [](CoderConfig config) {
    config.axis = Axis::kToken;
    MakeCoder(config, TensorKind::kActivation, nullptr);
  };
  for (const Method method :
       {Method::kNone, Method::kGroup, Method::kTahquant, Method::kAqsgd, Method::kAmaqDelta}) {
    EXPECT_ERROR(make({.method = method}), Code::kInvalidArgument, "quant.axis: token");
  }
  EXPECT_ERROR(make({.range = Range::kDelayed}), Code::kInvalidArgument, "delayed");
  EXPECT_ERROR(make({.nested = true}), Code::kInvalidArgument, "quant.nested");
}

}  // namespace
}  // namespace amaq::quant
