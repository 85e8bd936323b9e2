// Runs a whole model (one stage, no link) on a job written by a parity script and stores what came
// out: logits, or losses, gradients and the adapter of some training steps. Not part of the
// product. Usage: amaq_reference_run JOB.json OUT.safetensors

#include <cstdio>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/error.h"
#include "data/batch.h"
#include "io/file.h"
#include "io/json.h"
#include "io/safetensors.h"
#include "lora/peft_adapter.h"
#include "models/loader.h"
#include "tensor/bridge.h"
#include "train/optimizer.h"

namespace amaq {
namespace {

using nlohmann::json;

class Results {
 public:
  void Add(const std::string& name, const at::Tensor& values) {
    const at::Tensor host = tensor::OnHost(values.to(at::kFloat));
    const std::span<const float> floats = tensor::Floats(host);
    stored_[name] = {host.sizes().vec(), {floats.begin(), floats.end()}};
  }
  void Add(const std::string& name, const std::vector<float>& values) {
    stored_[name] = {{static_cast<int64_t>(values.size())}, values};
  }
  void Write(const std::string& path) const {
    std::vector<io::F32Tensor> tensors;
    for (const auto& [name, entry] : stored_) tensors.push_back({name, entry.first, entry.second});
    io::WriteFileAtomically(path, io::SerializeSafetensors(tensors, {}));
  }

 private:
  std::map<std::string, std::pair<std::vector<int64_t>, std::vector<float>>> stored_;
};

data::Batch BatchOf(const json& sequences) {
  std::vector<data::Example> examples;
  for (const json& sequence : sequences) {
    data::Example example;
    example.tokens = sequence.at("tokens").get<std::vector<int32_t>>();
    example.supervised = sequence.at("supervised").get<std::vector<uint8_t>>();
    examples.push_back(example);
  }
  std::vector<const data::Example*> pointers;
  for (const data::Example& example : examples) pointers.push_back(&example);
  return data::Collate(pointers);
}

models::BatchContext ContextOf(const models::Stage& stage, const data::Batch& batch) {
  return models::MakeBatchContext(stage.spec(), batch.segments, {}, stage.scalar_type(),
                                  stage.device());
}

void RunLogits(models::Stage& stage, const data::Batch& batch, Results* results) {
  const models::BatchContext context = ContextOf(stage, batch);
  const at::Tensor x = stage.Embed(tensor::FromInts(batch.tokens, stage.device()));
  std::vector<uint32_t> rows(batch.num_tokens());
  for (uint32_t i = 0; i < rows.size(); ++i) rows[i] = i;
  results->Add("logits",
               models::HeadLogits(stage.Forward(x, context, nullptr), stage.head(), rows));
}

double TrainStep(models::Stage& stage, train::AdamW& optimizer, const data::Batch& batch,
                 double learning_rate, double max_norm, Results* gradients) {
  const models::BatchContext context = ContextOf(stage, batch);
  std::vector<models::BlockSaved> saved;
  const at::Tensor x = stage.Embed(tensor::FromInts(batch.tokens, stage.device()));
  const at::Tensor hidden = stage.Forward(x, context, &saved);
  const models::LossResult loss = models::HeadLoss(
      hidden, stage.head(), {batch.target_rows, batch.targets}, batch.num_supervised());
  stage.Backward(loss.gradient, context, std::move(saved), models::InputGradient::kNotNeeded,
                 nullptr);
  if (gradients != nullptr) {
    for (lora::LowRank* adapter : stage.adapters()) {
      gradients->Add("grad." + adapter->name() + ".lora_A.weight", adapter->grad_a());
      gradients->Add("grad." + adapter->name() + ".lora_B.weight", adapter->grad_b());
    }
  }
  optimizer.Step(train::DecideClip(optimizer.SquaredNorms(), max_norm).scale, learning_rate);
  return loss.loss_sum / static_cast<double>(loss.tokens);
}

void RunTraining(models::Stage& stage, const json& job, Results* results) {
  train::AdamWOptions options;
  options.weight_decay = job.value("weight_decay", 0.0);
  train::AdamW optimizer(stage.adapters(), options);
  std::vector<float> losses;
  for (const json& step : job.at("steps")) {
    losses.push_back(static_cast<float>(
        TrainStep(stage, optimizer, BatchOf(step), job.at("learning_rate").get<double>(),
                  job.value("max_grad_norm", 0.0), losses.empty() ? results : nullptr)));
  }
  results->Add("losses", losses);
  for (lora::LowRank* adapter : stage.adapters()) {
    results->Add("final." + adapter->name() + ".lora_A.weight", adapter->a());
    results->Add("final." + adapter->name() + ".lora_B.weight", adapter->b());
  }
}

int Run(const std::string& job_path, const std::string& out_path) {
  const json job = io::ParseJson(io::ReadTextFile(job_path, 1 << 26), job_path);
  const models::BaseModel model = models::OpenModel(job.at("model").get<std::string>());
  models::StageOptions options;
  const std::string adapter = job.value("adapter", "");
  if (!adapter.empty()) {
    const std::string path = adapter + "/adapter_config.json";
    options.lora = lora::ParsePeftConfig(io::ReadTextFile(path, 1 << 20), path).lora;
    options.lora.alpha *= job.value("alpha_factor", 1.0);  // the parity test's negative control
  }
  const auto stage = models::LoadStage(model, models::WholeRange(model.spec), options);
  if (!adapter.empty()) {
    const auto file = io::MappedFile::Open(adapter + "/adapter_model.safetensors");
    lora::LoadAdapter(file->bytes(), stage->adapters(), file->path());
  }
  Results results;
  if (job.contains("steps")) {
    RunTraining(*stage, job, &results);
  } else {
    RunLogits(*stage, BatchOf(job.at("sequences")), &results);
  }
  results.Write(out_path);
  return 0;
}

}  // namespace
}  // namespace amaq

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: amaq_reference_run JOB.json OUT.safetensors\n");
    return 2;
  }
  try {
    return amaq::Run(argv[1], argv[2]);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "amaq_reference_run: %s\n", error.what());
    return 1;
  }
}
