#include "transport/frame.h"

#include <gtest/gtest.h>

#include <array>

#include "core/crc32c.h"
#include "tests/support/errors.h"
#include "tests/support/hostile_bytes.h"
#include "tests/support/message_builder.h"
#include "transport/chunker.h"
#include "transport/limits.h"

namespace amaq::transport {
namespace {

const Bytes kPayload = {1, 2, 3, 4, 5, 6, 7, 8, 9};

Frame Sample() {
  Frame frame;
  frame.key = {.epoch = 3,
               .step = 1u << 20,
               .attempt = 2,
               .micro_batch = 200,
               .phase = Phase::kEvaluate,
               .request_id = 77};
  frame.ack = 5;
  frame.sequence = 6;
  frame.index = 1;
  frame.count = 4;
  frame.total_bytes = 1u << 24;
  frame.header = {9, 8, 7};
  frame.payload = {ByteSpan(kPayload).first(4), ByteSpan(kPayload).subspan(4)};
  frame.digest = 0x0102030405060708;
  frame.crc32c = FrameCrc(frame);
  return frame;
}

Frame Decode(ByteSpan bytes) {
  const std::array<ByteSpan, 1> pieces = {bytes};
  return DecodeFrame(pieces);
}

TEST(FrameTest, ComesBackAsItWas) {
  const Frame frame = Sample();
  const Bytes bytes = FlattenFrame(frame);

  const Frame back = Decode(bytes);

  EXPECT_EQ(back.key, frame.key);
  EXPECT_EQ(back.ack, 5u);
  EXPECT_EQ(back.sequence, 6u);
  EXPECT_EQ(back.index, 1u);
  EXPECT_EQ(back.count, 4u);
  EXPECT_EQ(back.total_bytes, frame.total_bytes);
  EXPECT_EQ(back.header, frame.header);
  EXPECT_EQ(back.digest, frame.digest);
  ASSERT_EQ(back.payload.size(), 1u);
  EXPECT_EQ(Bytes(back.payload[0].begin(), back.payload[0].end()), kPayload);
}

TEST(FrameTest, PayloadIsNotCopied) {
  const Bytes bytes = FlattenFrame(Sample());

  const Frame back = Decode(bytes);

  EXPECT_GE(back.payload[0].data(), bytes.data());
  EXPECT_LT(back.payload[0].data(), bytes.data() + bytes.size());
}

TEST(FrameTest, ByteCountDoesNotDependOnAckAndSequence) {
  Frame early = Sample();
  early.ack = 0;
  early.sequence = 1;
  Frame late = Sample();
  late.ack = 1u << 30;
  late.sequence = 1u << 30;

  EXPECT_EQ(FlattenFrame(early).size(), FlattenFrame(late).size());
}

TEST(FrameTest, CrcCoversTheFieldsAsTheFormatPageSays) {
  // Built by hand from docs/formats/frame.md: 64 bytes of fields, header, payload.
  Frame frame;
  frame.key = {.epoch = 1, .step = 2, .attempt = 3, .micro_batch = 4, .phase = Phase::kForward};
  frame.key.request_id = 5;
  frame.ack = 6;
  frame.sequence = 7;
  frame.index = 8;
  frame.count = 9;
  frame.total_bytes = 10;
  frame.header = {0xaa};
  frame.payload = {ByteSpan(kPayload).first(1)};
  const Bytes covered = {1,    0, 0, 0,                          // epoch
                         2,    0, 0, 0, 0, 0, 0, 0,              // step
                         3,    0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0,  // attempt, micro_batch, phase
                         5,    0, 0, 0, 0, 0, 0, 0,              // request_id
                         6,    0, 0, 0, 0, 0, 0, 0,              // ack
                         7,    0, 0, 0, 0, 0, 0, 0,              // sequence
                         8,    0, 0, 0, 9, 0, 0, 0,              // index, count
                         10,   0, 0, 0, 0, 0, 0, 0,              // total_bytes
                         0xaa, 1};

  EXPECT_EQ(FrameCrc(frame), Crc32c(0, covered));
}

TEST(FrameTest, EveryFlippedBitOutsideTheDigestIsCaught) {
  Frame frame = Sample();
  frame.digest = 0;
  const Bytes bytes = FlattenFrame(frame);
  for (size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    Bytes damaged = bytes;
    damaged[bit / 8] = static_cast<uint8_t>(damaged[bit / 8] ^ (1u << (bit % 8)));

    EXPECT_FALSE(test::Survives(Decode, damaged)) << "bit " << bit;
  }
}

TEST(FrameTest, NoTruncationIsAccepted) {
  Frame frame = Sample();
  frame.digest = 0;  // which is not covered by the CRC, but by itself

  EXPECT_EQ(test::AcceptedTruncations(Decode, FlattenFrame(frame)), 0u);
}

TEST(FrameTest, RandomCorruptionIsRefusedOrHarmless) {
  const size_t refused = test::RefusedCorruptions(Decode, FlattenFrame(Sample()), 11, 3000);

  EXPECT_GT(refused, 1500u);  // the digest and unknown fields take the rest
}

TEST(FrameTest, UnknownFieldsAreSkipped) {
  Bytes bytes = FlattenFrame(Sample());
  bytes.insert(bytes.end(), {0xf8, 0x7f, 0x05});  // field 2047, varint 5

  EXPECT_EQ(Decode(bytes).key, Sample().key);
}

TEST(FrameTest, RefusesAnUnknownPhase) {
  for (const uint32_t phase : {0u, 11u, 1000u}) {
    Frame frame = Sample();
    frame.key.phase = static_cast<Phase>(phase);
    frame.crc32c = FrameCrc(frame);

    EXPECT_THROWS(Decode(FlattenFrame(frame)), Code::kInvalidArgument, "unknown phase");
  }
}

TEST(FrameTest, RefusesAHeaderOfEightKibibytes) {
  Frame frame = Sample();
  frame.header.assign(kMaxHeaderBytes, 1);
  frame.crc32c = FrameCrc(frame);
  EXPECT_THROWS(Decode(FlattenFrame(frame)), Code::kInvalidArgument, "at most 8191 are allowed");

  frame.header.pop_back();
  frame.crc32c = FrameCrc(frame);
  EXPECT_EQ(Decode(FlattenFrame(frame)).header.size(), 8191u);
}

// The worked example of docs/formats/frame.md.
TEST(FrameTest, HasTheBytesOfTheFormatPage) {
  Message message;
  message.key = {.epoch = 1, .step = 3, .phase = Phase::kCommit};
  message.item = CommitInfo{.clip_scale = 1, .learning_rate = 0.5};
  Chunker chunker(message, 8, kMinChunkBytes);

  Bytes bytes = FlattenFrame(chunker.Next(0));

  ASSERT_EQ(bytes.size(), 63u);
  EXPECT_EQ(bytes[49], 0x75);  // crc32c
  EXPECT_EQ(bytes[54], 0x79);  // digest
  bytes.resize(49);
  EXPECT_EQ(bytes, (Bytes{0x08, 0x01, 0x10, 0x03, 0x28, 0x04,                    //
                          0x39, 0,    0,    0,    0,    0,    0,    0,    0,     //
                          0x41, 8,    0,    0,    0,    0,    0,    0,    0,     //
                          0x50, 0x01, 0x62, 0x15, 0x92, 0x01, 0x12,              //
                          0x11, 0,    0,    0,    0,    0,    0,    0xf0, 0x3f,  //
                          0x19, 0,    0,    0,    0,    0,    0,    0xe0, 0x3f}));
}

}  // namespace
}  // namespace amaq::transport
