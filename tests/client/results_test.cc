#include "client/results.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>

#include "io/file.h"
#include "io/safetensors.h"
#include "tests/support/errors.h"

namespace amaq::client {
namespace {

using nlohmann::json;

std::string FreshPath(const std::string& name) {
  const std::string path = StrCat(::testing::TempDir(), "amaq-results-", getpid(), "-", name);
  std::filesystem::remove_all(path);
  return path;
}

std::string Read(const std::string& path) { return io::ReadTextFile(path, 1 << 20); }

// 500 rows of 64 channels: bf16 would take 64,000 bytes each way.
RunTotals SomeTotals() {
  RunTotals totals;
  totals.steps = 10;
  totals.epochs = 2.5;
  totals.loss_sum = 300;
  totals.supervised_tokens = 200;
  totals.rows = 500;
  totals.channels = 64;
  totals.seconds = 4;
  totals.skipped_steps = 1;
  totals.widths_final.mean_bits = 2.96875;
  totals.widths_final.widths_spread = 0.75;
  totals.widths_final.widths_correlation = 0.96875;
  totals.widths_final.histogram = {0, 0, 20, 30, 14, 0, 0, 0, 0};
  totals.eval_before = EvalResult{150, 50, 5};
  totals.eval_after = EvalResult{60, 50, 20};
  totals.traffic.train_bytes_up = 20000;
  totals.traffic.train_bytes_down = 12000;
  totals.traffic.forward_bytes = 16000;
  totals.traffic.backward_bytes = 10000;
  totals.traffic.total_bytes = 45678;
  return totals;
}

TEST(ResultsTest, FiguresAreThoseDoneByHand) {
  const std::map<std::string, double> expected = {{"train_loss", 1.5},
                                                  {"train_steps", 10},
                                                  {"train_tokens", 500},
                                                  {"train_supervised_tokens", 200},
                                                  {"train_runtime", 4},
                                                  {"tokens_per_second", 125},
                                                  {"epoch", 2.5},
                                                  {"skipped_steps", 1},
                                                  {"wire_bytes_up", 20000},
                                                  {"wire_bytes_down", 12000},
                                                  {"wire_bytes_total", 45678},
                                                  {"effective_bits_forward", 4},
                                                  {"effective_bits_backward", 2.5},
                                                  {"mean_bits_forward_final", 2.96875},
                                                  {"bits_spread_final", 0.75},
                                                  {"bits_correlation_final", 0.96875},
                                                  {"channels_at_2_bits", 20},
                                                  {"channels_at_3_bits", 30},
                                                  {"channels_at_4_bits", 14},
                                                  {"traffic_ratio_vs_bf16", 0.25},
                                                  {"eval_loss_before", 3},
                                                  {"eval_loss", 1.2},
                                                  {"eval_tokens", 50},
                                                  {"eval_accuracy", 0.4}};

  EXPECT_EQ(AllResults(SomeTotals()), expected);
}

TEST(ResultsTest, ARunWithoutStepsOrEvaluationDividesByNothing) {
  const std::map<std::string, double> results = AllResults(RunTotals{});

  EXPECT_EQ(results.at("train_loss"), 0);
  EXPECT_EQ(results.at("tokens_per_second"), 0);
  EXPECT_EQ(results.at("traffic_ratio_vs_bf16"), 0);
  EXPECT_FALSE(results.contains("eval_loss"));
  EXPECT_FALSE(results.contains("eval_loss_before"));
}

TEST(ResultsTest, AFolderWithFilesIsTakenOnlyWhenTheConfigSaysSo) {
  const std::string dir = FreshPath("taken");
  std::filesystem::create_directories(dir);
  EXPECT_NO_THROW(ResultWriter(dir, false));
  io::WriteFileAtomically(dir + "/something", std::string_view("x"));

  EXPECT_THROWS(ResultWriter(dir, false), Code::kAlreadyExists, "output.dir " + dir);
  EXPECT_THROWS(ResultWriter(dir, false), Code::kAlreadyExists, "output.overwrite: true");
  EXPECT_NO_THROW(ResultWriter(dir, true));
}

TEST(ResultsTest, AFileInThePlaceOfTheFolderIsRefused) {
  const std::string path = FreshPath("file");
  io::WriteFileAtomically(path, std::string_view("x"));

  EXPECT_THROWS(ResultWriter(path, false), Code::kAlreadyExists, path);
  EXPECT_THROWS(ResultWriter(path, true).Begin(""), Code::kPermissionDenied, path);
}

TEST(ResultsTest, NothingIsMadeBeforeTheRunBegins) {
  const std::string dir = FreshPath("later");
  ResultWriter writer(dir, false);
  EXPECT_FALSE(std::filesystem::exists(dir));

  writer.Begin("key: value\n");

  EXPECT_EQ(Read(dir + "/amaq_config.yaml"), "key: value\n");
}

StepLog SomeStep(uint64_t step) {
  StepLog log;
  log.step = step;
  log.epoch = 0.25 * static_cast<double>(step);
  log.loss = 3.0 / static_cast<double>(step);
  log.grad_norm = 0.5;
  log.learning_rate = 1e-4;
  log.seconds = 2.0 * static_cast<double>(step);
  log.widths.mean_bits = 5;
  log.widths.spread_bits = 0.75;
  log.widths.correlation = 0.5;
  log.widths.histogram = {0, 0, 1, 2, 3, 4, 5, 6, 7};
  log.target_bits = 4.5;
  return log;
}

TEST(ResultsTest, EachStepIsALineOfTheLog) {
  const std::string dir = FreshPath("log");
  ResultWriter writer(dir, false);
  writer.Begin("");
  writer.LogStep(SomeStep(1), 4);
  writer.LogStep(SomeStep(2), 4);
  std::istringstream lines(Read(dir + "/trainer_log.jsonl"));
  std::string first;
  std::string second;
  std::string third;
  std::getline(lines, first);
  std::getline(lines, second);

  EXPECT_FALSE(std::getline(lines, third));
  EXPECT_EQ(json::parse(first), (json{{"current_steps", 1},
                                      {"total_steps", 4},
                                      {"loss", 3.0},
                                      {"lr", 1e-4},
                                      {"epoch", 0.25},
                                      {"bits_mean", 5.0},
                                      {"bits_spread", 0.75},
                                      {"bits_correlation", 0.5},
                                      {"percentage", 25.0},
                                      {"elapsed_time", "0:02"},
                                      {"remaining_time", "0:06"}}));
  EXPECT_EQ(json::parse(second)["current_steps"], 2);
  EXPECT_EQ(json::parse(second)["remaining_time"], "0:04");
}

TEST(ResultsTest, ClippedValuesAreAShareOfThoseCodedWithinPredictedRanges) {
  RunTotals totals = SomeTotals();
  EXPECT_FALSE(AllResults(totals).contains("clipped_share"));
  totals.clips = {.values = 800, .clipped = 2};
  EXPECT_EQ(AllResults(totals).at("clipped_share"), 0.0025);

  const std::string dir = FreshPath("clipped");
  ResultWriter writer(dir, false);
  writer.Begin("");
  StepLog log = SomeStep(1);
  log.clips = {.values = 80, .clipped = 20};
  writer.LogStep(log, 4);

  EXPECT_EQ(json::parse(Read(dir + "/trainer_log.jsonl"))["clipped_share"], 0.25);
}

TEST(ResultsTest, ANewRunBeginsANewLog) {
  const std::string dir = FreshPath("again");
  for (int run = 0; run < 2; ++run) {
    ResultWriter writer(dir, true);
    writer.Begin("");
    writer.LogStep(SomeStep(1), 4);
  }
  const std::string log = Read(dir + "/trainer_log.jsonl");

  EXPECT_EQ(std::count(log.begin(), log.end(), '\n'), 1);
}

TEST(ResultsTest, TheEndWritesFiguresHistoryAndGates) {
  const std::string dir = FreshPath("end");
  ResultWriter writer(dir, false);
  writer.Begin("");
  writer.LogStep(SomeStep(1), 10);
  writer.LogStep(SomeStep(2), 10);
  writer.Finish(SomeTotals(), 10, {{"bits", {2, 3.5f}}, {"widths", {2, 4}}});
  const json results = json::parse(Read(dir + "/all_results.json"));
  const json state = json::parse(Read(dir + "/trainer_state.json"));
  const auto gates = io::SafetensorsFile::Open(dir + "/amaq_gate.safetensors");
  std::vector<float> bits(2);
  gates->ReadF32("bits", bits);

  EXPECT_EQ(results["wire_bytes_total"], 45678);
  EXPECT_TRUE(results["wire_bytes_total"].is_number_integer());
  EXPECT_EQ(results["train_loss"], 1.5);
  EXPECT_EQ(state["global_step"], 10);
  EXPECT_EQ(state["max_steps"], 10);
  ASSERT_EQ(state["log_history"].size(), 2u);
  const json& second = state["log_history"][1];
  EXPECT_EQ(second["step"], 2);
  EXPECT_EQ(second["bits_mean_forward"], 5);
  EXPECT_EQ(second["bits_spread_forward"], 0.75);
  EXPECT_EQ(second["bits_correlation"], 0.5);
  EXPECT_EQ(second["bits_target"], 4.5);
  EXPECT_EQ(second["bits_histogram"], (json{0, 0, 1, 2, 3, 4, 5, 6, 7}));
  EXPECT_EQ(bits, (std::vector<float>{2, 3.5f}));
}

TEST(ResultsTest, ARawRunHasNoGates) {
  const std::string dir = FreshPath("raw");
  ResultWriter writer(dir, false);
  writer.Begin("");

  writer.Finish(SomeTotals(), 10, {});

  EXPECT_FALSE(std::filesystem::exists(dir + "/amaq_gate.safetensors"));
}

TEST(ResultsTest, AnAdapterGoesIntoTheFolderOrACheckpointWithinIt) {
  const std::string dir = FreshPath("adapter");
  ResultWriter writer(dir, false);
  const Bytes bytes = io::SerializeSafetensors({}, {{"format", "pt"}});

  EXPECT_EQ(writer.SaveAdapter({}, bytes, 7), dir + "/checkpoint-7");
  EXPECT_FALSE(std::filesystem::exists(dir + "/adapter_model.safetensors"));
  EXPECT_EQ(writer.SaveAdapter({}, bytes, std::nullopt), dir);

  for (const std::string& folder : {dir, dir + "/checkpoint-7"}) {
    EXPECT_EQ(Read(folder + "/adapter_model.safetensors"), std::string(bytes.begin(), bytes.end()));
    EXPECT_EQ(json::parse(Read(folder + "/adapter_config.json"))["peft_type"], "LORA");
  }
}

}  // namespace
}  // namespace amaq::client
