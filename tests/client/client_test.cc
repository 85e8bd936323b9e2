// Whole runs in one process: what they leave behind, and what they say when they cannot run.

#include "client/client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <filesystem>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>

#include "client/inproc.h"
#include "config/load.h"
#include "io/file.h"
#include "io/safetensors.h"
#include "lora/peft_adapter.h"
#include "server/endpoint.h"
#include "tests/support/errors.h"
#include "tests/support/tiny_hf_model.h"
#include "tests/support/tiny_run.h"
#include "transport/inproc_link.h"

namespace amaq::client {
namespace {

using nlohmann::json;
using test::Exists;
using test::ReadBytes;
using test::RunInproc;
using test::TinyRun;
using ::testing::HasSubstr;
using ::testing::Not;

json ReadJson(const std::string& path) { return json::parse(io::ReadTextFile(path, 1 << 20)); }

std::unique_ptr<transport::Link> LinkTo(transport::Endpoint& endpoint) {
  transport::InprocLink::Options options;
  options.endpoint = &endpoint;
  return transport::InprocLink::Create(options);
}

class ClientTest : public ::testing::Test {
 protected:
  ClientTest() : run_("client"), config_(run_.client) {}

  std::string Out(const std::string& leaf) const { return config_.output.dir + "/" + leaf; }

  // The run ends with this error and leaves nothing at output.dir.
  void ExpectRefused(Code code, const std::string& text) const {
    const bool existed = Exists(config_.output.dir);
    EXPECT_THROWS(RunInproc(config_), code, text);
    EXPECT_EQ(Exists(config_.output.dir), existed) << "output.dir was made";
  }

  TinyRun run_;
  config::ClientConfig config_;
};

TEST_F(ClientTest, ARunLeavesAdapterFiguresHistoryAndItsConfig) {
  config_.quant.method = "amaq";
  config_.wire.dtype = "bf16";
  config_.data.eval_file = run_.Path("eval.jsonl");
  RunInproc(config_);
  std::set<std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(config_.output.dir)) {
    files.insert(entry.path().filename());
  }

  EXPECT_EQ(files,
            (std::set<std::string>{"adapter_config.json", "adapter_model.safetensors",
                                   "all_results.json", "amaq_config.yaml", "amaq_gate.safetensors",
                                   "trainer_log.jsonl", "trainer_state.json"}));
  EXPECT_EQ(config::LoadClientFile(Out("amaq_config.yaml")), config_);
  const json results = ReadJson(Out("all_results.json"));
  for (const char* key :
       {"train_loss", "eval_loss_before", "eval_loss", "train_tokens", "tokens_per_second",
        "wire_bytes_up", "wire_bytes_down", "effective_bits_forward", "effective_bits_backward",
        "mean_bits_forward_final", "wire_bytes_total", "traffic_ratio_vs_bf16"}) {
    EXPECT_TRUE(results.contains(key)) << key;
  }
  EXPECT_EQ(results["train_steps"], 3);
  EXPECT_LT(results["mean_bits_forward_final"], 8);
  EXPECT_EQ(ReadJson(Out("trainer_state.json"))["log_history"].size(), 3u);
}

TEST_F(ClientTest, OnlyAGateThatLearnedSaysThatItsWidthsAreFrozen) {
  config_.output.progress = "plain";
  config_.output.overwrite = true;
  config_.quant.adapt_steps = 2;
  const auto said = [this](const std::string& method) {
    config_.quant.method = method;
    testing::internal::CaptureStdout();
    RunInproc(config_);
    return testing::internal::GetCapturedStdout();
  };

  EXPECT_THAT(said("amaq"), HasSubstr("widths frozen after step 2: mean "));
  EXPECT_THAT(said("fixed"), Not(HasSubstr("widths frozen")));
  EXPECT_THAT(said("none"), Not(HasSubstr("widths frozen")));
}

TEST_F(ClientTest, TheTransformAndHowMuchItIsFittedToAreTheConfigs) {
  config_.quant.method = "amaq-rd";
  config_.quant.target_bits = 2;
  config_.quant.schedule = "constant";
  config_.output.overwrite = true;
  const auto gate_of = [this](const std::string& transform, uint64_t fit_tokens,
                              const std::string& name) {
    config_.quant.rd.transform = transform;
    config_.quant.rd.fit_tokens = fit_tokens;
    RunInproc(config_);
    const auto file = io::SafetensorsFile::Open(Out("amaq_gate.safetensors"));
    std::vector<float> values(file->Get(name).num_elements);
    file->ReadF32(name, values);
    return values;
  };

  EXPECT_EQ(gate_of("eigen", 0, "rd.transform"), std::vector<float>{2});
  EXPECT_EQ(gate_of("hadamard", 0, "rd.transform"), std::vector<float>{3});
  EXPECT_EQ(gate_of("none", 0, "rd.transform"), std::vector<float>{1});
  EXPECT_NE(gate_of("none", 1, "rd.mean"), gate_of("none", 0, "rd.mean"));
}

TEST_F(ClientTest, TheJoinedAdapterHoldsEveryTensorOfTheModel) {
  const Bytes bytes = RunInproc(config_);
  const auto file = io::SafetensorsFile::FromBytes(bytes, "adapter");
  const lora::PeftConfig peft =
      lora::ParsePeftConfig(io::ReadTextFile(Out("adapter_config.json"), 1 << 16), "config");
  const json written = ReadJson(Out("adapter_config.json"));

  EXPECT_EQ(file->tensors().size(), 4u * 7 * 2);
  EXPECT_EQ(peft.lora.r, 4);
  EXPECT_EQ(peft.lora.alpha, 8);
  EXPECT_EQ(peft.lora.target_modules.size(), 7u);
  EXPECT_EQ(written["base_model_name_or_path"], config_.model.model_name_or_path);
  EXPECT_TRUE(written["layers_to_transform"].is_null());
}

TEST_F(ClientTest, TheBaseModelsPublicNameIsWrittenWhenItIsSet) {
  config_.model.hub_name = "some/model";
  RunInproc(config_);

  EXPECT_EQ(ReadJson(Out("adapter_config.json"))["base_model_name_or_path"], "some/model");
}

TEST_F(ClientTest, TrainingLowersTheLossOnWhatItLearns) {
  config_.data.eval_file = config_.data.train_file;
  config_.train.max_steps = 20;
  config_.train.max_grad_norm = 0;
  RunInproc(config_);
  const json results = ReadJson(Out("all_results.json"));

  EXPECT_LT(results["eval_loss"], 0.8 * results["eval_loss_before"].get<double>());
}

TEST_F(ClientTest, FiguresOfTrafficAreThoseOfTheLink) {
  const InprocServer server = StartInprocServer(config_);
  test::Run(config_, *server.link);
  const json results = ReadJson(Out("all_results.json"));
  const transport::LinkTraffic traffic = server.link->traffic();
  const double elements = results["train_tokens"].get<double>() * 32;

  EXPECT_EQ(results["wire_bytes_up"], traffic.train_bytes_up);
  EXPECT_EQ(results["wire_bytes_down"], traffic.train_bytes_down);
  EXPECT_GT(results["effective_bits_forward"], 32) << "fp32 and the headers";
  EXPECT_LT(results["effective_bits_forward"], 36);
  EXPECT_DOUBLE_EQ(
      results["traffic_ratio_vs_bf16"],
      static_cast<double>(traffic.train_bytes_up + traffic.train_bytes_down) / (4 * elements));
}

TEST_F(ClientTest, EvaluationAndGenerationDoNotChangeTheRun) {
  const Bytes plain = RunInproc(config_);
  config_.data.eval_file = run_.Path("eval.jsonl");
  config_.train.eval_steps = 1;
  config_.train.sample_prompt = "hello 1 and 2 are";
  config_.train.sample_max_new_tokens = 4;
  config_.output.dir = run_.Path("watched");

  EXPECT_EQ(RunInproc(config_), plain);
}

TEST_F(ClientTest, CheckpointsAreTheAdapterOfAShorterRun) {
  config_.train.lr_scheduler_type = "constant";
  config_.output.save_steps = 1;
  RunInproc(config_);
  EXPECT_TRUE(Exists(Out("checkpoint-1/adapter_config.json")));
  EXPECT_FALSE(Exists(Out("checkpoint-3"))) << "the last one is the adapter itself";
  const Bytes checkpoint = ReadBytes(Out("checkpoint-2/adapter_model.safetensors"));
  config_.train.max_steps = 2;
  config_.output.save_steps = 0;
  config_.output.dir = run_.Path("shorter");

  EXPECT_EQ(RunInproc(config_), checkpoint);
}

TEST_F(ClientTest, TheShareOfClippedValuesIsShownWhereRangesArePredicted) {
  config_.quant.method = "fixed";
  config_.quant.range_margin = config_.quant.range_max_clipped = 1;
  config_.quant.range = "delayed";
  RunInproc(config_);

  const double share = ReadJson(Out("all_results.json")).at("clipped_share");
  EXPECT_TRUE(share > 0 && share < 0.5) << share;
}

TEST_F(ClientTest, LogRecordsComeEverySoManySteps) {
  config_.train.max_steps = 5;
  config_.train.logging_steps = 2;
  RunInproc(config_);
  const json state = ReadJson(Out("trainer_state.json"));
  std::vector<int> steps;
  for (const json& entry : state["log_history"]) steps.push_back(entry["step"]);
  const std::string log = io::ReadTextFile(Out("trainer_log.jsonl"), 1 << 16);

  EXPECT_THAT(steps, ::testing::ElementsAre(2, 4, 5));
  EXPECT_EQ(std::count(log.begin(), log.end(), '\n'), 3);
}

TEST_F(ClientTest, AServerThatKeepsItsHalfLeavesTheClientsWithItsLayers) {
  const Bytes whole = RunInproc(config_);
  config_.output.dir = run_.Path("half");
  run_.server.limits.allow_fetch_adapter = false;
  const auto endpoint = server::MakeEndpoint(run_.server);

  EXPECT_EQ(test::Run(config_, *LinkTo(*endpoint)), RunOutcome::kDone);

  EXPECT_EQ(ReadBytes(Out("adapter_model.safetensors")),
            lora::SplitAdapter(whole, 2, 4, "whole").client);
  EXPECT_EQ(ReadJson(Out("adapter_config.json"))["layers_to_transform"], (json{0, 1}));
}

TEST_F(ClientTest, AnInterruptedRunSavesACheckpointAndEndsItsSession) {
  run_.server.limits.max_sessions = 1;
  const auto endpoint = server::MakeEndpoint(run_.server);
  const std::atomic<bool> interrupted = true;

  EXPECT_EQ(RunClient(config_, *LinkTo(*endpoint), interrupted), RunOutcome::kInterrupted);

  EXPECT_TRUE(Exists(Out("checkpoint-1/adapter_model.safetensors")));
  EXPECT_TRUE(Exists(Out("checkpoint-1/adapter_config.json")));
  EXPECT_FALSE(Exists(Out("adapter_model.safetensors")));
  config_.output.dir = run_.Path("next");
  EXPECT_EQ(test::Run(config_, *LinkTo(*endpoint)), RunOutcome::kDone);
}

TEST_F(ClientTest, ARunStartsFromAnAdapterOnBothSides) {
  const Bytes first = RunInproc(config_);
  config_.lora.init_from = run_.Path("out");
  config_.output.dir = run_.Path("second");
  config_.train.max_steps = 1;
  config_.train.warmup_steps = 1;  // whose first step moves nothing

  EXPECT_EQ(RunInproc(config_), first);
  config_.split.client_blocks = 1;
  config_.output.dir = run_.Path("another-cut");
  EXPECT_EQ(RunInproc(config_), first);
  config_.train.warmup_steps = 0;
  config_.output.dir = run_.Path("moved");
  EXPECT_NE(RunInproc(config_), first);
}

TEST_F(ClientTest, AnAdapterThatDoesNotFitIsRefused) {
  RunInproc(config_);
  config_.lora.init_from = run_.Path("out");
  config_.output.dir = run_.Path("second");
  const config::ClientConfig fitting = config_;

  config_.lora.r = 8;
  ExpectRefused(Code::kInvalidArgument, "has r 4");
  config_ = fitting;
  config_.lora.lora_alpha = 16;
  ExpectRefused(Code::kInvalidArgument, "scale 2");
  config_ = fitting;
  config_.lora.target_modules = {"q_proj"};
  ExpectRefused(Code::kInvalidArgument, "7 target modules");
  config_ = fitting;
  config_.lora.init_from = run_.Path("nothing");
  ExpectRefused(Code::kNotFound, "nothing/adapter_config.json");
}

// Changes the tensors of the adapter that a run starts from.
TEST_F(ClientTest, AnAdapterWithOtherTensorsIsRefusedByTheNameOfOne) {
  const Bytes trained = RunInproc(config_);
  config_.lora.init_from = run_.Path("out");
  config_.output.dir = run_.Path("second");
  const auto file = io::SafetensorsFile::FromBytes(trained, "adapter");
  const auto write = [&](const std::string& left_out, const std::string& added) {
    std::vector<std::vector<float>> values;
    std::vector<io::F32Tensor> tensors;
    values.reserve(file->tensors().size() + 1);
    for (const io::TensorInfo& info : file->tensors()) {
      if (info.name == left_out) continue;
      values.emplace_back(info.num_elements);
      file->ReadF32(info.name, values.back());
      tensors.push_back({info.name, info.shape, values.back()});
    }
    if (!added.empty()) tensors.push_back({added, {1}, values.emplace_back(1)});
    io::WriteFileAtomically(run_.Path("out/adapter_model.safetensors"),
                            io::SerializeSafetensors(tensors, {}));
  };
  const std::string prefix = "base_model.model.model.layers.";

  write(prefix + "0.self_attn.q_proj.lora_A.weight", "");
  ExpectRefused(Code::kInvalidArgument, "lacks tensor " + prefix + "0.self_attn.q_proj.lora_A");
  write(prefix + "3.self_attn.q_proj.lora_A.weight", "");
  ExpectRefused(Code::kInvalidArgument, "lacks tensor " + prefix + "3.self_attn.q_proj.lora_A");
  write("", prefix + "4.self_attn.q_proj.lora_A.weight");
  ExpectRefused(Code::kInvalidArgument, prefix + "4.self_attn.q_proj.lora_A");
  write("", "base_model.model.lm_head.lora_A.weight");
  ExpectRefused(Code::kInvalidArgument, "base_model.model.lm_head.lora_A.weight");
}

TEST_F(ClientTest, AMissingModelIsNamed) {
  config_.model.model_name_or_path = run_.Path("no-model.gguf");
  EXPECT_THROWS(StartInprocServer(config_), Code::kNotFound, "no-model.gguf");
  const auto endpoint = server::MakeEndpoint(run_.server);

  EXPECT_THROWS(test::Run(config_, *LinkTo(*endpoint)), Code::kNotFound, "no-model.gguf");
  EXPECT_FALSE(Exists(config_.output.dir));
}

TEST_F(ClientTest, DataThatCannotBeReadIsNamed) {
  config_.data.train_file = "";
  ExpectRefused(Code::kInvalidArgument, "data.train_file is not set");
  config_.data.train_file = run_.Path("nothing.jsonl");
  ExpectRefused(Code::kNotFound, "nothing.jsonl");
  config_.data.train_file = run_.Path("empty.jsonl");
  test::WriteText(config_.data.train_file, "\n\n");
  ExpectRefused(Code::kInvalidArgument, "empty.jsonl is empty");
  config_.data.train_file = run_.Path("bad.jsonl");
  test::WriteText(config_.data.train_file,
                  "{\"prompt\": \"a\", \"completion\": \"b\"}\n{\"prompt\": 7}\n");
  ExpectRefused(Code::kInvalidArgument, "bad.jsonl:2");
  config_.data.train_file = run_.client.data.train_file;
  config_.data.eval_file = run_.Path("nothing.jsonl");
  ExpectRefused(Code::kNotFound, "nothing.jsonl");
}

TEST_F(ClientTest, BadLinesMayBeSkipped) {
  config_.data.train_file = run_.Path("bad.jsonl");
  test::WriteText(config_.data.train_file,
                  "{\"prompt\": \"a\", \"completion\": \"b\"}\nnonsense\n");
  config_.data.on_bad_line = "skip";

  EXPECT_FALSE(RunInproc(config_).empty());
}

TEST_F(ClientTest, AFolderWithAnEarlierRunIsLeftAlone) {
  const Bytes first = RunInproc(config_);
  config_.train.seed = 1;

  EXPECT_THROWS(RunInproc(config_), Code::kAlreadyExists, "output.overwrite: true");

  EXPECT_EQ(ReadBytes(Out("adapter_model.safetensors")), first);
  config_.output.overwrite = true;
  EXPECT_NE(RunInproc(config_), first);
}

TEST_F(ClientTest, NothingOfAnEarlierRunPassesForThisOnes) {
  config_.quant.method = "amaq";
  config_.wire.dtype = "bf16";
  RunInproc(config_);
  ASSERT_TRUE(Exists(Out("amaq_gate.safetensors")));
  config_.quant.method = "none";
  config_.output.overwrite = true;
  RunInproc(config_);

  EXPECT_FALSE(Exists(Out("amaq_gate.safetensors")));
  const std::atomic<bool> interrupted = true;
  EXPECT_EQ(RunClient(config_, *StartInprocServer(config_).link, interrupted),
            RunOutcome::kInterrupted);
  EXPECT_FALSE(Exists(Out("adapter_model.safetensors")));
  EXPECT_FALSE(Exists(Out("all_results.json")));
}

TEST_F(ClientTest, ACutOutsideTheModelIsRefused) {
  for (const uint32_t cut : {0u, 4u}) {
    config_.split.client_blocks = cut;
    ExpectRefused(Code::kInvalidArgument, StrCat("in [1, 3] for a model of 4 blocks, got ", cut));
  }
}

TEST_F(ClientTest, AServersRefusalLeavesNothing) {
  run_.server.limits.max_rank = 2;
  const auto endpoint = server::MakeEndpoint(run_.server);

  EXPECT_THROWS(test::Run(config_, *LinkTo(*endpoint)), Code::kFailedPrecondition,
                "limits.max_rank of the server is 2");
  EXPECT_FALSE(Exists(config_.output.dir));
}

TEST_F(ClientTest, RecordsLongerThanTheModelsContextAreRefusedBeforeTheRun) {
  json record = {{"prompt", std::string(140, 'x')}, {"completion", "y"}};
  test::WriteText(run_.Path("long.jsonl"), record.dump() + "\n");
  config_.data.max_length = 512;
  config_.data.train_file = run_.Path("long.jsonl");
  ExpectRefused(Code::kInvalidArgument, "data.max_length");
  config_.data.train_file = run_.client.data.train_file;
  config_.data.eval_file = run_.Path("long.jsonl");
  ExpectRefused(Code::kInvalidArgument, "context of 128");
  config_.data.eval_file = "";
  config_.train.sample_prompt = std::string(100, 'x');
  config_.train.sample_max_new_tokens = 40;
  ExpectRefused(Code::kInvalidArgument, "train.sample_prompt");
}

TEST_F(ClientTest, ATokenizerOfALargerVocabularyIsRefusedBeforeTheRun) {
  models::ModelSpec small = test::TinyFileSpec();
  small.vocab = 200;
  test::WriteHfModel(run_.Path("model"), test::HfConfig(small), test::TinyTensors(small));

  ExpectRefused(Code::kInvalidArgument, "vocabulary");
}

// An infinite weight in the client's half (block 1) or the server's (block 3).
void BreakModel(const TinyRun& run, const std::string& name) {
  const models::ModelSpec spec = test::TinyFileSpec();
  test::StoredTensors tensors = test::TinyTensors(spec);
  tensors.at(name).values[0] = std::numeric_limits<float>::infinity();
  test::WriteHfModel(run.Path("model"), test::HfConfig(spec), tensors);
}

TEST_F(ClientTest, AnActivationThatIsNotFiniteEndsTheRunSayingWhere) {
  BreakModel(run_, "model.layers.1.mlp.down_proj.weight");

  ExpectRefused(Code::kInternal, "the activation of");
  ExpectRefused(Code::kInternal,
                "step 0.0 micro-batch 0 is not finite at token 0, channel 0; the step was not "
                "applied (train.max_nonfinite_steps is 0)");
}

TEST_F(ClientTest, ALossThatIsNotFiniteEndsTheRunSayingWhere) {
  BreakModel(run_, "model.layers.3.mlp.down_proj.weight");

  ExpectRefused(Code::kInternal, "the loss of BACKWARD step 0.0 micro-batch 0 is not finite");
}

TEST_F(ClientTest, ARunThatFailedInItsFirstStepsCanBeStartedAgain) {
  BreakModel(run_, "model.layers.3.mlp.down_proj.weight");
  EXPECT_THROWS(RunInproc(config_), Code::kInternal, "not finite");
  const models::ModelSpec spec = test::TinyFileSpec();
  test::WriteHfModel(run_.Path("model"), test::HfConfig(spec), test::TinyTensors(spec));

  EXPECT_FALSE(RunInproc(config_).empty());
}

TEST_F(ClientTest, StepsThatAreNotFiniteMayBeSkippedAndAreCounted) {
  BreakModel(run_, "model.layers.3.mlp.down_proj.weight");
  config_.train.max_nonfinite_steps = 10;
  config_.lora.init_from = "";
  RunInproc(config_);
  const json results = ReadJson(Out("all_results.json"));

  EXPECT_EQ(results["skipped_steps"], 3);
  EXPECT_EQ(results["train_loss"], 0);
}

TEST_F(ClientTest, AHeldOutLossThatIsNotFiniteSaysSo) {
  BreakModel(run_, "model.layers.3.mlp.down_proj.weight");
  config_.data.eval_file = run_.Path("eval.jsonl");

  ExpectRefused(Code::kInternal, "the evaluation loss of batch 0 is not finite");
}

// More micro-batches under way than the queues of a link hold.
TEST_F(ClientTest, AWideWindowDoesNotBlockItself) {
  config_.train.in_flight = 64;
  config_.train.gradient_accumulation_steps = 64;
  config_.train.per_device_train_batch_size = 1;
  config_.train.max_steps = 1;

  EXPECT_FALSE(RunInproc(config_).empty());
}

TEST_F(ClientTest, OneAnswerIsShownBeforeAndAfter) {
  config_.output.progress = "plain";
  config_.train.sample_prompt = "hello";
  config_.train.sample_max_new_tokens = 3;
  config_.data.eval_file = run_.Path("eval.jsonl");
  ::testing::internal::CaptureStdout();
  RunInproc(config_);
  const std::string out = ::testing::internal::GetCapturedStdout();

  EXPECT_THAT(out, HasSubstr("first record, as the model sees it:\n  masked  ("));
  EXPECT_THAT(out, HasSubstr("client: embedding and blocks 0 to 1; server: blocks 2 to 3"));
  EXPECT_THAT(out, HasSubstr("answer before training: hello"));
  EXPECT_THAT(out, HasSubstr("answer after training: hello"));
  EXPECT_THAT(out, HasSubstr("held-out loss before training: "));
  EXPECT_THAT(out, HasSubstr("step 3/3  loss "));
  EXPECT_THAT(out, HasSubstr("of bf16"));
}

}  // namespace
}  // namespace amaq::client
