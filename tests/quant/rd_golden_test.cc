// Messages of an implementation of docs/formats/rd.md of its own (scripts/make_rd_golden.py): what
// they stand for, and what the model makes of them.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>

#include "core/bytes.h"
#include "quant/kernels.h"
#include "quant/rd.h"

namespace amaq::quant {
namespace {

struct GoldenMessage {
  size_t rows = 0;
  bool is_kept = false;
  std::vector<Section> sections;
  std::vector<float> values;
};

struct GoldenRun {
  uint32_t channels = 0;
  std::vector<GoldenMessage> messages;
};

GoldenRun ReadRun(const std::string& name) {
  std::ifstream file(AMAQ_SOURCE_DIR "/tests/golden/rd/" + name, std::ios::binary);
  const Bytes bytes{std::istreambuf_iterator<char>(file), {}};
  ByteReader reader(bytes, name);
  EXPECT_EQ(std::memcmp(reader.Take(8).data(), "AMAQRD01", 8), 0);
  GoldenRun run;
  run.channels = reader.Read<uint32_t>();
  run.messages.resize(reader.Read<uint32_t>());
  for (GoldenMessage& message : run.messages) {
    message.rows = reader.Read<uint32_t>();
    message.is_kept = reader.Read<uint32_t>() != 0;
    for (const SectionKind kind : {SectionKind::kRdClasses, SectionKind::kRdCodes}) {
      const ByteSpan section = reader.Take(reader.Read<uint32_t>());
      if (section.empty()) continue;
      message.sections.push_back({kind, Bytes(section.begin(), section.end())});
    }
    message.values.resize(message.rows * run.channels);
    const ByteSpan values = reader.Take(message.values.size() * sizeof(float));
    std::memcpy(message.values.data(), values.data(), values.size());
  }
  reader.ExpectEnd();
  return run;
}

void ExpectDecodes(const std::string& name, const KernelSet& kernels) {
  const GoldenRun run = ReadRun(name);
  RdModel model(run.channels);
  uint64_t step = 0;
  for (uint32_t i = 0; i < run.messages.size(); ++i) {
    const GoldenMessage& message = run.messages[i];
    std::vector<float> out(message.values.size());
    model.Add({step, 0, i}, RdDecode(message.sections, model, out, {.kernels = &kernels}));
    ASSERT_EQ(std::memcmp(out.data(), message.values.data(), out.size() * sizeof(float)), 0)
        << name << ", message " << i << ", " << kernels.name;
    if (message.is_kept) model.Keep({++step, 0, 0});
  }
}

TEST(RdGolden, StoredMessagesDecodeToTheirValuesOnEveryKernelSet) {
  for (const KernelSet& kernels : AllKernelSets()) {
    ExpectDecodes("example.bin", kernels);
    ExpectDecodes("run.bin", kernels);
  }
}

TEST(RdGolden, ValuesOfTheWorkedExampleCostItsBytes) {
  const GoldenRun run = ReadRun("example.bin");
  const std::vector<float> y = {1.0f, -2.0f};
  RdOptions options;
  options.dead_zone = 0;
  const RdEncoded coded = RdEncode(y, options, RdModel(2), {}).value();
  ASSERT_EQ(coded.sections.size(), 1u);
  EXPECT_EQ(coded.sections[0].bytes, run.messages[0].sections[0].bytes);
}

TEST(RdGolden, AModelThatMissedAMessageIsNoticed) {
  const GoldenRun run = ReadRun("run.bin");
  RdModel model(run.channels);
  std::vector<float> out(run.messages[1].values.size());
  EXPECT_THROW(RdDecode(run.messages[1].sections, model, out), Error);
}

}  // namespace
}  // namespace amaq::quant
