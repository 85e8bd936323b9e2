#include "core/crc32c.h"

#include <gtest/gtest.h>

#include <numeric>
#include <string_view>

namespace amaq {
namespace {

Bytes FromText(std::string_view text) { return Bytes(text.begin(), text.end()); }

// The examples of RFC 3720, appendix B.4 (printed there byte by byte, lowest first).
TEST(Crc32cTest, MatchesTheExamplesOfRfc3720) {
  Bytes ascending(32);
  std::iota(ascending.begin(), ascending.end(), uint8_t{0});
  const Bytes descending(ascending.rbegin(), ascending.rend());
  const Bytes read_command = {0x01, 0xc0, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
                              0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x14, 0x00, 0x00, 0x00,
                              0x00, 0x00, 0x04, 0x00, 0x00, 0x00, 0x00, 0x14, 0x00, 0x00,
                              0x00, 0x18, 0x28, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
                              0x02, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00};

  EXPECT_EQ(Crc32c(0, Bytes(32, 0x00)), 0x8A9136AAu);
  EXPECT_EQ(Crc32c(0, Bytes(32, 0xff)), 0x62A8AB43u);
  EXPECT_EQ(Crc32c(0, ascending), 0x46DD794Eu);
  EXPECT_EQ(Crc32c(0, descending), 0x113FDB5Cu);
  EXPECT_EQ(Crc32c(0, read_command), 0xD9963A56u);
}

TEST(Crc32cTest, MatchesTheCheckValueOfTheCatalogue) {
  EXPECT_EQ(Crc32c(0, FromText("123456789")), 0xE3069283u);
  EXPECT_EQ(Crc32c(0, {}), 0u);
}

// One bit at a time, straight from the polynomial.
uint32_t BitwiseCrc(ByteSpan bytes) {
  uint32_t crc = ~0u;
  for (uint8_t byte : bytes) {
    crc ^= byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1u) != 0 ? 0x82F63B78u : 0u);
  }
  return ~crc;
}

TEST(Crc32cTest, EqualsTheBitwiseFormAtEveryLengthOffsetAndCut) {
  Bytes bytes(100);
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<uint8_t>(i * 37 + 11);
  for (size_t offset : {0u, 1u, 3u, 7u}) {
    for (size_t length = 0; length + offset <= bytes.size(); ++length) {
      const ByteSpan span(bytes.data() + offset, length);
      ASSERT_EQ(Crc32c(0, span), BitwiseCrc(span)) << offset << " " << length;
    }
  }
  for (size_t cut = 0; cut <= bytes.size(); ++cut) {
    const ByteSpan all(bytes);
    ASSERT_EQ(Crc32c(Crc32c(0, all.first(cut)), all.subspan(cut)), BitwiseCrc(bytes)) << cut;
  }
}

TEST(Crc32cTest, EveryFlippedBitIsCaught) {
  Bytes bytes = FromText("what a frame carries");
  const uint32_t good = Crc32c(0, bytes);
  for (size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
    bytes[bit / 8] ^= static_cast<uint8_t>(1u << (bit % 8));
    ASSERT_NE(Crc32c(0, bytes), good) << bit;
    bytes[bit / 8] ^= static_cast<uint8_t>(1u << (bit % 8));
  }
}

}  // namespace
}  // namespace amaq
