#include <gmock/gmock.h>

#include "core/version.h"
#include "tests/config/support.h"

namespace amaq::config {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

std::vector<std::string> Minimal(std::vector<std::string> more = {}) {
  std::vector<std::string> arguments = {"--model", "m.gguf",       "--client-blocks",
                                        "10",      "--train-file", "t.jsonl"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

std::string WriteConfig(const std::string& more = "") {
  const std::filesystem::path file = TestFolder() / "c.yaml";
  WriteText(file,
            "model: {model_name_or_path: m.gguf}\nsplit: {client_blocks: 10}\n"
            "data: {train_file: t.jsonl}\n" +
                more);
  return file.string();
}

TEST(FlagsTest, FlagsAloneAreEnough) {
  const ClientConfig config = ClientRun(Minimal());
  EXPECT_EQ(config.split.client_blocks, 10u);
  EXPECT_EQ(config.model.model_name_or_path, (std::filesystem::current_path() / "m.gguf").string());
}

TEST(FlagsTest, FlagOverridesTheFile) {
  const std::string file = WriteConfig("train: {max_steps: 7, seed: 3}\n");
  const ClientConfig config = ClientRun({"--max-steps", "9", "--config", file});
  EXPECT_EQ(config.train.max_steps, 9u);
  EXPECT_EQ(config.train.seed, 3u);
}

TEST(FlagsTest, ABudgetOverridesTheMethodOfTheFileNotThatOfAFlag) {
  const std::string file = WriteConfig("quant: {method: linear, target_bits: 3}\n");
  const ClientConfig config = ClientRun({"--budget-bits", "1.5", "--config", file});
  EXPECT_EQ(config.quant.method, "amaq-rd");
  EXPECT_EQ(config.quant.target_bits, 2);
  const std::string own =
      WriteConfig("quant: {gradient: {bits: own, bits_offset: 1}, axis: token}\n");
  EXPECT_EQ(ClientRun({"--budget-bits", "1.5", "--config", own}).quant.gradient.bits, "same");
  const Exit exit =
      ClientExit({"--budget-bits", "1.5", "--quant-method", "amaq", "--config", file});
  EXPECT_EQ(exit.code, 1);
  EXPECT_THAT(exit.err_text, HasSubstr("--quant-method: quant.method is amaq, but"));
}

TEST(FlagsTest, LastOfSeveralFlagsForOneKeyWins) {
  EXPECT_EQ(ClientRun(Minimal({"--max-steps", "1", "--set", "train.max_steps=2"})).train.max_steps,
            2u);
  EXPECT_EQ(ClientRun(Minimal({"--set", "max_steps=2", "--max_steps=1"})).train.max_steps, 1u);
}

TEST(FlagsTest, DirectFlagsSetTheirKeys) {
  const ClientConfig config = ClientRun(Minimal({"--learning-rate",
                                                 "4e-4",
                                                 "--output-dir",
                                                 "o",
                                                 "--server",
                                                 "inproc",
                                                 "--eval-file",
                                                 "e.jsonl",
                                                 "--seed",
                                                 "5",
                                                 "--lora-r",
                                                 "4",
                                                 "--target-modules",
                                                 "q_proj,k_proj",
                                                 "--overwrite",
                                                 "--quant-method",
                                                 "fixed",
                                                 "--bits",
                                                 "3",
                                                 "--save-steps",
                                                 "10"}));
  EXPECT_EQ(config.train.learning_rate, 4e-4);
  EXPECT_EQ(config.output.dir, (std::filesystem::current_path() / "o").string());
  EXPECT_EQ(config.server.address, "inproc");
  EXPECT_EQ(config.data.eval_file, (std::filesystem::current_path() / "e.jsonl").string());
  EXPECT_EQ(config.train.seed, 5u);
  EXPECT_EQ(config.lora.r, 4u);
  EXPECT_THAT(config.lora.target_modules, ElementsAre("q_proj", "k_proj"));
  EXPECT_TRUE(config.output.overwrite);
  EXPECT_EQ(config.quant.method, "fixed");
  EXPECT_EQ(config.quant.bits, 3u);
  EXPECT_EQ(config.output.save_steps, 10u);
}

TEST(FlagsTest, HuggingFaceSpellingOfAFlagIsAccepted) {
  const ClientConfig config = ClientRun(
      Minimal({"--learning_rate=1e-3", "--output_dir", "o", "--per_device_train_batch_size", "2",
               "--per-device-train-batch-size", "3"}));
  EXPECT_EQ(config.train.learning_rate, 1e-3);
  EXPECT_EQ(config.train.per_device_train_batch_size, 3u);
}

TEST(FlagsTest, SetTakesTextListsAndNegativeNumbers) {
  const ClientConfig config = ClientRun(Minimal(
      {"--set", "data.prompt_template=Question: {question}\nAnswer:", "--set",
       "data.completion_template= {a}=b", "--set", "lora.target_modules=[q_proj, v_proj, o_proj]",
       "--set", "quant.gradient.bits_offset=-1", "--set", "lora.init_from="}));
  EXPECT_EQ(config.data.prompt_template, "Question: {question}\nAnswer:");
  EXPECT_EQ(config.data.completion_template, " {a}=b");
  EXPECT_THAT(config.lora.target_modules, ElementsAre("q_proj", "v_proj", "o_proj"));
  EXPECT_EQ(config.quant.gradient.bits_offset, -1);
  EXPECT_EQ(config.lora.init_from, "");
}

TEST(FlagsTest, PrintedConfigCanBeFedBackFromAnywhere) {
  const std::string file = WriteConfig("output: {dir: out}\nquant: {target_bits: 3.5}\n");
  const Exit printed =
      ClientExit({"--config", file, "--set", "train.max_steps=3", "--print-config"});
  ASSERT_EQ(printed.code, 0) << printed.err_text;
  const std::filesystem::path other = TestFolder() / "elsewhere";
  std::filesystem::create_directories(other);
  WriteText(other / "effective.yaml", printed.out_text);

  const ClientConfig direct = ClientRun({"--config", file, "--set", "train.max_steps=3"});
  const ClientConfig again = ClientRun({"--config", (other / "effective.yaml").string()});

  EXPECT_EQ(again, direct);
  EXPECT_EQ(DumpYaml(again), printed.out_text);
}

TEST(FlagsTest, DefaultsCanBePrintedWithoutAModel) {
  const Exit exit = ClientExit({"--print-config"});
  EXPECT_EQ(exit.code, 0);
  EXPECT_THAT(exit.out_text, HasSubstr("model_name_or_path: \"\"\n"));
}

TEST(FlagsTest, WrongUsageIsCode2) {
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases = {
      {{"--lerning-rate", "1"}, "unknown option --lerning-rate; did you mean --learning-rate?"},
      {{"--max_step=1"}, "unknown option --max_step; did you mean --max_steps?"},
      {{"c.yaml"}, "unexpected argument c.yaml; a config file is given by --config c.yaml"},
      {{"--max-steps"}, "--max-steps wants a value"},
      {{"--set", "train.seed"}, "--set wants key=value, got train.seed"},
      {{"--set", "train.sead=1"}, "unknown key train.sead; did you mean train.seed?"},
      {{"--set", "limits.max_rank=1"}, "belongs into the server's file"},
      {{"--config", "a.yaml", "--config", "b.yaml"}, "--config is given twice"}};
  for (const auto& [arguments, text] : cases) {
    const Exit exit = ClientExit(arguments);
    EXPECT_EQ(exit.code, 2) << text;
    EXPECT_THAT(exit.err_text, StartsWith("amaq-client: "));
    EXPECT_THAT(exit.err_text, HasSubstr(text));
    EXPECT_EQ(exit.out_text, "");
  }
}

TEST(FlagsTest, BadConfigIsCode1AndNamesTheFlag) {
  EXPECT_EQ(ClientExit(Minimal({"--max-steps", "-1"})).err_text,
            "amaq-client: --max-steps: train.max_steps must be a whole number from 0 to "
            "1000000000, got -1\n");
  EXPECT_EQ(ClientExit(Minimal({"--set", "lora.r=0"})).err_text,
            "amaq-client: --set lora.r: lora.r must be a whole number from 1 to 1024, got 0\n");
  for (const std::vector<std::string>& arguments : {Minimal({"--max-steps", "-1"}),
                                                    Minimal({"--set", "lora.r=0"}),
                                                    {"--config", "none.yaml"},
                                                    {}}) {
    EXPECT_EQ(ClientExit(arguments).code, 1);
  }
}

TEST(FlagsTest, HelpIsForAPerson) {
  const Exit exit = ClientExit({"--help"});
  EXPECT_EQ(exit.code, 0);
  EXPECT_EQ(exit.err_text, "");
  for (const char* part :
       {"Usage: amaq-client --config FILE", "Examples:\n  amaq-client --config", "\nTrain:\n",
        "--learning-rate N", "[0.0002]", "none | fixed | linear | waterfill | group |",
        "| amaq-rd [amaq]", "Exit codes"}) {
    EXPECT_THAT(exit.out_text, HasSubstr(part));
  }
  std::istringstream lines(exit.out_text);
  for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 100u) << line;
}

TEST(FlagsTest, HelpKeysPrintsEveryKey) {
  const Exit exit = ClientExit({"--help-keys"});
  EXPECT_EQ(exit.code, 0);
  EXPECT_EQ(ReadYaml<ClientConfig>(exit.out_text).quant, QuantConfig());
  EXPECT_THAT(exit.out_text, HasSubstr("# A whole number from 1 to 1024. Default: 8."));
}

TEST(FlagsTest, VersionIsThatOfTheProject) {
  EXPECT_EQ(ClientExit({"--version"}).out_text, StrCat("amaq-client ", kVersion, "\n"));
  EXPECT_THAT(ReadText(AMAQ_SOURCE_DIR "/CMakeLists.txt"),
              HasSubstr(StrCat("project(amaq VERSION ", kVersion, " ")));
}

TEST(FlagsTest, ServerHasItsOwnFlags) {
  const char* argv[] = {"amaq-server",
                        "--model",
                        "/m.gguf",
                        "--listen",
                        "127.0.0.1:0",
                        "--port-file",
                        "/p",
                        "--set",
                        "limits.methods=none,amaq",
                        "--threads",
                        "2"};
  const auto parsed = ParseServerCommandLine(static_cast<int>(std::size(argv)), argv);
  ASSERT_TRUE(std::holds_alternative<ServerInvocation>(parsed));
  const ServerFileConfig& config = std::get<ServerInvocation>(parsed).config;
  EXPECT_EQ(config.model.model_name_or_path, "/m.gguf");
  EXPECT_EQ(config.server.address, "127.0.0.1:0");
  EXPECT_EQ(config.server.port_file, "/p");
  EXPECT_THAT(config.limits.methods, ElementsAre("none", "amaq"));
  EXPECT_EQ(config.threads, 2u);
}

TEST(FlagsTest, ServerKnowsNoFlagOfTheClient) {
  const char* argv[] = {"amaq-server", "--max-steps", "3"};
  const auto parsed = ParseServerCommandLine(3, argv);
  ASSERT_TRUE(std::holds_alternative<Exit>(parsed));
  EXPECT_EQ(std::get<Exit>(parsed).code, 2);
}

}  // namespace
}  // namespace amaq::config
