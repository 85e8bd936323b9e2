// Runs with wire.entropy on: the same training, fewer bytes.

#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <string>

#include "tests/support/tiny_run.h"
#include "transport/capture.h"

namespace amaq {
namespace {

using test::RunInproc;
using test::TinyRun;

struct Captured {
  uint64_t bytes = 0;  // of all messages
  std::map<SectionKind, int> sections;
};

Captured ReadAll(const std::string& dir) {
  Captured captured;
  for (const auto& entry : std::filesystem::directory_iterator(dir)) {
    captured.bytes += entry.file_size();
    for (const Section& section : transport::ReadCapture(entry.path().string()).sections) {
      ++captured.sections[section.kind];
    }
  }
  return captured;
}

class EntropyRunTest : public ::testing::Test {
 protected:
  EntropyRunTest() : run_("entropy"), config_(run_.client) {
    config_.wire.dtype = "bf16";
    config_.train.max_steps = 6;
    config_.train.per_device_train_batch_size = 4;
    config_.quant.adapt_steps = 3;
    config_.data.max_train_records = 8;  // an epoch a step: later visits of each
  }

  Bytes RunWith(const std::string& entropy, Captured* captured) {
    config_.wire.entropy = entropy;
    config_.output.dir = run_.Path(config_.quant.method + "-" + entropy);
    config_.wire.capture_dir = config_.output.dir + "-capture";
    const Bytes adapter = RunInproc(config_);
    *captured = ReadAll(config_.wire.capture_dir);
    return adapter;
  }

  TinyRun run_;
  config::ClientConfig config_;
};

TEST_F(EntropyRunTest, AdaptersAreTheSameBytesAndFewerBytesCross) {
  for (const std::string method : {"fixed", "amaq", "group", "tahquant", "aqsgd", "amaq-delta"}) {
    SCOPED_TRACE(method);
    config_.quant.method = method;
    Captured packed, coded;
    const Bytes without = RunWith("off", &packed);
    const Bytes with = RunWith("on", &coded);

    EXPECT_TRUE(with == without);
    EXPECT_EQ(packed.sections[SectionKind::kEntropyCodes], 0);
    // Tiles of so few values do not shrink by 3 %; tests/quant has messages that do.
    if (method == "group" || method == "tahquant") continue;
    EXPECT_GT(coded.sections[SectionKind::kEntropyCodes], 0);
    EXPECT_GT(coded.sections[SectionKind::kEntropyTables], 0);
    EXPECT_EQ(coded.sections[SectionKind::kEntropyCodes] + coded.sections[SectionKind::kCodes],
              packed.sections[SectionKind::kCodes]);
    EXPECT_LT(coded.bytes, packed.bytes);
  }
}

}  // namespace
}  // namespace amaq
