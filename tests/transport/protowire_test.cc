#include "transport/protowire.h"

#include <gtest/gtest.h>

#include <array>
#include <limits>

#include "tests/support/errors.h"

namespace amaq::transport {
namespace {

ProtoReader First(const Bytes& bytes, std::array<ByteSpan, 1>* pieces) {
  *pieces = {ByteSpan(bytes)};
  ProtoReader reader(*pieces, "input");
  EXPECT_TRUE(reader.Next());
  return reader;
}

TEST(ProtowireTest, WritesTheBytesOfThePublishedExample) {
  // protobuf.dev, "Encoding": field 1 with the varint 150, field 2 with "testing".
  Bytes bytes;
  ProtoWriter writer(&bytes);
  writer.Varint(1, 150);
  writer.String(2, "testing");

  EXPECT_EQ(bytes, (Bytes{0x08, 0x96, 0x01, 0x12, 0x07, 't', 'e', 's', 't', 'i', 'n', 'g'}));
}

TEST(ProtowireTest, LeavesZerosOutUnlessAskedToWriteThem) {
  Bytes bytes;
  ProtoWriter writer(&bytes);
  writer.Varint(1, 0);
  writer.Fixed32(2, 0);
  writer.Fixed64(3, 0);
  writer.Double(4, 0.0);
  writer.String(5, "");
  EXPECT_TRUE(bytes.empty());

  writer.Double(4, -0.0);
  EXPECT_EQ(bytes.size(), 9u);
  writer.Fixed64Always(6, 0);
  EXPECT_EQ(bytes.size(), 18u);
}

TEST(ProtowireTest, ReadsBackEveryVarintLength) {
  for (unsigned bits = 0; bits < 64; ++bits) {
    const uint64_t value = uint64_t{1} << bits;
    Bytes bytes;
    ProtoWriter(&bytes).Varint(7, value);
    std::array<ByteSpan, 1> pieces;

    EXPECT_EQ(First(bytes, &pieces).U64(), value);
  }
}

TEST(ProtowireTest, ReadsTheSameFromAnyCutIntoPieces) {
  Bytes bytes;
  ProtoWriter writer(&bytes);
  writer.Varint(1, std::numeric_limits<uint64_t>::max());
  writer.Fixed32(2, 0x01020304);
  writer.Double(3, 2.5);
  writer.String(4, "some text");
  for (size_t cut = 0; cut <= bytes.size(); ++cut) {
    const std::array<ByteSpan, 3> pieces = {ByteSpan(bytes).first(cut), ByteSpan(),
                                            ByteSpan(bytes).subspan(cut)};
    ProtoReader reader(pieces, "input");

    ASSERT_TRUE(reader.Next());
    EXPECT_EQ(reader.U64(), std::numeric_limits<uint64_t>::max());
    ASSERT_TRUE(reader.Next());
    EXPECT_EQ(reader.Fixed32(), 0x01020304u);
    ASSERT_TRUE(reader.Next());
    EXPECT_EQ(reader.Double(), 2.5);
    ASSERT_TRUE(reader.Next());
    EXPECT_EQ(reader.String(9), "some text");
    EXPECT_FALSE(reader.Next());
  }
}

TEST(ProtowireTest, RefusesWhatIsCutShort) {
  for (const Bytes& bytes : {Bytes{0x08}, Bytes{0x08, 0x96}, Bytes{0x12, 0x07, 't'},
                             Bytes{0x0d, 1, 2, 3}, Bytes{0x09, 1, 2, 3, 4, 5, 6, 7}}) {
    const std::array<ByteSpan, 1> pieces = {ByteSpan(bytes)};
    ProtoReader reader(pieces, "input");

    EXPECT_THROWS(reader.Next(), Code::kDataLoss, "input ends inside field");
  }
}

TEST(ProtowireTest, RefusesALengthBeyondTheInputWithoutAllocating) {
  const Bytes bytes = {0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 'x'};
  const std::array<ByteSpan, 1> pieces = {ByteSpan(bytes)};
  ProtoReader reader(pieces, "input");

  EXPECT_THROWS(reader.Next(), Code::kDataLoss, "18446744073709551615 bytes announced, 1 left");
}

TEST(ProtowireTest, RefusesMalformedTagsAndVarints) {
  const Bytes too_long = {0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02};
  for (const Bytes& bytes :
       {too_long, Bytes{0x00}, Bytes{0x0b}, Bytes{0x0f, 1}, Bytes{0x80, 0x80, 0x80, 0x80, 0x10}}) {
    const std::array<ByteSpan, 1> pieces = {ByteSpan(bytes)};
    ProtoReader reader(pieces, "input");

    EXPECT_THROWS(reader.Next(), Code::kInvalidArgument, "input holds");
  }
}

TEST(ProtowireTest, RefusesAValueOfAnotherTypeOrSize) {
  Bytes bytes;
  ProtoWriter(&bytes).Varint(1, uint64_t{1} << 32);
  std::array<ByteSpan, 1> pieces;
  const ProtoReader reader = First(bytes, &pieces);

  EXPECT_THROWS(reader.U32(), Code::kInvalidArgument, "4294967296 in the 32-bit field 1");
  EXPECT_THROWS(reader.Fixed64(), Code::kInvalidArgument, "wire type 0, wanted 1");
  EXPECT_THROWS(reader.pieces(), Code::kInvalidArgument, "wire type 0, wanted 2");
}

TEST(ProtowireTest, JoinsNoMoreThanTheLimit) {
  Bytes bytes;
  ProtoWriter(&bytes).String(1, "12345");
  std::array<ByteSpan, 1> pieces;
  const ProtoReader reader = First(bytes, &pieces);

  EXPECT_EQ(reader.Joined(5).size(), 5u);
  EXPECT_THROWS(reader.Joined(4), Code::kInvalidArgument, "at most 4 are allowed");
}

}  // namespace
}  // namespace amaq::transport
