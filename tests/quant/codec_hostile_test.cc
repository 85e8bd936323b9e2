// Bytes from a hostile peer: Decode throws kDataLoss and writes nothing, or decodes finite numbers.

#include <algorithm>
#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "quant/codec.h"
#include "tests/quant/samples.h"

namespace amaq::quant {
namespace {

constexpr int64_t kRows = 19;
constexpr int64_t kChannels = 7;
constexpr float kUntouched = -777;

struct Message {
  std::vector<uint8_t> widths = {2, 3, 0, 8, 5, 1, 4};
  std::vector<uint32_t> sinks = {0, 10};
  std::vector<Section> sections;
  RowPlan rows() const { return {sinks, {}}; }
};

Message MakeMessage() {
  Message message;
  const Matrix x = Activations(21, kRows, kChannels);
  message.sections = Encode(x.view(), message.widths, message.rows(), {});
  return message;
}

// True when it decoded. On an error nothing may have been written, and the code is kDataLoss.
bool DecodeOrRefuse(const Message& message) {
  std::vector<float> out(kRows * kChannels, kUntouched);
  const std::optional<Error> error = ErrorOf(
      [&] { Decode(message.sections, message.widths, message.rows(), kRows, kChannels, out); });
  if (error.has_value()) {
    EXPECT_EQ(error->code(), Code::kDataLoss) << error->message();
    EXPECT_THAT(out, ::testing::Each(kUntouched));
    return false;
  }
  EXPECT_TRUE(std::all_of(out.begin(), out.end(), [](float v) { return std::isfinite(v); }));
  EXPECT_EQ(std::count(out.begin(), out.end(), kUntouched), 0);
  return true;
}

TEST(CodecHostileTest, TheUntouchedMessageDecodes) { EXPECT_TRUE(DecodeOrRefuse(MakeMessage())); }

TEST(CodecHostileTest, EveryTruncationOfEverySectionIsRefused) {
  const Message whole = MakeMessage();
  for (size_t i = 0; i < whole.sections.size(); ++i) {
    for (size_t size = 0; size < whole.sections[i].bytes.size(); ++size) {
      Message cut = whole;
      cut.sections[i].bytes.resize(size);
      EXPECT_FALSE(DecodeOrRefuse(cut)) << "section " << i << " cut to " << size;
    }
  }
}

TEST(CodecHostileTest, ExcessBytesAreRefused) {
  for (size_t i = 0; i < 3; ++i) {
    Message longer = MakeMessage();
    longer.sections[i].bytes.push_back(0);
    EXPECT_FALSE(DecodeOrRefuse(longer)) << "section " << i;
  }
}

TEST(CodecHostileTest, AMissingSectionIsRefused) {
  for (size_t i = 0; i < 3; ++i) {
    Message missing = MakeMessage();
    missing.sections.erase(missing.sections.begin() + static_cast<std::ptrdiff_t>(i));
    EXPECT_FALSE(DecodeOrRefuse(missing)) << "section " << i;
  }
}

TEST(CodecHostileTest, SinkRowsThatNobodyPlannedAreRefused) {
  Message message = MakeMessage();
  message.sections[2].bytes.resize(CodesBytes(kRows, message.widths));
  message.sinks.clear();

  EXPECT_FALSE(DecodeOrRefuse(message));
}

TEST(CodecHostileTest, RangesWithoutCodedRowsAreRefused) {
  const std::vector<uint8_t> widths = {3};
  const std::vector<uint32_t> sinks = {0};
  const std::vector<Section> sections = {{SectionKind::kRanges, Bytes(5)},
                                         {SectionKind::kSinkRows, Bytes(2)},
                                         {SectionKind::kCodes, {}}};
  std::vector<float> out(1);

  EXPECT_ERROR(Decode(sections, widths, {sinks, {}}, 1, 1, out), Code::kDataLoss, "empty");
}

TEST(CodecHostileTest, SinkRowsThatAreNotFiniteAreRefused) {
  Message message = MakeMessage();
  message.sections[1].bytes[3] = 0x7f;
  message.sections[1].bytes[2] = 0x80;

  EXPECT_FALSE(DecodeOrRefuse(message));
}

TEST(CodecHostileTest, RandomCorruptionNeverCrashesNorWritesOnError) {
  Random random(22);
  const Message whole = MakeMessage();
  size_t refused = 0;
  for (int round = 0; round < 4000; ++round) {
    Message corrupt = whole;
    const uint32_t hits = 1 + random.Below(4);
    for (uint32_t hit = 0; hit < hits; ++hit) {
      Bytes& bytes = corrupt.sections[random.Below(3)].bytes;
      bytes[random.Below(static_cast<uint32_t>(bytes.size()))] =
          static_cast<uint8_t>(random.Below(256));
    }
    if (!DecodeOrRefuse(corrupt)) ++refused;
  }
  EXPECT_GT(refused, 100u);
  EXPECT_LT(refused, 3900u);
}

TEST(CodecHostileTest, RandomBytesOfRandomSizeNeverCrash) {
  Random random(23);
  for (int round = 0; round < 2000; ++round) {
    Message message = MakeMessage();
    for (Section& section : message.sections) {
      if (random.Below(2) == 0) section.bytes.resize(random.Below(200));
      for (uint8_t& byte : section.bytes) byte = static_cast<uint8_t>(random.Below(256));
    }
    DecodeOrRefuse(message);
  }
}

}  // namespace
}  // namespace amaq::quant
