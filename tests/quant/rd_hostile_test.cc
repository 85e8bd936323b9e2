// Bytes that no sender makes: each field by itself, truncations, corruption.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <limits>

#include "core/bytes.h"
#include "quant/rd_format.h"
#include "tests/quant/rd_samples.h"
#include "tests/support/hostile_bytes.h"

namespace amaq::quant {
namespace {

using ::testing::HasSubstr;

constexpr size_t kChannels = 96;
constexpr size_t kIndex = 4, kFlags = 6, kGeneration = 7, kHead = 11;

class RdHostile : public ::testing::Test {
 protected:
  RdHostile() : model_(kChannels) {
    RdSource source(31, kChannels, Shape::kLaplace);
    y_ = source.Next(40);
    RdOptions options = DeadZone(0);
    RdEncoded first = RdEncode(y_, options, model_, {}).value();
    model_.Add({0, 0, 0}, first.counts);
    model_.Keep({1, 0, 0});
    y_[5] = 9000;  // an escape
    sent_ = RdEncode(y_, options, model_, {}).value().sections;
  }

  Bytes& codes() { return sent_.back().bytes; }

  template <typename T>
  void Write(size_t place, T value) {
    std::memcpy(codes().data() + place, &value, sizeof(value));
  }

  void Decode() const {
    std::vector<float> out(y_.size());
    RdDecode(sent_, model_, out);
  }

  // kDataLoss that says this, and an output that nobody touched.
  void ExpectRefused(const std::string& text) const {
    std::vector<float> out(y_.size(), 7.0f);
    EXPECT_ERROR(RdDecode(sent_, model_, out), Code::kDataLoss, text);
    EXPECT_THAT(out, ::testing::Each(7.0f));
  }

  RdModel model_;
  std::vector<float> y_;
  std::vector<Section> sent_;
};

TEST_F(RdHostile, TheMessageItselfIsTaken) {
  ASSERT_EQ(sent_.size(), 1u);
  EXPECT_NO_THROW(Decode());
}

TEST_F(RdHostile, ScalesAndIndicesThatMakeNoStepAreRefused) {
  for (const float scale : {0.0f, -1.0f, std::numeric_limits<float>::infinity(),
                            std::numeric_limits<float>::quiet_NaN(), 1e-42f, 3e38f}) {
    Write(0, scale);
    ExpectRefused("scale");
  }
  Write(0, 1.0f);
  for (const int32_t index : {641, -641, INT16_MAX, INT16_MIN}) {
    Write(kIndex, static_cast<int16_t>(index));
    ExpectRefused("indices go to 640");
  }
}

TEST_F(RdHostile, FlagsAreKnownAndSayTheTruth) {
  const uint8_t flags = codes()[kFlags];
  codes()[kFlags] = static_cast<uint8_t>(flags | 16u);
  ExpectRefused("unknown flags");
  codes()[kFlags] = static_cast<uint8_t>(flags | kRdHasClasses);
  ExpectRefused("no rate-distortion classes section");
  codes()[kFlags] = flags;
  sent_.insert(sent_.begin(), {SectionKind::kRdClasses, Bytes(kChannels, 24)});
  ExpectRefused("classes that its codes do not name");
}

TEST_F(RdHostile, AnotherGenerationIsRefused) {
  for (const uint32_t generation : {0u, 2u, UINT32_MAX}) {
    Write(kGeneration, generation);
    ExpectRefused("here it is of generation 1");
  }
}

TEST_F(RdHostile, ClassesMustBeOfAllChannelsAndInRange) {
  codes()[kFlags] = static_cast<uint8_t>(codes()[kFlags] | kRdHasClasses);
  sent_.insert(sent_.begin(), {SectionKind::kRdClasses, Bytes(kChannels - 1, 24)});
  ExpectRefused("must have 96 bytes");
  sent_.front().bytes = Bytes(kChannels, 24);
  sent_.front().bytes[7] = kRdBases;
  ExpectRefused("channel 7 is in the rate-distortion class 66");
}

TEST_F(RdHostile, SpareBitsOfTheRowClassesMustBeZero) {
  // 23 rows leave 3 bits of their last byte.
  const std::vector<float> y(y_.begin(), y_.begin() + 23 * kChannels);
  RdOptions options = DeadZone(0);
  sent_ = RdEncode(y, options, model_, {}).value().sections;
  ASSERT_NE(codes()[kFlags] & kRdHasRowClasses, 0);
  codes()[kHead + 8] |= 0x80u;
  std::vector<float> out(y.size());
  EXPECT_ERROR(RdDecode(sent_, model_, out), Code::kDataLoss, "spare bits");
}

TEST_F(RdHostile, BlockLengthsAreBounded) {
  const size_t place = kHead + 15;  // behind 40 row classes
  ASSERT_NE(codes()[kFlags] & kRdHasRowClasses, 0);
  for (const uint32_t length : {0u, 3u, UINT32_MAX}) {
    Write(place, length);
    std::vector<float> out(y_.size());
    EXPECT_THROW(RdDecode(sent_, model_, out), Error) << length;
  }
}

TEST_F(RdHostile, EscapesAreBoundedAndNeeded) {
  const size_t end = codes().size();  // 9000: 17999 in three bytes
  ASSERT_EQ(codes()[end - 1], 1u);
  codes().resize(end - 3);
  const Bytes without = codes();
  const auto with = [&](const Bytes& escape) {
    codes() = without;
    codes().insert(codes().end(), escape.begin(), escape.end());
  };
  with({0x01});  // 1 has a symbol of its own
  ExpectRefused("an escaped symbol is 1;");
  with({0x81, 0x80, 0x80, 0x01});  // 2^20 + 1
  ExpectRefused("an escaped symbol is 1048577;");
  with({0xff, 0xff, 0xff, 0xff, 0x01});
  ExpectRefused("too long");
  with({0xcf, 0x8c, 0x81, 0x00});
  ExpectRefused("ill-formed");
  with({0xcf, 0x8c});
  ExpectRefused("ends early");
  with({});
  ExpectRefused("1 escaped symbols in 0 bytes");
  with({0xcf, 0x8c, 0x01, 0x00});
  ExpectRefused("1 bytes too many");
  with({0xcf, 0x8c, 0x01});
  EXPECT_NO_THROW(Decode());
}

TEST_F(RdHostile, AnotherNumberOfRowsIsRefused) {
  std::vector<float> fewer(y_.size() - kChannels), more(y_.size() + kChannels), odd(7);
  EXPECT_THROW(RdDecode(sent_, model_, fewer), Error);
  EXPECT_THROW(RdDecode(sent_, model_, more), Error);
  EXPECT_ERROR(RdDecode(sent_, model_, odd), Code::kInvalidArgument, "no rows of 96");
}

TEST_F(RdHostile, TruncationsAreRefusedAndCorruptionNeverHarms) {
  const auto decode = [&](ByteSpan bytes) {
    std::vector<float> out(y_.size());
    RdDecode({{SectionKind::kRdCodes, Bytes(bytes.begin(), bytes.end())}}, model_, out);
  };
  EXPECT_EQ(test::AcceptedTruncations(decode, codes()), 0u);
  EXPECT_GT(test::RefusedCorruptions(decode, codes(), 32, 2000), 1200u);
}

TEST_F(RdHostile, ADamagedBlockAmongSeveralIsRefused) {
  RdSource source(33, 1024, Shape::kGauss);
  const std::vector<float> y = source.Next(300);  // two blocks
  const RdModel model(1024);
  std::vector<Section> sections = RdEncode(y, DeadZone(40), model, {}).value().sections;
  Bytes bytes = sections.back().bytes;
  const auto decode = [&](ByteSpan input) {
    std::vector<float> out(y.size());
    sections.back().bytes.assign(input.begin(), input.end());
    RdDecode(sections, model, out);
  };
  ASSERT_TRUE(test::Survives(decode, bytes));
  bytes[bytes.size() / 2] ^= 1u;
  EXPECT_FALSE(test::Survives(decode, bytes));
}

}  // namespace
}  // namespace amaq::quant
