#include "core/bytes.h"

#include <gtest/gtest.h>

namespace amaq {
namespace {

TEST(BytesTest, AppendWritesLowByteFirst) {
  Bytes bytes;
  AppendLittleEndian(&bytes, uint16_t{0x0102});
  AppendLittleEndian(&bytes, uint32_t{0x03040506});
  AppendLittleEndian(&bytes, uint8_t{7});
  EXPECT_EQ(bytes, (Bytes{0x02, 0x01, 0x06, 0x05, 0x04, 0x03, 0x07}));
}

TEST(BytesTest, ReaderReturnsWhatWasAppended) {
  Bytes bytes;
  AppendLittleEndian(&bytes, uint64_t{0x1122334455667788});
  AppendLittleEndian(&bytes, -1.5f);
  bytes.push_back(9);

  ByteReader reader(bytes, "test input");

  EXPECT_EQ(reader.Read<uint64_t>(), 0x1122334455667788u);
  EXPECT_EQ(reader.Read<float>(), -1.5f);
  EXPECT_EQ(reader.position(), 12u);
  EXPECT_EQ(reader.remaining(), 1u);
  EXPECT_EQ(reader.Take(1)[0], 9);
  EXPECT_NO_THROW(reader.ExpectEnd());
}

TEST(BytesTest, ShortInputIsDataLossAndMovesNothing) {
  const Bytes bytes(3);
  ByteReader reader(bytes, "ranges section");
  try {
    reader.Read<uint32_t>();
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::kDataLoss);
    EXPECT_EQ(error.message(), "ranges section ends early: 4 bytes wanted at offset 0, 3 left");
  }
  EXPECT_EQ(reader.remaining(), 3u);
  EXPECT_NO_THROW(reader.Take(3));
}

TEST(BytesTest, HugeCountCannotWrapAround) {
  const Bytes bytes(3);
  ByteReader reader(bytes, "x");
  reader.Take(1);
  EXPECT_THROW(reader.Take(~size_t{0}), Error);
}

TEST(BytesTest, LeftoverBytesAreRefusedByExpectEnd) {
  const Bytes bytes(2);
  ByteReader reader(bytes, "x");
  EXPECT_THROW(reader.ExpectEnd(), Error);
}

}  // namespace
}  // namespace amaq
