#include "quant/octet.h"

#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "quant/codec.h"
#include "tests/quant/samples.h"

namespace amaq::quant {
namespace {

using ::testing::ElementsAre;

TEST(OctetTest, CodesOfAChannelAreOneLittleEndianNumber) {
  const std::vector<uint8_t> widths = {3};
  const std::vector<uint8_t> codes = {0, 1, 7, 0, 0, 0, 0, 4};
  Bytes out(3);

  PackGroup(codes.data(), widths, out);

  EXPECT_THAT(out, ElementsAre(0xc8, 0x01, 0x80));
}

TEST(OctetTest, EveryWidthGivesItsCodesBackAtEveryAlignment) {
  Random random(1);
  for (size_t channels : {1u, 2u, 3u, 7u, 8u, 9u, 31u, 64u}) {
    for (size_t misalignment : {0u, 1u, 3u}) {
      std::vector<uint8_t> widths(channels);
      std::vector<uint8_t> codes(8 * channels);
      for (uint8_t& width : widths) width = static_cast<uint8_t>(random.Below(9));
      for (size_t i = 0; i < codes.size(); ++i) {
        codes[i] = static_cast<uint8_t>(random.Below(1u << widths[i % channels]));
      }
      Bytes out(misalignment + GroupBytes(widths));

      PackGroup(codes.data(), widths, std::span(out).subspan(misalignment));

      std::vector<uint8_t> back(codes.size(), 0xee);
      UnpackGroup(ByteSpan(out).subspan(misalignment), widths, back.data());
      EXPECT_EQ(back, codes);
    }
  }
}

TEST(OctetTest, AChangedCodeIsNoticed) {  // negative control of the round trip
  const std::vector<uint8_t> widths = {5, 0, 8};
  std::vector<uint8_t> codes(24, 0);
  Bytes before(13), after(13);
  PackGroup(codes.data(), widths, before);
  codes[21] = 1;

  PackGroup(codes.data(), widths, after);

  EXPECT_NE(before, after);
}

TEST(OctetTest, WidthZeroTakesNoBytes) {
  const std::vector<uint8_t> widths = {0, 2, 0};

  EXPECT_EQ(GroupBytes(widths), 2u);
  EXPECT_EQ(CodesBytes(17, widths), 6u);
}

TEST(OctetTest, BytesAreCeilOfRowsOverEightTimesTheWidths) {
  const std::vector<uint8_t> widths = {1, 2, 3, 4, 5, 6, 7, 8};

  EXPECT_EQ(CodesBytes(0, widths), 0u);
  EXPECT_EQ(CodesBytes(1, widths), 36u);
  EXPECT_EQ(CodesBytes(8, widths), 36u);
  EXPECT_EQ(CodesBytes(9, widths), 72u);
}

}  // namespace
}  // namespace amaq::quant
