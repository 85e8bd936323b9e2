// Messages of the methods with tiles and with visits as an independent implementation of
// docs/formats/tiles.md and aqsgd.md made them (tests/golden/README.md).

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <string>
#include <vector>

#include "core/bytes.h"
#include "quant/coder.h"
#include "tests/quant/vector_storage.h"

namespace amaq::quant {
namespace {

struct GoldenMessage {
  int64_t rows = 0;
  std::vector<uint32_t> segments, sinks, row_ids;
  std::vector<uint64_t> keys;
  std::vector<uint8_t> widths;
  std::vector<float> x, decoded;
  std::vector<Section> sections;  // ascending kinds
};

struct GoldenRun {
  CoderConfig config;
  TensorKind kind = TensorKind::kActivation;
  int64_t channels = 0;
  Rounding rounding = Rounding::kNearestEven;
  uint64_t key = 0;
  std::vector<GoldenMessage> messages;

  std::unique_ptr<Coder> NewCoder() const {
    return MakeCoder(config, kind, std::make_unique<VectorStorage>(config.cache_bytes));
  }
  MessageContext ContextOf(uint32_t number) const {
    const GoldenMessage& message = messages[number];
    MessageContext context;
    context.widths = message.widths;
    context.rows = {message.sinks, message.row_ids};
    context.rounding = rounding;
    context.rounding_key = key;
    context.samples = SampleContext{message.segments, message.keys, {0, 0, number}};
    return context;
  }
};

template <typename T>
std::vector<T> ReadArray(ByteReader* reader, size_t count) {
  std::vector<T> values(count);
  for (T& value : values) value = reader->Read<T>();
  return values;
}

GoldenMessage ReadGoldenMessage(ByteReader* reader, size_t channels) {
  GoldenMessage message;
  message.rows = reader->Read<uint32_t>();
  const auto num_segments = reader->Read<uint32_t>();
  message.segments = ReadArray<uint32_t>(reader, num_segments + 1);
  message.keys = ReadArray<uint64_t>(reader, num_segments);
  message.sinks = ReadArray<uint32_t>(reader, reader->Read<uint32_t>());
  message.row_ids = ReadArray<uint32_t>(reader, reader->Read<uint32_t>());
  message.widths = ReadArray<uint8_t>(reader, channels);
  message.x = ReadArray<float>(reader, static_cast<size_t>(message.rows) * channels);
  const auto num_sections = reader->Read<uint32_t>();
  for (uint32_t i = 0; i < num_sections; ++i) {
    const auto kind = static_cast<SectionKind>(reader->Read<uint32_t>());
    message.sections.push_back({kind, ReadArray<uint8_t>(reader, reader->Read<uint32_t>())});
  }
  message.decoded = ReadArray<float>(reader, message.x.size());
  return message;
}

GoldenRun Load(const std::string& name) {
  std::ifstream file(AMAQ_SOURCE_DIR "/tests/golden/coders/" + name + ".bin", std::ios::binary);
  const Bytes bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  ByteReader reader(bytes, "golden file");
  const ByteSpan magic = reader.Take(8);
  EXPECT_EQ(std::string(magic.begin(), magic.end()), "AMAQCOD1");
  GoldenRun run;
  run.config.method = static_cast<Method>(reader.Read<uint32_t>());
  run.kind = reader.Read<uint32_t>() == 1 ? TensorKind::kActivation : TensorKind::kGradient;
  run.config.group_size = reader.Read<uint32_t>();
  run.config.cache_bytes = 1 << 16;
  run.channels = reader.Read<uint32_t>();
  run.rounding = static_cast<Rounding>(reader.Read<uint32_t>());
  run.key = reader.Read<uint64_t>();
  const auto num_messages = reader.Read<uint32_t>();
  for (uint32_t i = 0; i < num_messages; ++i) {
    run.messages.push_back(ReadGoldenMessage(&reader, static_cast<size_t>(run.channels)));
  }
  reader.ExpectEnd();
  return run;
}

class CoderGoldenTest : public ::testing::TestWithParam<std::string> {};

TEST_P(CoderGoldenTest, InputsBecomeTheStoredSections) {
  const GoldenRun run = Load(GetParam());
  const auto coder = run.NewCoder();
  for (uint32_t i = 0; i < run.messages.size(); ++i) {
    SCOPED_TRACE(i);
    const GoldenMessage& message = run.messages[i];
    std::vector<float> decoded(message.x.size());

    const CodedMatrix sent = coder->Encode(
        {message.x.data(), DType::kF32, message.rows, run.channels}, run.ContextOf(i), decoded);

    ASSERT_FALSE(sent.raw_dtype.has_value());
    std::map<SectionKind, Bytes> by_kind;
    for (const Section& section : sent.sections) by_kind[section.kind] = section.bytes;
    EXPECT_EQ(by_kind.size(), message.sections.size());
    for (const Section& section : message.sections) {
      EXPECT_EQ(by_kind[section.kind], section.bytes) << static_cast<uint32_t>(section.kind);
    }
    EXPECT_EQ(decoded, message.decoded);
  }
}

TEST_P(CoderGoldenTest, StoredSectionsDecodeToTheStoredValues) {
  const GoldenRun run = Load(GetParam());
  const auto coder = run.NewCoder();
  for (uint32_t i = 0; i < run.messages.size(); ++i) {
    const GoldenMessage& message = run.messages[i];
    std::vector<float> out(message.x.size(), kUntouched);

    coder->Decode(message.sections, std::nullopt, run.ContextOf(i), message.rows, run.channels,
                  out);

    EXPECT_EQ(out, message.decoded) << "message " << i;
  }
}

TEST_P(CoderGoldenTest, AChangedCodeDecodesToAnotherValue) {  // negative control
  GoldenRun run = Load(GetParam());
  GoldenMessage& message = run.messages.back();
  const auto coder = run.NewCoder();
  std::vector<float> out(message.x.size());
  for (uint32_t i = 0; i < run.messages.size(); ++i) {
    out.assign(run.messages[i].x.size(), 0);
    if (&run.messages[i] == &message) {
      for (Section& section : message.sections) {
        if (section.kind == SectionKind::kCodes) section.bytes[0] ^= 1;
      }
    }
    coder->Decode(run.messages[i].sections, std::nullopt, run.ContextOf(i), run.messages[i].rows,
                  run.channels, out);
  }
  EXPECT_NE(out, message.decoded);
}

INSTANTIATE_TEST_SUITE_P(Files, CoderGoldenTest,
                         ::testing::Values("group", "group_wide", "group_gradient", "tahquant",
                                           "tahquant_gradient", "aqsgd", "amaq_delta"),
                         [](const auto& test) { return test.param; });

TEST(CoderGoldenFilesTest, EveryFileIsTested) {
  size_t files = 0;
  for (const auto& entry :
       std::filesystem::directory_iterator(AMAQ_SOURCE_DIR "/tests/golden/coders")) {
    files += entry.path().extension() == ".bin" ? 1u : 0u;
  }
  EXPECT_EQ(files, 7u);
}

}  // namespace
}  // namespace amaq::quant
