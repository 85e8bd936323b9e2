// Hand-written wire form against generated code, both ways.

#include <gtest/gtest.h>

#include <array>
#include <string>

#include "amaq/v1/frame.pb.h"
#include "tests/support/message_builder.h"
#include "transport/chunker.h"
#include "transport/frame.h"
#include "transport/step_header.h"

namespace amaq::transport {
namespace {

std::string Text(ByteSpan bytes) { return {bytes.begin(), bytes.end()}; }

Message WithItem(const Item& item) {
  Message message = test::Forward(1u << 20, 3, {10, 0, 300});
  message.key.attempt = 1;
  message.tensor = TensorSpec{.tokens = 160,
                              .channels = 576,
                              .dtype = DType::kF16,
                              .cut = 2,
                              .direction = Direction::kBackward};
  message.gate = {
      .version = 300, .phase = GatePhase::kFrozen, .target_bits = -0.0, .decoded_version = 1};
  message.item = item;
  return message;
}

v1::StepHeader Generated(const Message& message) {
  v1::StepHeader header;
  header.set_micro_batches(message.micro_batches);
  header.set_loss_tokens(message.loss_tokens);
  v1::TensorSpec& tensor = *header.mutable_tensor();
  tensor.set_tokens(message.tensor->tokens);
  tensor.set_channels(message.tensor->channels);
  tensor.set_dtype(static_cast<v1::DType>(message.tensor->dtype));
  tensor.set_cut(message.tensor->cut);
  tensor.set_direction(static_cast<v1::Direction>(message.tensor->direction));
  v1::GateState& gate = *header.mutable_gate();
  gate.set_version(message.gate.version);
  gate.set_phase(static_cast<v1::GatePhase>(message.gate.phase));
  gate.set_target_bits(message.gate.target_bits);
  gate.set_decoded_version(message.gate.decoded_version);
  for (const Section& section : message.sections) {
    v1::Section& shape = *header.add_sections();
    shape.set_kind(static_cast<v1::SectionKind>(section.kind));
    shape.set_length(section.bytes.size());
  }
  return header;
}

// Overloads fill the oneof.
void Fill(const std::monostate&, v1::StepHeader*) {}
void Fill(const BackwardInfo& info, v1::StepHeader* out) {
  out->mutable_backward()->set_loss_sum(info.loss_sum);
  out->mutable_backward()->set_tokens(info.tokens);
}
void Fill(const NormInfo& info, v1::StepHeader* out) {
  out->mutable_norm()->set_finite(info.finite);
}
void Fill(const CommitInfo& info, v1::StepHeader* out) {
  out->mutable_commit()->set_skip(info.skip);
  out->mutable_commit()->set_clip_scale(info.clip_scale);
  out->mutable_commit()->set_learning_rate(info.learning_rate);
  out->mutable_commit()->set_gate_version(info.gate_version);
}
void Fill(const CommittedInfo& info, v1::StepHeader* out) {
  out->mutable_committed()->set_committed_steps(info.committed_steps);
}
void Fill(const AbortInfo& info, v1::StepHeader* out) {
  out->mutable_abort()->set_reason(info.reason);
}
void Fill(const EvalInfo& info, v1::StepHeader* out) {
  out->mutable_eval()->set_loss_sum(info.loss_sum);
  out->mutable_eval()->set_tokens(info.tokens);
  out->mutable_eval()->set_correct(info.correct);
}
void Fill(const DecodeInfo& info, v1::StepHeader* out) {
  out->mutable_decode()->set_token_id(info.token_id);
}
void Fill(const NonFinite& info, v1::StepHeader* out) {
  out->mutable_non_finite()->set_tensor(info.tensor);
  out->mutable_non_finite()->set_token(info.token);
  out->mutable_non_finite()->set_channel(info.channel);
}

TEST(FrameOracleTest, HeadersHaveTheBytesOfGeneratedCode) {
  for (const Item& item : test::EveryItem()) {
    const Message message = WithItem(item);
    v1::StepHeader generated = Generated(message);
    std::visit([&](const auto& info) { Fill(info, &generated); }, item);

    EXPECT_EQ(Text(EncodeStepHeader(message)), generated.SerializeAsString())
        << "item " << item.index();
  }
}

TEST(FrameOracleTest, DefaultHeadersHaveTheBytesOfGeneratedCode) {
  EXPECT_EQ(Text(EncodeStepHeader(Message{})), v1::StepHeader().SerializeAsString());

  Message message;
  message.item = NormInfo{.finite = false};
  v1::StepHeader generated;
  generated.mutable_norm();
  EXPECT_EQ(Text(EncodeStepHeader(message)), generated.SerializeAsString());
}

TEST(FrameOracleTest, FramesHaveTheBytesOfGeneratedCode) {
  const Message message = WithItem(BackwardInfo{.loss_sum = 1, .tokens = 2});
  Chunker chunker(message, 9, 100);
  while (!chunker.done()) {
    const Frame frame = chunker.Next(7);
    v1::Frame generated;
    generated.set_epoch(frame.key.epoch);
    generated.set_step(frame.key.step);
    generated.set_attempt(frame.key.attempt);
    generated.set_micro_batch(frame.key.micro_batch);
    generated.set_phase(static_cast<v1::Phase>(frame.key.phase));
    generated.set_request_id(frame.key.request_id);
    generated.set_ack(frame.ack);
    generated.set_sequence(frame.sequence);
    generated.set_index(frame.index);
    generated.set_count(frame.count);
    generated.set_total_bytes(frame.total_bytes);
    generated.set_header(Text(frame.header));
    std::string payload;
    for (const ByteSpan piece : frame.payload) payload += Text(piece);
    generated.set_payload(payload);
    generated.set_crc32c(frame.crc32c);
    generated.set_digest(frame.digest);

    EXPECT_EQ(Text(FlattenFrame(frame)), generated.SerializeAsString()) << "chunk " << frame.index;
  }
}

TEST(FrameOracleTest, AnAckOfZeroIsWrittenAsGeneratedCodeWritesIt) {
  const Message message;
  Chunker chunker(message, 1, 100);
  const Frame frame = chunker.Next(0);
  v1::Frame parsed;

  ASSERT_TRUE(parsed.ParseFromString(Text(FlattenFrame(frame))));

  EXPECT_TRUE(parsed.has_ack());
  EXPECT_EQ(parsed.SerializeAsString(), Text(FlattenFrame(frame)));
}

TEST(FrameOracleTest, GeneratedCodeReadsOurFramesAndWeReadItsOwn) {
  const Message message = WithItem(AbortInfo{.reason = "calibrated"});
  Chunker chunker(message, 1, 1000);
  const Frame frame = chunker.Next(0);
  v1::Frame parsed;
  v1::StepHeader header;

  ASSERT_TRUE(parsed.ParseFromString(Text(FlattenFrame(frame))));
  ASSERT_TRUE(header.ParseFromString(parsed.header()));
  EXPECT_EQ(header.abort().reason(), "calibrated");
  EXPECT_EQ(header.sections(2).length(), 300u);
  EXPECT_EQ(parsed.payload().size(), 310u);

  const std::string again = parsed.SerializeAsString();
  const std::array<ByteSpan, 1> pieces = {
      ByteSpan(reinterpret_cast<const uint8_t*>(again.data()), again.size())};
  const std::optional<Message> back = Assembler(1000).Add(DecodeFrame(pieces));
  ASSERT_TRUE(back);
  test::ExpectEqual(*back, message);
}

}  // namespace
}  // namespace amaq::transport
