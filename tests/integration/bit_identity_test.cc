// The same run over a network, in one process, and on a whole model without any cut or Link: its
// adapters must be the same bytes.

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "client/inproc.h"
#include "client/settings.h"
#include "data/dataset.h"
#include "data/sampler.h"
#include "data/tokenizer.h"
#include "lora/peft_adapter.h"
#include "models/loader.h"
#include "server/endpoint.h"
#include "tensor/bridge.h"
#include "tests/support/tiny_run.h"
#include "train/optimizer.h"
#include "transport/grpc_client_link.h"
#include "transport/grpc_service.h"

namespace amaq {
namespace {

using test::RunInproc;
using test::TinyRun;

Bytes RunOverGrpc(const TinyRun& run, const config::ClientConfig& config) {
  const auto endpoint = server::MakeEndpoint(run.server);
  transport::GrpcServer::Options options;
  options.endpoint = endpoint.get();
  const auto server = transport::GrpcServer::Create(options);
  transport::GrpcClientLink::Options link_options;
  link_options.address = StrCat("127.0.0.1:", server->port());
  link_options.measures_link = config.wire.entropy == "auto";
  const auto link = transport::GrpcClientLink::Create(link_options);
  EXPECT_EQ(test::Run(config, *link), client::RunOutcome::kDone);
  return test::ReadBytes(config.output.dir + "/adapter_model.safetensors");
}

data::Batch Gather(const data::Dataset& dataset, const std::vector<uint32_t>& records) {
  std::vector<const data::Example*> examples;
  for (const uint32_t record : records) examples.push_back(&dataset.examples[record]);
  return data::Collate(examples);
}

struct WholeRun {
  Bytes initial, final;
  double greatest_scale = 0;  // of the clipping, over the steps
};

// The reference: no cut, no link, no messages.
WholeRun TrainWhole(const config::ClientConfig& config) {
  const auto tokenizer = data::Tokenizer::Load(config.model.model_name_or_path);
  const data::Dataset dataset =
      data::LoadDataset(config.data.train_file, client::DatasetOptionsOf(config, 0), *tokenizer);
  data::Sampler sampler({static_cast<uint32_t>(dataset.examples.size()),
                         config.train.per_device_train_batch_size, config.data.shuffle,
                         config.train.seed});
  const models::BaseModel model = models::OpenModel(config.model.model_name_or_path);
  const auto stage =
      models::LoadStage(model, models::WholeRange(model.spec), client::StageOptionsOf(config));
  train::AdamW optimizer(stage->adapters(), client::OptimizerOf(config));
  const train::LrSchedule schedule = client::ScheduleOf(config, config.train.max_steps);
  WholeRun run;
  run.initial = lora::SerializeAdapter(stage->adapters());
  for (uint64_t step = 0; step < config.train.max_steps; ++step) {
    std::vector<data::Batch> batches;
    uint64_t loss_tokens = 0;
    for (uint32_t i = 0; i < config.train.gradient_accumulation_steps; ++i) {
      batches.push_back(Gather(dataset, sampler.Next()));
      loss_tokens += batches.back().num_supervised();
    }
    for (uint32_t i = 0; i < batches.size(); ++i) {
      const data::Batch& batch = batches[i];
      const models::BatchContext context = models::MakeBatchContext(
          model.spec, batch.segments, {config.lora.lora_dropout, config.train.seed, step, i},
          stage->scalar_type(), stage->device());
      std::vector<models::BlockSaved> saved;
      const at::Tensor hidden = stage->Forward(
          stage->Embed(tensor::FromInts(batch.tokens, stage->device())), context, &saved);
      const models::LossResult loss =
          models::HeadLoss(hidden, stage->head(), {batch.target_rows, batch.targets}, loss_tokens);
      stage->Backward(loss.gradient, context, std::move(saved), models::InputGradient::kNotNeeded,
                      nullptr);
    }
    const train::ClipDecision clip =
        train::DecideClip(optimizer.SquaredNorms(), config.train.max_grad_norm);
    run.greatest_scale = std::max(run.greatest_scale, clip.scale);
    optimizer.Step(clip.scale, train::LearningRate(schedule, step));
  }
  run.final = lora::SerializeAdapter(stage->adapters());
  return run;
}

void ExpectSameEverywhere(const TinyRun& run, config::ClientConfig config) {
  const WholeRun whole = TrainWhole(config);
  EXPECT_LT(whole.greatest_scale, 1) << "clipping was not active";
  EXPECT_FALSE(whole.final == whole.initial);
  for (const uint32_t cut : {1u, 2u, 3u}) {
    SCOPED_TRACE(StrCat("cut after block ", cut));
    config.split.client_blocks = cut;

    config.output.dir = run.Path(StrCat("inproc-", cut));
    EXPECT_TRUE(RunInproc(config) == whole.final);
    config.output.dir = run.Path(StrCat("grpc-", cut));
    EXPECT_TRUE(RunOverGrpc(run, config) == whole.final);
  }
}

TEST(BitIdentityTest, SplitRunsEqualTheUnsplitOneAtEveryCut) {
  const TinyRun run("identity");

  ExpectSameEverywhere(run, run.client);
}

TEST(BitIdentityTest, SplitRunsEqualTheUnsplitOneWithDropoutWeightDecayAndLeanMemory) {
  TinyRun run("identity-dropout");
  run.client.lora.lora_dropout = 0.2;
  run.client.train.weight_decay = 0.1;
  run.client.train.warmup_steps = 1;
  run.client.train.memory = "lean";

  ExpectSameEverywhere(run, run.client);
}

// Negative control: the comparison above can fail.
TEST(BitIdentityTest, AnotherSeedOrCoarserWireGivesOtherBytes) {
  const TinyRun run("identity-control");
  const WholeRun whole = TrainWhole(run.client);
  config::ClientConfig other = run.client;

  other.train.seed = 43;
  other.output.dir = run.Path("seed");
  EXPECT_FALSE(RunInproc(other) == whole.final);
  other = run.client;
  other.wire.dtype = "bf16";
  other.output.dir = run.Path("bf16");
  EXPECT_FALSE(RunInproc(other) == whole.final);
  other = run.client;
  other.lora.lora_dropout = 0.2;
  other.output.dir = run.Path("dropout");
  EXPECT_FALSE(RunInproc(other) == whole.final);
}

TEST(BitIdentityTest, ALeanRunEqualsAFastOne) {
  const TinyRun run("identity-lean");
  config::ClientConfig lean = run.client;
  lean.train.memory = "lean";
  lean.output.dir = run.Path("lean");

  EXPECT_TRUE(RunInproc(lean) == RunInproc(run.client));
}

config::ClientConfig AmaqConfig(const TinyRun& run) {
  config::ClientConfig config = run.client;
  config.quant.method = "amaq";
  config.quant.adapt_steps = 3;
  config.wire.dtype = "bf16";
  config.train.max_steps = 5;
  config.train.gradient_accumulation_steps = 4;
  return config;
}

TEST(BitIdentityTest, AnAmaqRunIsTheSameOverGrpcAndInOneProcess) {
  const TinyRun run("identity-amaq");
  config::ClientConfig config = AmaqConfig(run);
  const Bytes inproc = RunInproc(config);
  config.output.dir = run.Path("grpc");

  EXPECT_TRUE(RunOverGrpc(run, config) == inproc);
  EXPECT_TRUE(test::ReadBytes(run.Path("grpc/amaq_gate.safetensors")) ==
              test::ReadBytes(run.Path("out/amaq_gate.safetensors")));
}

// Two epochs over few records, so that the methods that remember them meet each one again.
TEST(BitIdentityTest, ARunOfEachMethodIsTheSameOverGrpcAndInOneProcess) {
  std::vector<Bytes> adapters;
  for (const char* method : {"group", "aqsgd", "tahquant", "amaq-delta", "amaq-rd"}) {
    SCOPED_TRACE(method);
    const TinyRun run("identity-methods");
    config::ClientConfig config = AmaqConfig(run);
    config.quant.method = method;
    config.quant.bits = 3;
    config.data.max_train_records = 8;
    config.train.max_steps = 4;
    config.train.gradient_accumulation_steps = 2;
    adapters.push_back(RunInproc(config));
    config.output.dir = run.Path("grpc");

    EXPECT_TRUE(RunOverGrpc(run, config) == adapters.back());
  }
  EXPECT_EQ(std::set<Bytes>(adapters.begin(), adapters.end()).size(), adapters.size());
}

// Whatever the choices were that the link's and the machine's speed led to.
TEST(BitIdentityTest, AutomaticEntropyCodingNeverChangesARun) {
  const TinyRun run("identity-auto");
  config::ClientConfig config = AmaqConfig(run);
  const Bytes packed = RunInproc(config);
  config.wire.entropy = "auto";
  config.output.dir = run.Path("grpc");
  EXPECT_TRUE(RunOverGrpc(run, config) == packed);
  config.output.dir = run.Path("inproc");
  EXPECT_TRUE(RunInproc(config) == packed);
}

TEST(BitIdentityTest, TheWindowOfMicroBatchesNeverChangesAnAmaqRun) {
  const TinyRun run("identity-window");
  config::ClientConfig config = AmaqConfig(run);
  config.lora.lora_dropout = 0.1;
  std::vector<Bytes> adapters;
  for (const uint32_t in_flight : {1u, 2u, 4u}) {
    config.train.in_flight = in_flight;
    config.output.dir = run.Path(StrCat("window-", in_flight));
    adapters.push_back(RunInproc(config));
  }

  EXPECT_TRUE(adapters[1] == adapters[0]);
  EXPECT_TRUE(adapters[2] == adapters[0]);
}

}  // namespace
}  // namespace amaq
