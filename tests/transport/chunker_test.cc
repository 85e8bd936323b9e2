#include "transport/chunker.h"

#include <gtest/gtest.h>

#include "tests/support/errors.h"
#include "tests/support/message_builder.h"
#include "transport/limits.h"
#include "transport/protowire.h"

namespace amaq::transport {
namespace {

constexpr uint32_t kChunk = 100;
constexpr uint64_t kLimit = 1u << 20;

std::vector<Frame> Cut(const Message& message, uint64_t sequence = 1, uint32_t chunk = kChunk) {
  Chunker chunker(message, sequence, chunk);
  std::vector<Frame> frames;
  while (!chunker.done()) frames.push_back(chunker.Next(0));
  return frames;
}

std::optional<Message> Assemble(const std::vector<Frame>& frames) {
  Assembler assembler(kLimit);
  std::optional<Message> message;
  for (const Frame& frame : frames) message = assembler.Add(frame);
  return message;
}

TEST(ChunkerTest, MessagesOfEverySizeComeBack) {
  for (const size_t size : {0u, 1u, 99u, 100u, 101u, 200u, 307u}) {
    const Message message = test::Forward(1, 0, {size});
    const std::vector<Frame> frames = Cut(message);

    EXPECT_EQ(frames.size(), std::max<size_t>(1, (size + 99) / 100));
    const std::optional<Message> back = Assemble(frames);
    ASSERT_TRUE(back);
    test::ExpectEqual(*back, message);
  }
}

TEST(ChunkerTest, SectionsCrossChunksWhereTheyFall) {
  const Message message = test::Forward(1, 0, {0, 30, 0, 150, 1, 99, 0});

  const std::vector<Frame> frames = Cut(message);

  ASSERT_EQ(frames.size(), 3u);
  EXPECT_EQ(PayloadBytes(frames[0]), 100u);
  EXPECT_EQ(PayloadBytes(frames[2]), 80u);
  const std::optional<Message> back = Assemble(frames);
  ASSERT_TRUE(back);
  test::ExpectEqual(*back, message);
}

TEST(ChunkerTest, AMessageWithoutSectionsIsOneChunk) {
  Message message;
  message.key = {.epoch = 1, .step = 4, .phase = Phase::kCommit};
  message.item = CommitInfo{.learning_rate = 0.5};

  const std::vector<Frame> frames = Cut(message);

  ASSERT_EQ(frames.size(), 1u);
  EXPECT_EQ(std::get<CommitInfo>(Assemble(frames)->item).learning_rate, 0.5);
}

TEST(ChunkerTest, OnlyTheFirstChunkHasAHeaderAndOnlyTheLastADigest) {
  const std::vector<Frame> frames = Cut(test::Forward(1, 0, {250}));

  ASSERT_EQ(frames.size(), 3u);
  EXPECT_FALSE(frames[0].header.empty());
  EXPECT_TRUE(frames[1].header.empty() && frames[2].header.empty());
  EXPECT_EQ(frames[0].digest, 0u);
  EXPECT_EQ(frames[1].digest, 0u);
  EXPECT_EQ(frames[2].digest, MessageDigest(test::Forward(1, 0, {250})));
}

TEST(ChunkerTest, DigestKnowsContentsAndNotTheCut) {
  const Message message = test::Forward(1, 0, {250});
  Message other = message;
  other.sections[0].bytes[249] ^= 1;

  EXPECT_EQ(Cut(message, 1, 7).back().digest, Cut(message, 1, 250).back().digest);
  EXPECT_NE(MessageDigest(message), MessageDigest(other));
}

TEST(ChunkerTest, WireBytesIsWhatTheFramesTake) {
  for (const size_t size : {0u, 1u, 100u, 101u, 5000u}) {
    const Message message = test::Forward(300, 2, {size, 3});
    uint64_t total = 0;
    for (const Frame& frame : Cut(message, 77)) total += FlattenFrame(frame).size() + 5;

    EXPECT_EQ(WireBytes(message, kChunk), total);
  }
}

TEST(AssemblerTest, CopiesEachPayloadByteOnceAndKeepsCount) {
  Assembler assembler(kLimit);
  const Message message = test::Forward(1, 0, {250});

  for (const Frame& frame : Cut(message)) assembler.Add(frame);

  EXPECT_EQ(assembler.copied_bytes(), 250u);
  EXPECT_EQ(assembler.verified(), 1u);
  EXPECT_FALSE(assembler.inside_message());
}

TEST(AssemblerTest, RefusesAMessageAboveTheLimit) {
  Assembler assembler(249);
  const Message message = test::Forward(1, 0, {250});

  EXPECT_THROWS(assembler.Add(Cut(message)[0]), Code::kInvalidArgument,
                "announces 250 bytes, the limit is 249");
}

TEST(AssemblerTest, RefusesSizesThatContradictEachOther) {
  const Message message = test::Forward(1, 0, {250});
  const auto first_with = [&](auto change) {
    Frame frame = Cut(message)[0];
    change(&frame);
    return frame;
  };

  EXPECT_THROWS(Assembler(kLimit).Add(first_with([](Frame* f) { f->total_bytes = 249; })),
                Code::kInvalidArgument, "more than its 249 payload bytes");
  EXPECT_THROWS(Assembler(kLimit).Add(first_with([](Frame* f) { f->total_bytes = 251; })),
                Code::kInvalidArgument, "its sections are 1 bytes shorter");
  EXPECT_THROWS(Assembler(kLimit).Add(first_with([](Frame* f) { f->count = 0; })),
                Code::kInvalidArgument, "announces 0 chunks");
  EXPECT_THROWS(Assembler(kLimit).Add(first_with([](Frame* f) { f->count = 251; })),
                Code::kInvalidArgument, "announces 251 chunks");
  EXPECT_THROWS(Assembler(kLimit).Add(first_with([](Frame* f) { f->count = 1; })),
                Code::kInvalidArgument, "ends 150 bytes before");
  EXPECT_THROWS(Assembler(kLimit).Add(first_with([](Frame* f) { f->payload.clear(); })),
                Code::kInvalidArgument, "0 bytes in chunk 0");
}

TEST(AssemblerTest, SectionLengthsThatOverflowAreRefused) {
  const Message message = test::Forward(1, 0, {});
  Frame frame = Cut(message)[0];
  // Two sections of 2^63 bytes: their sum is 0 in 64 bits.
  Bytes shape;
  ProtoWriter shape_writer(&shape);
  shape_writer.Varint(1, 5);
  shape_writer.Varint(2, uint64_t{1} << 63);
  for (int i = 0; i < 2; ++i) ProtoWriter(&frame.header).Submessage(4, shape);

  EXPECT_THROWS(Assembler(kLimit).Add(frame), Code::kInvalidArgument,
                "more than its 0 payload bytes");
}

TEST(AssemblerTest, RefusesMissingDoubledAndForeignChunks) {
  const Message message = test::Forward(1, 0, {250});
  const Message other = test::Forward(1, 1, {250});
  const std::vector<Frame> frames = Cut(message);
  const auto add_all = [](const std::vector<Frame>& some) { Assemble(some); };

  EXPECT_THROWS(add_all({frames[1]}), Code::kDataLoss, "begins with chunk 1");
  EXPECT_THROWS(add_all({frames[0], frames[2]}), Code::kDataLoss, "continues with chunk 2");
  EXPECT_THROWS(add_all({frames[0], frames[0]}), Code::kDataLoss, "continues with chunk 0");
  EXPECT_THROWS(add_all({frames[0], Cut(other)[1]}), Code::kDataLoss, "is interrupted by");
  EXPECT_THROWS(add_all(Cut(message, 2)), Code::kDataLoss, "sequence number 2, expected 1");
}

TEST(AssemblerTest, RefusesChangesBetweenChunks) {
  const Message message = test::Forward(1, 0, {250});
  std::vector<Frame> frames = Cut(message);
  frames[1].total_bytes = 260;
  EXPECT_THROWS(Assemble(frames), Code::kInvalidArgument, "changes its size between chunks");

  frames = Cut(message);
  frames[1].header = frames[0].header;
  EXPECT_THROWS(Assemble(frames), Code::kInvalidArgument, "has a header in chunk 1");

  frames = Cut(message);
  const Bytes much(151, 0);
  frames[1].payload = {ByteSpan(much)};
  EXPECT_THROWS(Assemble(frames), Code::kInvalidArgument, "151 bytes in chunk 1, 150 of 250");
}

TEST(AssemblerTest, ADigestThatDoesNotMatchIsDataLoss) {
  const Message message = test::Forward(1, 0, {250});
  std::vector<Frame> frames = Cut(message);
  frames[2].digest ^= 1;

  EXPECT_THROWS(Assemble(frames), Code::kDataLoss, "its digest does not match");
}

TEST(ChunkBytesTest, AreHeldToTheirRange) {
  CheckChunkBytes(kMinChunkBytes);
  CheckChunkBytes(kMaxChunkBytes);
  EXPECT_THROWS(CheckChunkBytes(kMinChunkBytes - 1), Code::kInvalidArgument, "wire.chunk_bytes");
  EXPECT_THROWS(CheckChunkBytes(kMaxChunkBytes + 1), Code::kInvalidArgument, "got 4194305");
}

}  // namespace
}  // namespace amaq::transport
