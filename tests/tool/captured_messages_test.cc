// A folder as wire.capture_dir fills it: what a message leaves out is found beside it.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "quant/entropy.h"
#include "quant/rows.h"
#include "tests/support/errors.h"
#include "tests/tool/support.h"
#include "tool/coded_message.h"
#include "tool/commands.h"
#include "transport/capture.h"

namespace amaq::tool {
namespace {

using transport::Message;
using transport::Way;

constexpr int64_t kTokens = 12;
constexpr int64_t kChannels = 3;
const std::vector<uint32_t> kSegments = {0, 5, 12};
const std::vector<uint32_t> kSpans = {2, 4, 7, 9};  // rows 2, 3 and 7, 8 are supervised
const std::vector<uint8_t> kWidths = {2, 0, 5};

Section Words(SectionKind kind, const std::vector<uint32_t>& words) {
  Bytes bytes(words.size() * 4);
  std::memcpy(bytes.data(), words.data(), bytes.size());
  return {kind, bytes};
}

class CapturedMessagesTest : public ToolTest {
 protected:
  CapturedMessagesTest() : x_(Ramp(kTokens, kChannels)), capture_(folder()) {
    // Step 0 sends the widths, step 1 uses them.
    Store(Forward(0, true), Way::kUp);
    Store(Forward(1, false), Way::kUp);
    Store(Backward(1), Way::kDown);
  }

  static Message NewMessage(uint64_t step, transport::Phase phase, transport::Direction direction) {
    Message message;
    message.key.step = step;
    message.key.phase = phase;
    message.tensor = transport::TensorSpec{kTokens, kChannels, DType::kF32, 4, direction};
    message.gate.version = 7;
    return message;
  }
  static void Append(std::vector<Section> sections, Message* message) {
    for (Section& section : sections) message->sections.push_back(std::move(section));
  }

  Message Forward(uint64_t step, bool with_widths) const {
    Message message = NewMessage(step, transport::Phase::kForward, transport::Direction::kForward);
    if (with_widths) {
      message.sections.push_back({SectionKind::kWidths, {kWidths.begin(), kWidths.end()}});
    }
    const std::vector<uint32_t> sinks = quant::SinkRows(kSegments, 2);
    Append(quant::Encode({x_.data(), DType::kF32, kTokens, kChannels}, kWidths, {sinks, {}}, {}),
           &message);
    Append({Words(SectionKind::kSegments, kSegments), Words(SectionKind::kSpans, kSpans)},
           &message);
    return message;
  }
  // Rows 0...3 and 5...8; two sink rows a segment.
  Message Backward(uint64_t step) const {
    Message message =
        NewMessage(step, transport::Phase::kBackward, transport::Direction::kBackward);
    const std::vector<uint32_t> sinks = {0, 1, 4, 5};
    Append(quant::Encode({x_.data(), DType::kF32, 8, kChannels}, kWidths, {sinks, {}}, {}),
           &message);
    return message;
  }
  void Store(const Message& message, Way way) const { capture_.Store(message, way); }
  std::string PathOf(const Message& message, Way way) const {
    return Path(CaptureName(message.key, way));
  }

  std::vector<float> x_;
  transport::Capture capture_;
};

TEST_F(CapturedMessagesTest, WidthsOfAnEarlierMessageAreFound) {
  const CodedMessage coded = ReadMessageFile(PathOf(Forward(1, false), Way::kUp), {});

  EXPECT_EQ(coded.widths, kWidths);
  EXPECT_EQ(coded.widths_source, CaptureName(Forward(0, true).key, Way::kUp));
  EXPECT_THAT(coded.sink_rows, ::testing::ElementsAre(0, 1, 5, 6));
  EXPECT_EQ(DecodeTokens(coded).size(), x_.size());
}

TEST_F(CapturedMessagesTest, WidthsOfAnotherVersionAreNotTaken) {
  Message other = Forward(2, false);
  other.gate.version = 8;
  Store(other, Way::kUp);

  EXPECT_THROWS(ReadMessageFile(PathOf(other, Way::kUp), {}), Code::kNotFound, "gate version 8");
  EXPECT_EQ(
      ReadMessageFile(PathOf(other, Way::kUp), {.widths = kWidths, .group_size = {}}).widths_source,
      "given");
}

TEST_F(CapturedMessagesTest, AGradientsRowsComeFromItsForwardMessage) {
  const CodedMessage coded = ReadMessageFile(PathOf(Backward(1), Way::kDown), {});

  EXPECT_THAT(coded.rows, ::testing::ElementsAre(0, 1, 2, 3, 5, 6, 7, 8));
  EXPECT_THAT(coded.sink_rows, ::testing::ElementsAre(0, 1, 4, 5));
  const std::vector<float> tokens = DecodeTokens(coded);
  EXPECT_EQ(tokens[4 * kChannels], 0.0f);  // did not cross
  EXPECT_NE(tokens[5 * kChannels], 0.0f);
}

TEST_F(CapturedMessagesTest, WithoutItsForwardMessageAGradientIsShownFromOutside) {
  const std::string path = PathOf(Backward(1), Way::kDown);
  std::filesystem::remove(PathOf(Forward(1, false), Way::kUp));
  Options options;
  options.input = path;

  EXPECT_THROWS(ReadMessageFile(path, {}), Code::kNotFound, "FORWARD");
  const std::string text = RunInspect(options);
  EXPECT_THAT(text, ::testing::HasSubstr("named by its FORWARD message"));
  EXPECT_THAT(text, ::testing::HasSubstr("codes"));
}

TEST_F(CapturedMessagesTest, WidthsThatDoNotFitTheCodesAreRefusedWithAHint) {
  EXPECT_THROWS(ReadMessageFile(PathOf(Forward(1, false), Way::kUp),
                                {.widths = std::vector<uint8_t>{3, 3, 3}, .group_size = {}}),
                Code::kDataLoss, "--bits or --widths");
}

TEST_F(CapturedMessagesTest, TablesOfAnEarlierMessageRestoreEntropyCodes) {
  constexpr uint32_t kRows = 4000;
  std::vector<float> x = Ramp(kRows, kChannels);
  for (float& value : x) value = std::pow(value, 7.0f);  // most codes are alike
  const Bytes widths(kChannels, 4);
  quant::EntropySender sender;
  std::vector<Message> messages;
  for (uint64_t step = 5; step < 7; ++step) {
    Message message = NewMessage(step, transport::Phase::kForward, transport::Direction::kForward);
    message.tensor->tokens = kRows;
    auto sections = quant::Encode({x.data(), DType::kF32, kRows, kChannels}, widths, {}, {});
    sender.Compress({.widths = widths, .rows = kRows}, &sections);
    Append({{SectionKind::kWidths, widths}, Words(SectionKind::kSegments, {0, kRows})}, &message);
    Append(sections, &message);
    Store(message, Way::kUp);
    messages.push_back(message);
  }
  ASSERT_NE(FindSection(messages[1].sections, SectionKind::kEntropyCodes), nullptr);
  ASSERT_EQ(FindSection(messages[1].sections, SectionKind::kEntropyTables), nullptr);

  const CodedMessage coded = ReadMessageFile(PathOf(messages[1], Way::kUp), {});

  std::vector<float> expected(x.size());
  const auto packed = quant::Encode({x.data(), DType::kF32, kRows, kChannels}, widths, {}, {});
  quant::Decode(packed, widths, {}, kRows, kChannels, expected);
  EXPECT_EQ(DecodeTokens(coded), expected);
  std::filesystem::remove(PathOf(messages[0], Way::kUp));
  EXPECT_THROWS(ReadMessageFile(PathOf(messages[1], Way::kUp), {}), Code::kNotFound, "tables");
}

TEST_F(CapturedMessagesTest, AMessageBeyondTheLimitsIsRefusedBeforeItsRowsAreMade) {
  Message message = Forward(1, true);
  message.tensor->tokens = uint64_t{1} << 40;
  EXPECT_THROWS(Interpret(message, {}), Code::kInvalidArgument, "rows");
  message.tensor->tokens = 0;
  EXPECT_THROWS(Interpret(message, {}), Code::kInvalidArgument, "0 x 3");
}

TEST_F(CapturedMessagesTest, SinkRowsThatFitNoNumberASegmentAreRefused) {
  Message message = Forward(1, true);
  for (Section& section : message.sections) {
    if (section.kind == SectionKind::kSinkRows) section.bytes.resize(3 * kChannels * 2);
  }
  EXPECT_THROWS(Interpret(message, {}), Code::kDataLoss, "3 rows of the sink rows");
}

}  // namespace
}  // namespace amaq::tool
