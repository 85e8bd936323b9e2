// Every file in configs/ loads, says how it is run, and is where it is expected.

#include <gmock/gmock.h>

#include <set>

#include "tests/config/support.h"

namespace amaq::config {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

const std::filesystem::path kConfigs = AMAQ_SOURCE_DIR "/configs";

bool IsClientFile(const std::filesystem::path& file) {
  return file.stem().string().ends_with("client");
}

std::set<std::string> ConfigFiles() {
  std::set<std::string> files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(kConfigs)) {
    if (entry.is_regular_file()) files.insert(entry.path().lexically_relative(kConfigs).string());
  }
  return files;
}

TEST(ConfigsTest, FolderHoldsTheseFiles) {
  EXPECT_THAT(ConfigFiles(),
              ElementsAre("client.yaml", "gsm8k-client.yaml", "gsm8k-server.yaml",
                          "quickstart-client.yaml", "quickstart-server.yaml", "server.yaml"));
}

TEST(ConfigsTest, EveryFileLoads) {
  for (const std::string& file : ConfigFiles()) {
    const std::string path = (kConfigs / file).string();
    if (IsClientFile(file)) {
      EXPECT_NO_THROW(LoadClientFile(path)) << file;
    } else {
      EXPECT_NO_THROW(LoadServerFile(path)) << file;
    }
  }
}

TEST(ConfigsTest, EveryFileBeginsWithTheCommandThatRunsIt) {
  for (const std::string& file : ConfigFiles()) {
    const std::string text = ReadText(kConfigs / file);
    const std::string program = IsClientFile(file) ? "client" : "server";
    const std::string head = text.substr(0, text.find("\n\n"));
    EXPECT_THAT(text, StartsWith("# ")) << file;
    EXPECT_THAT(head, HasSubstr(StrCat("#   build/release/src/", program, "/amaq-", program,
                                       " --config configs/", file)));
  }
}

// Comments and key names, without the head and the values.
std::string Skeleton(const std::string& text) {
  std::istringstream lines(text);
  std::string out;
  for (std::string line; std::getline(lines, line);) {
    const bool is_comment = line.find_first_not_of(' ') == line.find('#');
    out += (is_comment ? line : line.substr(0, line.find(':') + 1)) + "\n";
  }
  return out;
}

TEST(ConfigsTest, CompleteFilesHaveEveryKeyWithItsComment) {
  for (const std::string name : {"client", "server"}) {
    const std::string text = ReadText(kConfigs / (name + ".yaml"));
    const std::string generated =
        name == "client" ? AnnotatedYaml(ClientConfig()) : AnnotatedYaml(ServerFileConfig());
    EXPECT_EQ(Skeleton(text.substr(text.find("\n\n") + 1)), Skeleton(generated))
        << "see amaq_config_doc " << name;
  }
}

TEST(ConfigsTest, ReferenceRunIsTheOneThatWasMeasured) {
  const ClientConfig config = LoadClientFile((kConfigs / "gsm8k-client.yaml").string());
  EXPECT_EQ(config.split.client_blocks, 10u);
  EXPECT_EQ(config.lora.r, 8u);
  EXPECT_EQ(config.lora.lora_alpha, 16);
  EXPECT_THAT(config.lora.target_modules, ElementsAre("q_proj", "v_proj"));
  EXPECT_EQ(config.quant.method, "amaq");
  EXPECT_EQ(config.quant.target_bits, 3);
  EXPECT_EQ(config.quant.gradient.bits, "same");
  EXPECT_FALSE(config.data.shuffle);
  EXPECT_EQ(config.data.max_train_records, 240u);
  EXPECT_EQ(config.data.max_eval_records, 32u);
  EXPECT_EQ(config.data.max_length, 160u);
  EXPECT_EQ(config.train.max_steps, 60u);
  EXPECT_EQ(config.train.per_device_train_batch_size, 4u);
  EXPECT_EQ(config.train.per_device_eval_batch_size, 4u);
  EXPECT_EQ(config.train.learning_rate, 4e-4);
  EXPECT_EQ(config.train.warmup_steps, 6u);
  EXPECT_EQ(config.train.min_lr_ratio, 0.1);
  EXPECT_EQ(config.train.weight_decay, 0);
  EXPECT_EQ(config.train.max_grad_norm, 0);
}

}  // namespace
}  // namespace amaq::config
