#include "tool/commands.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "io/safetensors.h"
#include "quant/codec.h"
#include "tests/support/errors.h"
#include "tests/tool/support.h"
#include "transport/capture.h"

namespace amaq::tool {
namespace {

using nlohmann::json;

Options Files(const std::string& input, const std::string& output) {
  Options options;
  options.input = input;
  options.output = output;
  return options;
}

json Inspect(Options options) {
  options.is_json = true;
  return json::parse(RunInspect(options));
}

class CommandsTest : public ToolTest {
 protected:
  CommandsTest() : x_(Ramp(20, 4)), npy_(WriteNpy("x.npy", 20, 4, x_)) {}
  std::vector<float> x_;
  std::string npy_;
};

TEST_F(CommandsTest, EncodeThenDecodeGivesWhatTheCodecGives) {
  Options encode = Files(npy_, Path("x.frame"));
  encode.coding.bits = 5;
  encode.coding.sink_rows = 1;

  RunEncode(encode);
  RunDecode(Files(Path("x.frame"), Path("back.npy")));

  const std::vector<uint8_t> widths(4, 5);
  const std::vector<uint32_t> sinks = {0};
  const auto sections = quant::Encode({x_.data(), DType::kF32, 20, 4}, widths, {sinks, {}}, {});
  std::vector<float> expected(x_.size());
  quant::Decode(sections, widths, {sinks, {}}, 20, 4, expected);
  EXPECT_EQ(ReadNpy(Path("back.npy")), expected);
}

TEST_F(CommandsTest, AFileIsAMessageThatAnyReaderOfCapturesReads) {
  RunEncode(Files(npy_, Path("x.frame")));

  const transport::Message message = transport::ReadCapture(Path("x.frame"));

  EXPECT_EQ(message.key.phase, transport::Phase::kForward);
  EXPECT_EQ(message.tensor->tokens, 20u);
  EXPECT_EQ(message.tensor->channels, 4u);
  EXPECT_EQ(*FindSection(message.sections, SectionKind::kWidths), Bytes(4, 4));
}

TEST_F(CommandsTest, WidthsOfAFileAreUsedChannelByChannel) {
  Options encode = Files(npy_, Path("x.frame"));
  encode.coding.widths_file = WriteText("widths", "# four channels\n0, 3\n8 1\n");

  RunEncode(encode);

  const transport::Message message = transport::ReadCapture(Path("x.frame"));
  EXPECT_EQ(*FindSection(message.sections, SectionKind::kWidths), (Bytes{0, 3, 8, 1}));
  EXPECT_EQ(FindSection(message.sections, SectionKind::kCodes)->size(), 3u * 12);
}

TEST_F(CommandsTest, WaterFillingGivesLargeRangesMoreBitsWithinTheTarget) {
  Options encode = Files(npy_, Path("x.frame"));
  encode.coding.target_bits = 3.5;

  RunEncode(encode);

  // Ranges rise by a factor of 2 from channel to channel: one bit more each.
  const transport::Message message = transport::ReadCapture(Path("x.frame"));
  EXPECT_EQ(*FindSection(message.sections, SectionKind::kWidths), (Bytes{2, 3, 4, 5}));
}

TEST_F(CommandsTest, InspectMeasuresTheErrorOfATensor) {
  Options options = Files(npy_, "");
  options.coding.bits = 8;
  const json fine = Inspect(options);
  options.coding.bits = 2;
  const json coarse = Inspect(options);

  EXPECT_EQ(fine["elements"], 80);
  EXPECT_EQ(fine["mean_width"], 8.0);
  EXPECT_GT(fine["error"]["snr_db"].get<double>(), coarse["error"]["snr_db"].get<double>() + 30);
  EXPECT_LE(fine["error"]["max"].get<double>(),
            16.0 / 255 / 2 * 1.01);  // half a step, widest range
}

TEST_F(CommandsTest, InspectAccountsForEveryByte) {
  Options encode = Files(npy_, Path("x.frame"));
  encode.coding.sink_rows = 2;
  RunEncode(encode);

  const json report = Inspect(Files(Path("x.frame"), ""));

  uint64_t bytes = 0;
  for (const json& section : report["sections"]) bytes += section["bytes"].get<uint64_t>();
  EXPECT_EQ(bytes, report["payload_bytes"].get<uint64_t>());
  EXPECT_EQ(report["sink_rows"], 2);
  uint64_t codes = 0;
  for (const json& entry : report["widths"]) codes += entry["codes"].get<uint64_t>();
  EXPECT_EQ(codes, 18u * 4);  // the padding of the last group is not counted
  const double tensor_bytes = 4 + (1 + 2 * 4 + 2 * 4) + 2 * 4 * 2 + 3 * 16;
  EXPECT_DOUBLE_EQ(report["effective_bits"].get<double>(), 8 * tensor_bytes / 80);
}

TEST_F(CommandsTest, AgainstTheOriginalNothingIsClippedAndAgainstALargerOneSomeIs) {
  RunEncode(Files(npy_, Path("x.frame")));
  std::vector<float> louder = x_;
  for (float& value : louder) value *= 2;
  Options options = Files(Path("x.frame"), "");

  options.against = npy_;
  const json own = Inspect(options);
  options.against = WriteNpy("louder.npy", 20, 4, louder);
  const json other = Inspect(options);

  EXPECT_EQ(own["error"]["clipped_share"], 0.0);
  EXPECT_GT(other["error"]["clipped_share"].get<double>(), 0.2);
}

TEST_F(CommandsTest, ATensorOfSeveralIsChosenByName) {
  const auto file = io::SerializeSafetensors({{"a", {20, 4}, x_}, {"b", {80}, x_}}, {});
  io::WriteFileAtomically(Path("x.safetensors"), file);
  Options options = Files(Path("x.safetensors"), Path("x.frame"));

  EXPECT_THROWS(RunEncode(options), Code::kInvalidArgument, "--tensor: a, b");
  options.tensor = "b";
  EXPECT_THAT(RunEncode(options), ::testing::HasSubstr("80 x 1"));
}

TEST_F(CommandsTest, DecodeWritesSafetensorsUnderTheNameAskedFor) {
  RunEncode(Files(npy_, Path("x.frame")));
  Options decode = Files(Path("x.frame"), Path("x.safetensors"));
  decode.tensor = "hidden";

  RunDecode(decode);

  EXPECT_THAT(io::SafetensorsFile::Open(Path("x.safetensors"))->Get("hidden").shape,
              ::testing::ElementsAre(20, 4));
}

TEST_F(CommandsTest, BadInputLeavesNoFile) {
  std::vector<float> broken = x_;
  broken[5] = NAN;
  const std::string nan = WriteNpy("nan.npy", 20, 4, broken);
  Options bits = Files(npy_, Path("out"));
  bits.coding.bits = 9;
  Options widths = Files(npy_, Path("out"));
  widths.coding.widths_file = WriteText("widths", "1 2 3");
  Options target = Files(npy_, Path("out"));
  target.coding.target_bits = 8.5;

  EXPECT_THROWS(RunEncode(Files(nan, Path("out"))), Code::kInvalidArgument, "row 1, channel 1");
  EXPECT_THROWS(RunEncode(bits), Code::kInvalidArgument, "--bits must be in [0, 8], got 9");
  EXPECT_THROWS(RunEncode(widths), Code::kInvalidArgument, "3 widths, the tensor has 4");
  EXPECT_THROWS(RunEncode(target), Code::kInvalidArgument, "--target-bits must be in [0, 8]");
  EXPECT_THROWS(RunEncode(Files(Path("no.npy"), Path("out"))), Code::kNotFound, "no.npy");
  EXPECT_THROWS(RunDecode(Files(npy_, Path("out.npy"))), Code::kInvalidArgument, "");
  EXPECT_FALSE(std::filesystem::exists(Path("out")));
  EXPECT_FALSE(std::filesystem::exists(Path("out.npy")));
}

TEST_F(CommandsTest, ADamagedMessageIsRefused) {
  RunEncode(Files(npy_, Path("x.frame")));
  std::string text = io::ReadTextFile(Path("x.frame"), 1 << 20);
  text[text.size() / 2] ^= 1;
  const std::string damaged = WriteText("damaged.frame", text);

  EXPECT_THROWS(RunInspect(Files(damaged, "")), Code::kDataLoss, "CRC");
  EXPECT_THROWS(RunDecode(Files(damaged, Path("back.npy"))), Code::kDataLoss, "CRC");
  EXPECT_FALSE(std::filesystem::exists(Path("back.npy")));
}

TEST_F(CommandsTest, WidthsThatAreNotNumbersUpTo8AreNamedWithTheirLine) {
  Options options = Files(npy_, Path("out"));
  options.coding.widths_file = WriteText("widths", "1 2\n3 nine");
  EXPECT_THROWS(RunEncode(options), Code::kInvalidArgument, "widths:2");
  options.coding.widths_file = WriteText("widths", "1 2 3 9");
  EXPECT_THROWS(RunEncode(options), Code::kInvalidArgument, "got 9");
}

}  // namespace
}  // namespace amaq::tool
