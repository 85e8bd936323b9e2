#include "transport/step_header.h"

#include <gtest/gtest.h>

#include <limits>

#include "tests/support/errors.h"
#include "tests/support/hostile_bytes.h"
#include "tests/support/message_builder.h"
#include "transport/limits.h"
#include "transport/protowire.h"

namespace amaq::transport {
namespace {

Message WithEverything() {
  Message message = test::Forward(3, 1, {4, 0, 9});
  message.tensor = TensorSpec{.tokens = 160,
                              .channels = 576,
                              .dtype = DType::kBF16,
                              .cut = 1,
                              .direction = Direction::kBackward};
  message.gate = {
      .version = 4, .phase = GatePhase::kAdapting, .target_bits = 3.5, .decoded_version = 3};
  message.sections[1].kind = SectionKind::kWidths;
  return message;
}

TEST(StepHeaderTest, EveryFieldComesBack) {
  for (const Item& item : test::EveryItem()) {
    Message message = WithEverything();
    message.item = item;
    Message back;

    const std::vector<SectionShape> shapes = DecodeStepHeader(EncodeStepHeader(message), &back);

    EXPECT_EQ(back.micro_batches, message.micro_batches);
    EXPECT_EQ(back.loss_tokens, message.loss_tokens);
    EXPECT_EQ(back.tensor, message.tensor);
    EXPECT_EQ(back.gate, message.gate);
    EXPECT_EQ(back.item.index(), item.index());
    ASSERT_EQ(shapes.size(), 3u);
    EXPECT_EQ(shapes[1].kind, SectionKind::kWidths);
    EXPECT_EQ(shapes[2].length, 9u);
  }
}

TEST(StepHeaderTest, ItemsComeBackWithTheirValues) {
  Message message;
  Message back;
  message.item =
      CommitInfo{.skip = true, .clip_scale = 0.125, .learning_rate = 3e-4, .gate_version = 5};
  DecodeStepHeader(EncodeStepHeader(message), &back);
  const auto& commit = std::get<CommitInfo>(back.item);
  EXPECT_TRUE(commit.skip);
  EXPECT_EQ(commit.clip_scale, 0.125);
  EXPECT_EQ(commit.learning_rate, 3e-4);
  EXPECT_EQ(commit.gate_version, 5u);

  message.item = NonFinite{.tensor = "activation", .token = 12, .channel = 34};
  DecodeStepHeader(EncodeStepHeader(message), &back);
  const auto& non_finite = std::get<NonFinite>(back.item);
  EXPECT_EQ(non_finite.tensor, "activation");
  EXPECT_EQ(non_finite.token, 12u);
  EXPECT_EQ(non_finite.channel, 34u);

  message.item = BackwardInfo{.loss_sum = std::numeric_limits<double>::infinity(), .tokens = 3};
  DecodeStepHeader(EncodeStepHeader(message), &back);
  EXPECT_EQ(std::get<BackwardInfo>(back.item).loss_sum, std::numeric_limits<double>::infinity());
}

// Defaults of ours that are not protobuf's zero must cross as what they are.
TEST(StepHeaderTest, ValuesEqualToZeroCrossAsZero) {
  Message message;
  Message back;
  message.item = NormInfo{.finite = false};
  DecodeStepHeader(EncodeStepHeader(message), &back);
  EXPECT_FALSE(std::get<NormInfo>(back.item).finite);

  message.item = CommitInfo{.clip_scale = 0};
  DecodeStepHeader(EncodeStepHeader(message), &back);
  EXPECT_EQ(std::get<CommitInfo>(back.item).clip_scale, 0.0);
}

TEST(StepHeaderTest, RefusesWhatDoesNotFitIntoAHeader) {
  Message many;
  many.sections.resize(kMaxSections + 1);
  EXPECT_THROWS(EncodeStepHeader(many), Code::kInvalidArgument, "65 sections, at most 64");

  Message wordy;
  wordy.item = AbortInfo{.reason = std::string(kMaxHeaderBytes, 'x')};
  EXPECT_THROWS(EncodeStepHeader(wordy), Code::kInvalidArgument, "fewer than 8192");
}

TEST(StepHeaderTest, RefusesValuesOutsideTheEnums) {
  Message back;
  const auto refuses = [&back](uint32_t field, uint32_t inner, uint64_t value) {
    Bytes nested;
    ProtoWriter(&nested).Varint(inner, value);
    Bytes header;
    ProtoWriter(&header).Submessage(field, nested);
    EXPECT_THROWS(DecodeStepHeader(header, &back), Code::kInvalidArgument, "unknown");
  };

  refuses(2, 3, 5);   // dtype
  refuses(2, 1, 1);   // a tensor without a dtype
  refuses(3, 2, 4);   // gate phase
  refuses(4, 1, 18);  // section kind
  refuses(4, 2, 10);  // a section without a kind
}

TEST(StepHeaderTest, RefusesMoreSectionsThanALimit) {
  Bytes nested;
  ProtoWriter(&nested).Varint(1, 1);
  Bytes header;
  for (size_t i = 0; i <= kMaxSections; ++i) ProtoWriter(&header).Submessage(4, nested);
  Message back;

  EXPECT_THROWS(DecodeStepHeader(header, &back), Code::kInvalidArgument, "more than 64 sections");
}

TEST(StepHeaderTest, HostileHeadersThrowOrDecode) {
  Message message = WithEverything();
  message.item = test::EveryItem().back();
  const auto decode = [](ByteSpan bytes) {
    Message back;
    DecodeStepHeader(bytes, &back);
  };
  const Bytes header = EncodeStepHeader(message);

  EXPECT_LT(test::AcceptedTruncations(decode, header), header.size() / 2);
  EXPECT_GT(test::RefusedCorruptions(decode, header, 5, 3000), 300u);
}

}  // namespace
}  // namespace amaq::transport
