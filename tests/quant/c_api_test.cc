#include "quant/c_api/amaq_codec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>

#include "quant/codec.h"
#include "tests/quant/samples.h"

namespace amaq::quant {
namespace {

constexpr int64_t kRows = 19;
constexpr int64_t kChannels = 5;

class CApiTest : public ::testing::Test {
 protected:
  CApiTest() : x_(Activations(31, kRows, kChannels)) {
    EXPECT_EQ(amaq_encode_bound(&shape_, &sections_, error_.data(), error_.size()), AMAQ_OK);
    ranges_.resize(sections_.ranges.size);
    sink_bytes_.resize(sections_.sink_rows.size);
    codes_.resize(sections_.codes.size);
    sections_ = {{ranges_.data(), ranges_.size(), 0},
                 {sink_bytes_.data(), sink_bytes_.size(), 0},
                 {codes_.data(), codes_.size(), 0}};
  }
  amaq_status EncodeX(const amaq_options* options = nullptr) {
    return amaq_encode(x_.values.data(), AMAQ_FP32, &shape_, options, &sections_, error_.data(),
                       error_.size());
  }

  Matrix x_;
  std::vector<uint8_t> widths_ = {2, 0, 8, 5, 1};
  std::vector<uint32_t> sinks_ = {0, 7};
  amaq_shape shape_ = {kRows, kChannels, widths_.data(), sinks_.data(), sinks_.size()};
  amaq_sections sections_ = {};
  Bytes ranges_, sink_bytes_, codes_;
  std::array<char, 200> error_{};
};

TEST_F(CApiTest, BytesAndValuesAreThoseOfTheCppFunctions) {
  const auto sections = Encode(x_.view(), widths_, {sinks_, {}}, {});
  std::vector<float> expected(x_.values.size());
  Decode(sections, widths_, {sinks_, {}}, kRows, kChannels, expected);

  ASSERT_EQ(EncodeX(), AMAQ_OK) << error_.data();
  std::vector<float> decoded(x_.values.size());
  ASSERT_EQ(amaq_decode(&sections_, &shape_, decoded.data(), decoded.size(), nullptr, 0), AMAQ_OK);

  EXPECT_EQ(Bytes(codes_.begin(), codes_.end()), *FindSection(sections, SectionKind::kCodes));
  EXPECT_EQ(Bytes(ranges_.data(), ranges_.data() + sections_.ranges.size),
            *FindSection(sections, SectionKind::kRanges));
  EXPECT_EQ(decoded, expected);
}

TEST_F(CApiTest, InspectGivesRangesAndCodesThatMakeTheValues) {
  ASSERT_EQ(EncodeX(), AMAQ_OK);
  std::vector<float> lo(kChannels), step(kChannels), decoded(x_.values.size());
  std::vector<uint8_t> codes((kRows - 2) * kChannels);

  ASSERT_EQ(amaq_inspect(&sections_, &shape_, lo.data(), step.data(), codes.data(), nullptr, 0),
            AMAQ_OK);
  ASSERT_EQ(amaq_decode(&sections_, &shape_, decoded.data(), decoded.size(), nullptr, 0), AMAQ_OK);

  // Row 8 is the seventh that is coded.
  for (size_t c = 0; c < kChannels; ++c) {
    EXPECT_EQ(lo[c] + static_cast<float>(codes[6 * kChannels + c]) * step[c],
              decoded[8 * kChannels + c]);
  }
}

TEST_F(CApiTest, ErrorsAreAStatusAndASentenceAndNothingIsWritten) {
  x_.at(3, 2) = NAN;
  EXPECT_EQ(EncodeX(), AMAQ_INVALID_ARGUMENT);
  EXPECT_THAT(error_.data(), ::testing::HasSubstr("row 3, channel 2"));
  EXPECT_THAT(codes_, ::testing::Each(0));
  EXPECT_EQ(sections_.codes.size, 0u);

  x_.at(3, 2) = 0;
  sections_.codes.capacity -= 1;
  EXPECT_EQ(EncodeX(), AMAQ_RESOURCE_EXHAUSTED);
  EXPECT_THAT(error_.data(), ::testing::HasSubstr("codes needs"));
  EXPECT_THAT(ranges_, ::testing::Each(0));
}

TEST_F(CApiTest, DamagedSectionsAreDataLoss) {
  ASSERT_EQ(EncodeX(), AMAQ_OK);
  sections_.codes.size -= 1;
  std::vector<float> decoded(x_.values.size(), -777);

  EXPECT_EQ(amaq_decode(&sections_, &shape_, decoded.data(), decoded.size(), error_.data(), 10),
            AMAQ_DATA_LOSS);
  EXPECT_EQ(std::string(error_.data()).size(), 9u);  // cut, and it ends
  EXPECT_THAT(decoded, ::testing::Each(-777));
  EXPECT_EQ(amaq_inspect(&sections_, &shape_, nullptr, nullptr, nullptr, nullptr, 0),
            AMAQ_DATA_LOSS);
}

TEST_F(CApiTest, NullAndNonsenseAreRefused) {
  const auto encode = [&](amaq_shape shape) {
    return amaq_encode(x_.values.data(), AMAQ_FP32, &shape, nullptr, &sections_, nullptr, 0);
  };
  amaq_shape shape = shape_;
  shape.widths = nullptr;
  EXPECT_EQ(encode(shape), AMAQ_INVALID_ARGUMENT);
  shape = shape_;
  shape.sink_rows = nullptr;
  EXPECT_EQ(encode(shape), AMAQ_INVALID_ARGUMENT);
  shape = shape_;
  shape.num_sink_rows = kRows + 1;
  EXPECT_EQ(encode(shape), AMAQ_INVALID_ARGUMENT);
  shape = shape_;
  shape.channels = 0;
  EXPECT_EQ(encode(shape), AMAQ_INVALID_ARGUMENT);
  widths_[1] = 9;
  EXPECT_EQ(encode(shape_), AMAQ_INVALID_ARGUMENT);
  EXPECT_EQ(amaq_encode(nullptr, AMAQ_FP32, nullptr, nullptr, nullptr, nullptr, 0),
            AMAQ_INVALID_ARGUMENT);
  EXPECT_EQ(amaq_abi_version(), AMAQ_ABI_VERSION);
}

TEST_F(CApiTest, OptionsReachTheCodec) {
  const amaq_options options = {AMAQ_ABSMAX, AMAQ_STOCHASTIC, 99, nullptr};
  const auto sections =
      Encode(x_.view(), widths_, {sinks_, {}}, {Range::kAbsMax, Rounding::kStochastic, 99});

  ASSERT_EQ(EncodeX(&options), AMAQ_OK);

  EXPECT_EQ(codes_, *FindSection(sections, SectionKind::kCodes));
}

}  // namespace
}  // namespace amaq::quant
