// The stored payloads of an independent implementation (tests/golden/README.md).

#include <bit>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/bytes.h"
#include "core/rng.h"
#include "quant/codec.h"

namespace amaq::quant {
namespace {

struct Golden {
  int64_t rows, channels;
  DType dtype;
  EncodeOptions options;
  uint64_t computed_key;
  Bytes x;
  std::vector<uint8_t> widths;
  std::vector<uint32_t> sinks, row_ids;
  Bytes ranges, sink_rows, codes;
  std::vector<float> decoded;
  RowPlan plan() const { return {sinks, row_ids}; }
};

template <typename T>
std::vector<T> ReadArray(ByteReader* reader, size_t count) {
  std::vector<T> values(count);
  for (T& value : values) value = reader->Read<T>();
  return values;
}

Golden Load(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  const Bytes bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  ByteReader reader(bytes, "golden file");
  const ByteSpan magic = reader.Take(8);
  EXPECT_EQ(std::string(magic.begin(), magic.end()), "AMAQGLD1");
  Golden golden;
  golden.rows = reader.Read<uint32_t>();
  golden.channels = reader.Read<uint32_t>();
  golden.dtype = static_cast<DType>(reader.Read<uint32_t>());
  golden.options.range = static_cast<Range>(reader.Read<uint32_t>());
  golden.options.rounding = static_cast<Rounding>(reader.Read<uint32_t>());
  const auto num_sinks = reader.Read<uint32_t>();
  const auto has_row_ids = reader.Read<uint32_t>();
  const auto seed = reader.Read<uint64_t>();
  const auto cut = reader.Read<uint32_t>();
  const auto direction = reader.Read<uint32_t>();
  const auto step = reader.Read<uint64_t>();
  const auto micro_batch = reader.Read<uint32_t>();
  golden.computed_key = StochasticRoundingKey(seed, cut, direction, step, micro_batch);
  golden.options.rounding_key = reader.Read<uint64_t>();
  const auto rows = static_cast<size_t>(golden.rows);
  const auto channels = static_cast<size_t>(golden.channels);
  golden.x = ReadArray<uint8_t>(&reader, rows * channels * SizeOf(golden.dtype));
  golden.widths = ReadArray<uint8_t>(&reader, channels);
  golden.sinks = ReadArray<uint32_t>(&reader, num_sinks);
  if (has_row_ids != 0) golden.row_ids = ReadArray<uint32_t>(&reader, rows);
  for (Bytes* section : {&golden.ranges, &golden.sink_rows, &golden.codes}) {
    const auto size = reader.Read<uint32_t>();
    *section = ReadArray<uint8_t>(&reader, size);
  }
  golden.decoded = ReadArray<float>(&reader, rows * channels);
  reader.ExpectEnd();
  return golden;
}

std::vector<std::filesystem::path> GoldenFiles() {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(AMAQ_SOURCE_DIR "/tests/golden")) {
    if (entry.path().extension() == ".bin") files.push_back(entry.path());
  }
  return files;
}

std::vector<Section> StoredSections(const Golden& golden) {
  std::vector<Section> sections = {{SectionKind::kRanges, golden.ranges},
                                   {SectionKind::kCodes, golden.codes}};
  if (!golden.sinks.empty()) sections.push_back({SectionKind::kSinkRows, golden.sink_rows});
  return sections;
}

TEST(GoldenTest, AllFifteenFilesAreThere) { EXPECT_EQ(GoldenFiles().size(), 15u); }

TEST(GoldenTest, StoredInputsEncodeToTheStoredBytes) {
  for (const auto& path : GoldenFiles()) {
    SCOPED_TRACE(path.filename().string());
    const Golden golden = Load(path);

    const auto sections = Encode({golden.x.data(), golden.dtype, golden.rows, golden.channels},
                                 golden.widths, golden.plan(), golden.options);

    EXPECT_EQ(*FindSection(sections, SectionKind::kRanges), golden.ranges);
    EXPECT_EQ(*FindSection(sections, SectionKind::kCodes), golden.codes);
    const Bytes* sink_rows = FindSection(sections, SectionKind::kSinkRows);
    ASSERT_EQ(sink_rows != nullptr, !golden.sinks.empty());
    if (sink_rows != nullptr) {
      EXPECT_EQ(*sink_rows, golden.sink_rows);
    }
  }
}

TEST(GoldenTest, StoredBytesDecodeToTheStoredValuesBitForBit) {
  for (const auto& path : GoldenFiles()) {
    SCOPED_TRACE(path.filename().string());
    const Golden golden = Load(path);
    std::vector<float> out(golden.decoded.size(), -777);

    Decode(StoredSections(golden), golden.widths, golden.plan(), golden.rows, golden.channels, out);

    for (size_t i = 0; i < out.size(); ++i) {
      EXPECT_EQ(std::bit_cast<uint32_t>(out[i]), std::bit_cast<uint32_t>(golden.decoded[i]))
          << "element " << i;
    }
  }
}

TEST(GoldenTest, KeysAreXXH3OfTheTuple) {
  for (const auto& path : GoldenFiles()) {
    const Golden golden = Load(path);
    EXPECT_EQ(golden.computed_key, golden.options.rounding_key) << path;
  }
}

// The bytes of the line "    <name> ..." of the format page; '|' separates its parts.
Bytes BytesOnPage(const std::string& name) {
  std::ifstream page(AMAQ_SOURCE_DIR "/docs/formats/octet.md");
  Bytes bytes;
  for (std::string line; std::getline(page, line);) {
    if (!line.starts_with("    " + name + " ")) continue;
    std::istringstream words(line.substr(4 + name.size()));
    for (std::string word; words >> word;) {
      if (word != "|") bytes.push_back(static_cast<uint8_t>(std::stoul(word, nullptr, 16)));
    }
  }
  return bytes;
}

TEST(GoldenTest, TheWorkedExampleOfTheFormatPageIsAGoldenFile) {
  const Golden golden = Load(AMAQ_SOURCE_DIR "/tests/golden/example.bin");

  EXPECT_EQ(BytesOnPage("kRanges"), golden.ranges);
  EXPECT_EQ(BytesOnPage("kCodes"), golden.codes);
}

TEST(GoldenTest, AnotherKeyGivesOtherBytes) {  // negative control
  Golden golden = Load(AMAQ_SOURCE_DIR "/tests/golden/stochastic.bin");
  golden.options.rounding_key ^= 1;

  const auto sections = Encode({golden.x.data(), golden.dtype, golden.rows, golden.channels},
                               golden.widths, golden.plan(), golden.options);

  EXPECT_NE(*FindSection(sections, SectionKind::kCodes), golden.codes);
}

}  // namespace
}  // namespace amaq::quant
