#include "core/digest.h"

#include <gtest/gtest.h>

#include <utility>

namespace amaq {
namespace {

Bytes Sequence(size_t length) {  // 0, 1, ..., 255, 0, ...
  Bytes bytes(length);
  for (size_t i = 0; i < length; ++i) bytes[i] = static_cast<uint8_t>(i);
  return bytes;
}

// Computed with Python's xxhash 4.1.0 (library 0.8.4), one length for each of XXH3's code paths.
constexpr std::pair<size_t, uint64_t> kKnown[] = {
    {0, 0x2d06800538d394c2u},   {1, 0xc44bdff4074eecdbu},    {3, 0x5f4299fc161c9cbbu},
    {4, 0x60dab036a58211f2u},   {8, 0x3a1c2d7c85af88f8u},    {9, 0xe9612598145bb9dcu},
    {16, 0x8355e3a6f61770dbu},  {17, 0x9ef341a99de37328u},   {128, 0x85c6174c7ff4c46bu},
    {129, 0xec7642b431ba3e5au}, {240, 0x375a384d957fe865u},  {241, 0x02e8cd95421c6d02u},
    {512, 0x1059105ad19bfa09u}, {1024, 0xa870f92984398d22u}, {1025, 0x78c86e91ee939852u},
    {2048, 0xdd420471ff96bd00u}};

TEST(DigestTest, MatchesKnownValuesOfXxh3) {
  for (const auto& [length, value] : kKnown) {
    EXPECT_EQ(Digest(Sequence(length)), value) << length;
  }
  EXPECT_EQ(Digest(Bytes{'a', 'b', 'c'}), 0x78af5f94892f3950u);
}

TEST(DigestTest, StreamEqualsOneShotAtEveryCut) {
  const Bytes bytes = Sequence(300);
  for (size_t cut = 0; cut <= bytes.size(); ++cut) {
    DigestStream stream;
    stream.Update(ByteSpan(bytes).first(cut));
    stream.Update(ByteSpan(bytes).subspan(cut));
    ASSERT_EQ(stream.value(), Digest(bytes)) << cut;
  }
}

TEST(DigestTest, ValueCanBeReadOnTheWay) {
  DigestStream stream;
  EXPECT_EQ(stream.value(), kKnown[0].second);
  stream.Update(Sequence(128));
  EXPECT_EQ(stream.value(), Digest(Sequence(128)));
  stream.Update(Bytes{128});
  EXPECT_EQ(stream.value(), Digest(Sequence(129)));
}

TEST(DigestTest, FlippedBitChangesTheDigest) {
  Bytes bytes = Sequence(100);
  const uint64_t good = Digest(bytes);
  bytes[57] ^= 1;
  EXPECT_NE(Digest(bytes), good);
}

TEST(DigestTest, HexHasSixteenDigits) {
  EXPECT_EQ(Hex(0), "0000000000000000");
  EXPECT_EQ(Hex(0x0123456789abcdefu), "0123456789abcdef");
  EXPECT_EQ(Hex(~uint64_t{0}), "ffffffffffffffff");
}

}  // namespace
}  // namespace amaq
