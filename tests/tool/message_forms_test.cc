// What each method writes, as wire.capture_dir keeps it: decoded to what its receiver saw, or shown
// with the reason why its values cannot be had.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <nlohmann/json.hpp>
#include <numeric>

#include "quant/coder.h"
#include "quant/entropy.h"
#include "quant/rd.h"
#include "quant/rd_basis.h"
#include "quant/rows.h"
#include "quant/token_axis.h"
#include "tests/support/errors.h"
#include "tests/tool/support.h"
#include "tool/coded_message.h"
#include "tool/commands.h"
#include "transport/capture.h"

namespace amaq::tool {
namespace {

using nlohmann::json;
using quant::CodedMatrix;
using quant::CoderConfig;
using quant::Method;
using quant::TensorKind;
using transport::Message;
using transport::Way;

constexpr int64_t kTokens = 40;
constexpr int64_t kChannels = 100;
const std::vector<uint32_t> kSegments = {0, 15, 40};
const std::vector<uint32_t> kSpans = {6, 15, 20, 40};
const std::vector<uint32_t> kSinks = {0, 15};

Section Words(SectionKind kind, const std::vector<uint32_t>& words) {
  Bytes bytes(words.size() * 4);
  std::memcpy(bytes.data(), words.data(), bytes.size());
  return {kind, bytes};
}

class Storage final : public quant::CacheStorage {
 public:
  std::span<uint8_t> Grow(uint64_t bytes) override {
    bytes_.resize(bytes);
    return bytes_;
  }

 private:
  Bytes bytes_;
};

class MessageFormsTest : public ToolTest {
 protected:
  MessageFormsTest() : x_(static_cast<size_t>(kTokens * kChannels)), capture_(folder()) {
    for (size_t i = 0; i < x_.size(); ++i) {
      x_[i] = 2 * UniformFloat(PhiloxWord(3, i)) - 1 + static_cast<float>(i % 7);
    }
  }

  static Message NewMessage(uint64_t step, bool is_gradient) {
    Message message;
    message.key.step = step;
    message.key.phase = is_gradient ? transport::Phase::kBackward : transport::Phase::kForward;
    message.tensor = transport::TensorSpec{
        kTokens, kChannels, DType::kBF16, 4,
        is_gradient ? transport::Direction::kBackward : transport::Direction::kForward};
    message.gate.version = 1;
    return message;
  }
  void Append(const std::vector<Section>& sections, Message* message) const {
    for (const Section& section : sections) message->sections.push_back(section);
    if (message->key.phase == transport::Phase::kBackward) return;
    message->sections.push_back(Words(SectionKind::kSegments, kSegments));
    message->sections.push_back(Words(SectionKind::kSpans, kSpans));
  }
  std::string Store(const Message& message) const {
    const Way way = message.key.phase == transport::Phase::kBackward ? Way::kDown : Way::kUp;
    capture_.Store(message, way);
    return Path(CaptureName(message.key, way));
  }

  // Stores the activation at step 0, with its widths, as `coder` writes it. decoded_: what its
  // receiver sees.
  std::string StoreActivation(quant::Coder* coder, const std::vector<uint8_t>& widths) {
    decoded_.resize(x_.size());
    const std::vector<uint32_t> positions = quant::PositionsOfRows(kSegments);
    const CodedMatrix coded =
        coder->Encode({x_.data(), DType::kF32, kTokens, kChannels},
                      {.widths = widths, .rows = {kSinks, {}}, .positions = positions}, decoded_);
    Message message = NewMessage(0, false);
    message.sections.push_back({SectionKind::kWidths, {widths.begin(), widths.end()}});
    Append(coded.sections, &message);
    return Store(message);
  }
  // The gradient of step 0: rows 0 to 13 and 15 to 38 (kSpans supervises what they predict).
  std::string StoreGradient(quant::Coder* coder, const std::vector<uint8_t>& widths) {
    const quant::GradientRows plan = Plan();
    const auto rows = static_cast<int64_t>(plan.rows.size());
    decoded_.resize(static_cast<size_t>(rows * kChannels));
    const CodedMatrix coded = coder->Encode(
        {x_.data(), DType::kF32, rows, kChannels},
        {.widths = widths, .rows = {plan.sink_rows, plan.rows}, .positions = plan.positions},
        decoded_);
    Message message = NewMessage(0, true);
    Append(coded.sections, &message);
    return Store(message);
  }
  static quant::GradientRows Plan() {
    const Message forward = [] {
      Message message = NewMessage(0, false);
      message.sections.push_back(Words(SectionKind::kSpans, kSpans));
      return message;
    }();
    return quant::PlanGradientRows(kSegments, quant::ParseTargetRows(forward.sections, kTokens), 1);
  }

  json Inspect(const std::string& path) const {
    Options options;
    options.input = path;
    options.is_json = true;
    return json::parse(RunInspect(options));
  }
  std::string InspectText(const std::string& path) const {
    Options options;
    options.input = path;
    return RunInspect(options);
  }

  std::vector<float> x_;
  std::vector<float> decoded_;
  transport::Capture capture_;
};

TEST_F(MessageFormsTest, GroupsAreDecodedWhereOneSizeFits) {
  const auto coder =
      quant::MakeCoder({.method = Method::kGroup, .group_size = 32}, TensorKind::kActivation, {});
  const std::string path = StoreActivation(coder.get(), std::vector<uint8_t>(kChannels, 3));

  const CodedMessage coded = ReadMessageFile(path, {});

  EXPECT_EQ(coded.tile_size, 32u);  // no other makes four groups of 100 channels
  EXPECT_EQ(DecodeTokens(coded), decoded_);
}

TEST_F(MessageFormsTest, AGroupSizeThatIsOneOfSeveralMustBeGiven) {
  const auto coder =
      quant::MakeCoder({.method = Method::kGroup, .group_size = 48}, TensorKind::kActivation, {});
  const std::string path = StoreActivation(coder.get(), std::vector<uint8_t>(kChannels, 3));

  EXPECT_THROWS(ReadMessageFile(path, {}), Code::kNotFound, "--group-size");
  const CodedMessage coded = ReadMessageFile(path, {.widths = {}, .group_size = 48});
  EXPECT_EQ(DecodeTokens(coded), decoded_);
  EXPECT_THAT(InspectText(path), ::testing::HasSubstr("give --group-size"));
}

TEST_F(MessageFormsTest, GroupsOfTheDefaultSizeNeedNothing) {
  const auto coder = quant::MakeCoder({.method = Method::kGroup}, TensorKind::kActivation, {});
  const std::string path = StoreActivation(coder.get(), std::vector<uint8_t>(kChannels, 3));

  const json report = Inspect(path);

  EXPECT_EQ(DecodeTokens(ReadMessageFile(path, {})), decoded_);
  EXPECT_THAT(report["coding"].get<std::string>(), ::testing::HasSubstr("groups of 64 channels"));
  EXPECT_EQ(report["ranges"], 38 * 2);  // two tiles of each coded token
  EXPECT_EQ(report["widths"][0]["channels"], kChannels);
  EXPECT_EQ(report["widths"][0]["codes"], 38 * kChannels);
}

TEST_F(MessageFormsTest, TahquantIsDecodedAndItsTokensAreCountedByWidth) {
  const auto coder = quant::MakeCoder({.method = Method::kTahquant}, TensorKind::kActivation, {});
  const std::string path = StoreActivation(coder.get(), std::vector<uint8_t>(kChannels, 4));

  const json report = Inspect(path);

  EXPECT_EQ(DecodeTokens(ReadMessageFile(path, {})), decoded_);
  ASSERT_EQ(report["widths"].size(), 2u);
  EXPECT_EQ(report["widths"][0]["width"], 3);
  EXPECT_EQ(report["widths"][0]["tokens"], 7);  // a fifth of 38
  EXPECT_EQ(report["widths"][1]["tokens"], 31);
}

TEST_F(MessageFormsTest, AGradientsOwnNumberOfBitsFollowsFromTheSizeOfItsCodes) {
  const std::vector<uint8_t> forward_widths(kChannels, 4);
  const auto forward = quant::MakeCoder({.method = Method::kTahquant}, TensorKind::kActivation, {});
  StoreActivation(forward.get(), forward_widths);
  const auto coder = quant::MakeCoder({.method = Method::kTahquant}, TensorKind::kGradient, {});
  const std::string path = StoreGradient(coder.get(), std::vector<uint8_t>(kChannels, 6));

  const CodedMessage coded = ReadMessageFile(path, {});

  EXPECT_EQ(coded.widths, std::vector<uint8_t>(kChannels, 6));
  EXPECT_EQ(DecodeRows(coded), decoded_);
}

TEST_F(MessageFormsTest, TheTokenAxisIsSeenAndDecoded) {
  std::vector<uint8_t> by_position(20);
  for (size_t i = 0; i < by_position.size(); ++i) by_position[i] = static_cast<uint8_t>(2 + i % 4);
  const CoderConfig config{.method = Method::kFixed, .axis = quant::Axis::kToken};
  const auto coder = quant::MakeCoder(config, TensorKind::kActivation, {});
  const std::string path = StoreActivation(coder.get(), by_position);

  const json report = Inspect(path);

  EXPECT_EQ(DecodeTokens(ReadMessageFile(path, {})), decoded_);
  EXPECT_THAT(report["coding"].get<std::string>(), ::testing::HasSubstr("token positions"));
  EXPECT_EQ(report["ranges"], 38);
  const auto gradient = quant::MakeCoder(config, TensorKind::kGradient, {});
  EXPECT_EQ(DecodeRows(ReadMessageFile(StoreGradient(gradient.get(), by_position), {})), decoded_);
}

TEST_F(MessageFormsTest, AsManyPositionsAsChannelsAreStillPositions) {
  const std::vector<uint8_t> by_position(kChannels, 3);
  const CoderConfig config{.method = Method::kFixed, .axis = quant::Axis::kToken};
  const auto coder = quant::MakeCoder(config, TensorKind::kActivation, {});
  const std::string path = StoreActivation(coder.get(), by_position);

  const CodedMessage coded = ReadMessageFile(path, {});

  EXPECT_EQ(coded.form, Form::kTokenAxis);
  EXPECT_EQ(DecodeTokens(coded), decoded_);
}

TEST_F(MessageFormsTest, AFirstVisitIsDecodedAndADifferenceIsNamed) {
  const auto coder = quant::MakeCoder({.method = Method::kAqsgd, .cache_bytes = 1 << 20},
                                      TensorKind::kActivation, std::make_unique<Storage>());
  const std::vector<uint8_t> widths(kChannels, 3);
  const std::vector<uint64_t> keys = {7, 8};
  std::vector<std::string> paths;
  decoded_.resize(x_.size());
  std::vector<std::vector<float>> seen;
  for (uint64_t step = 0; step < 2; ++step) {
    const CodedMatrix coded =
        coder->Encode({x_.data(), DType::kF32, kTokens, kChannels},
                      {.widths = widths,
                       .rows = {kSinks, {}},
                       .samples = quant::SampleContext{kSegments, keys, {step, 0, 0}}},
                      decoded_);
    seen.push_back(decoded_);
    for (float& value : x_) value *= 1.01f;
    Message message = NewMessage(step, false);
    message.sections.push_back({SectionKind::kWidths, {widths.begin(), widths.end()}});
    Append(coded.sections, &message);
    paths.push_back(Store(message));
  }

  EXPECT_EQ(DecodeTokens(ReadMessageFile(paths[0], {})), seen[0]);
  EXPECT_EQ(Inspect(paths[0])["first_visits"], 2);
  EXPECT_EQ(ReadMessageFile(paths[0], {}).form, Form::kOctet);
  const json report = Inspect(paths[1]);
  EXPECT_EQ(report["first_visits"], 0);
  EXPECT_EQ(report["sink_rows"], 2);
  EXPECT_EQ(report["widths"][0]["codes"], 38 * kChannels);
  EXPECT_THAT(report["note"].get<std::string>(), ::testing::HasSubstr("differences"));
  EXPECT_THROWS(DecodeTokens(ReadMessageFile(paths[1], {})), Code::kUnimplemented, "differences");
}

TEST_F(MessageFormsTest, RateDistortionCodesAreShownByPart) {
  const auto coder = quant::MakeCoder({.gradient_rate = 1.5}, TensorKind::kGradient, {});
  Message forward = NewMessage(0, false);
  Append({}, &forward);
  Store(forward);
  for (size_t i = 0; i < x_.size(); ++i) x_[i] *= std::exp2(static_cast<float>(i % 8));
  const std::string path = StoreGradient(coder.get(), std::vector<uint8_t>(kChannels, 3));

  const json report = Inspect(path);

  EXPECT_EQ(report["rd"]["generation"], 0);
  EXPECT_GT(report["rd"]["step"], 0.0);
  uint64_t bytes = 0;
  for (const json& part : report["rd"]["parts"]) bytes += part["bytes"].get<uint64_t>();
  uint64_t sections = 0;
  for (const json& section : report["sections"]) sections += section["bytes"].get<uint64_t>();
  EXPECT_EQ(bytes, sections);
  uint64_t channels = 0;  // the first message names its tables
  for (const json& count : report["rd"]["channel_tables"]) channels += count.get<uint64_t>();
  EXPECT_EQ(channels, static_cast<uint64_t>(kChannels));
  EXPECT_THAT(InspectText(path), ::testing::HasSubstr("model after 0 commits"));
  EXPECT_THROWS(DecodeRows(ReadMessageFile(path, {})), Code::kUnimplemented, "model");
}

TEST_F(MessageFormsTest, RateDistortionCodesThatEndEarlyAreDamaged) {
  Message message = NewMessage(0, false);
  Append({{SectionKind::kRdCodes, {0, 0, 128, 63, 0, 0, 4}}}, &message);

  EXPECT_THROWS(InspectText(Store(message)), Code::kDataLoss, "ends early");
}

// Of one row: flags for row classes and kinds; a class, 3 bits a kind, a kind, a block of 2 bytes.
TEST_F(MessageFormsTest, KindsOfRowsAreAPart) {
  Message message = NewMessage(0, false);
  message.tensor->tokens = 1;
  message.sections = {
      {SectionKind::kRdCodes, {0, 0, 128, 63, 0, 0, 12, 9, 0, 0, 0, 5, 3, 6, 2, 0, 0, 0, 1, 1}},
      Words(SectionKind::kSegments, {0, 1})};

  const json report = Inspect(Store(message));

  EXPECT_EQ(report["rd"]["generation"], 9);
  EXPECT_EQ(report["rd"]["parts"], json::parse(R"([{"name": "head", "bytes": 11},
                                                   {"name": "row classes", "bytes": 1},
                                                   {"name": "kinds of rows", "bytes": 2},
                                                   {"name": "symbols", "bytes": 6}])"));
}

TEST_F(MessageFormsTest, ABasisIsShownByPart) {
  Message message;
  message.key.phase = transport::Phase::kBasis;
  message.sections = quant::WriteRdBasis({quant::Transform::kEigen,
                                          {std::vector<float>(6), std::vector<float>(6)},
                                          {{-4, 0, 9}, std::vector<float>(5 + 4 + 3)}});
  uint64_t bytes_of_sections = 0;
  for (const Section& section : message.sections) bytes_of_sections += section.bytes.size();

  const json report = Inspect(Store(message));

  EXPECT_EQ(report["basis"]["transform"], "eigen");
  EXPECT_EQ(report["basis"]["channels"], 6);
  EXPECT_EQ(report["basis"]["reflectors"], 3);
  EXPECT_EQ(report["basis"]["lowest_weight"], -4);
  EXPECT_EQ(report["basis"]["highest_weight"], 9);
  uint64_t bytes = 0;
  for (const json& part : report["basis"]["parts"]) bytes += part["bytes"].get<uint64_t>();
  EXPECT_EQ(bytes, bytes_of_sections);
  EXPECT_THAT(report["note"].get<std::string>(), ::testing::HasSubstr("no tensor"));
}

}  // namespace
}  // namespace amaq::tool
