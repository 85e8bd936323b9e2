#include "tests/support/tiny_model.h"

#include <ATen/ops/cat.h>

#include <algorithm>
#include <cmath>

#include "core/rng.h"
#include "tensor/bridge.h"

namespace amaq::test {
namespace {

constexpr uint64_t kSeed = 20240611;

std::string ModuleOf(int64_t block, const std::string& leaf) {
  const bool attends = leaf == "q_proj" || leaf == "k_proj" || leaf == "v_proj" || leaf == "o_proj";
  return "model.layers." + std::to_string(block) + (attends ? ".self_attn." : ".mlp.") + leaf;
}

struct Shape {
  int64_t in, out;
};

Shape ShapeOf(const models::ModelSpec& spec, const std::string& leaf) {
  if (leaf == "q_proj") return {spec.hidden, spec.query_width()};
  if (leaf == "k_proj" || leaf == "v_proj") return {spec.hidden, spec.kv_width()};
  if (leaf == "o_proj") return {spec.query_width(), spec.hidden};
  if (leaf == "down_proj") return {spec.ffn, spec.hidden};
  return {spec.hidden, spec.ffn};
}

// Variance 1 / in, so that activations keep their size.
at::Tensor Projection(const TinyModel& model, int64_t block, const std::string& leaf) {
  const Shape shape = ShapeOf(model.spec, leaf);
  return NamedTensor(ModuleOf(block, leaf), shape.out, shape.in,
                     std::sqrt(3.0 / static_cast<double>(shape.in)), model.type);
}

at::Tensor Norm(const TinyModel& model, const std::string& name) {
  return NamedTensor(name, 1, model.spec.hidden, 0.3, model.type).squeeze(0).add_(1);
}

}  // namespace

models::ModelSpec TinySpec() {
  models::ModelSpec spec;
  spec.num_blocks = 4;
  spec.hidden = 13;
  spec.ffn = 11;
  spec.heads = 4;
  spec.kv_heads = 2;
  spec.head_dim = 6;
  spec.vocab = 29;
  spec.max_positions = 128;
  return spec;
}

at::Tensor NamedTensor(const std::string& name, int64_t rows, int64_t columns, double bound,
                       at::ScalarType type) {
  return tensor::UniformTensor(rows, columns, bound, NamedKey(kSeed, name), at::kCPU).to(type);
}

models::BlockWeights TinyBlockWeights(const TinyModel& model, int64_t block) {
  const auto rows = [&](const std::vector<std::string>& leaves) {
    std::vector<at::Tensor> parts;
    for (const std::string& leaf : leaves) parts.push_back(Projection(model, block, leaf));
    return at::cat(parts, 0);
  };
  const std::string prefix = "model.layers." + std::to_string(block);
  models::BlockWeights weights;
  weights.input_norm = Norm(model, prefix + ".input_layernorm");
  weights.qkv = rows({"q_proj", "k_proj", "v_proj"});
  weights.attention_out = rows({"o_proj"});
  weights.post_norm = Norm(model, prefix + ".post_attention_layernorm");
  weights.gate_up = rows({"gate_proj", "up_proj"});
  weights.down = rows({"down_proj"});
  return weights;
}

models::BlockAdapters TinyBlockAdapters(const TinyModel& model, int64_t block) {
  lora::LoraOptions options;
  options.r = model.rank;
  options.alpha = model.alpha;
  options.seed = kSeed;
  const at::ScalarType type = model.type == at::kDouble ? at::kDouble : at::kFloat;
  models::BlockAdapters adapters;
  for (size_t i = 0; i < adapters.size(); ++i) {
    const std::string& leaf = lora::LinearModules()[i];
    if (std::find(model.targets.begin(), model.targets.end(), leaf) == model.targets.end()) {
      continue;
    }
    const std::string name = ModuleOf(block, leaf);
    const Shape shape = ShapeOf(model.spec, leaf);
    adapters[i] = std::make_unique<lora::LowRank>(
        lora::FreshAdapter(name, shape.in, shape.out, options, type, at::kCPU));
    adapters[i]->b().copy_(NamedTensor(name + ".lora_B", shape.out, model.rank, 0.3, type));
  }
  return adapters;
}

models::Block TinyBlock(const TinyModel& model, int64_t block) {
  return models::Block(model.spec, TinyBlockWeights(model, block), TinyBlockAdapters(model, block));
}

at::Tensor TinyEmbedding(const TinyModel& model) {
  return NamedTensor("model.embed_tokens", model.spec.vocab, model.spec.hidden, 1, model.type);
}

models::HeadWeights TinyHead(const TinyModel& model) {
  return {Norm(model, "model.norm"), TinyEmbedding(model), model.spec.norm_eps};
}

models::Stage TinyStage(const TinyModel& model, const models::StageRange& range) {
  models::StageWeights weights;
  if (range.has_embedding) weights.embedding = TinyEmbedding(model);
  for (int64_t block = range.first_block; block < range.end_block; ++block) {
    weights.blocks.push_back(TinyBlock(model, block));
  }
  if (range.has_head) weights.head = TinyHead(model);
  return models::Stage(model.spec, range, std::move(weights), model.memory);
}

TinyBatch MakeTinyBatch(const std::vector<uint32_t>& lengths, uint32_t first) {
  const auto vocab = static_cast<uint32_t>(TinySpec().vocab);
  TinyBatch batch;
  batch.segments.push_back(0);
  for (uint32_t s = 0; s < lengths.size(); ++s) {
    const uint64_t key = NamedKey(kSeed, "sequence " + std::to_string(first + s));
    const uint32_t begin = batch.segments.back();
    for (uint32_t t = 0; t < lengths[s]; ++t) {
      batch.tokens.push_back(static_cast<int32_t>(PhiloxWord(key, t) % vocab));
    }
    for (uint32_t t = lengths[s] / 2; t + 1 < lengths[s]; ++t) {
      batch.target_rows.push_back(begin + t);
      batch.targets.push_back(batch.tokens[begin + t + 1]);
    }
    batch.segments.push_back(begin + lengths[s]);
  }
  return batch;
}

models::BatchContext TinyContext(const TinyModel& model, const std::vector<uint32_t>& segments,
                                 const lora::DropoutContext& dropout) {
  return models::MakeBatchContext(model.spec, segments, dropout, model.type, at::kCPU);
}

void CollectGradients(models::Stage& stage, std::map<std::string, at::Tensor>* into) {
  for (const lora::LowRank* adapter : stage.adapters()) {
    (*into)[adapter->name() + ".lora_A.weight"] = adapter->grad_a().clone();
    (*into)[adapter->name() + ".lora_B.weight"] = adapter->grad_b().clone();
  }
}

TinyStepResult StepWhole(const TinyModel& model, models::Stage& stage, const TinyBatch& batch,
                         uint64_t divisor, const lora::DropoutContext& dropout) {
  const models::BatchContext context = TinyContext(model, batch.segments, dropout);
  std::vector<models::BlockSaved> saved;
  const at::Tensor x = stage.Embed(tensor::FromInts(batch.tokens, at::kCPU));
  const at::Tensor out = stage.Forward(x, context, &saved);
  const models::LossResult loss = models::HeadLoss(out, stage.head(), batch.supervision(), divisor);
  TinyStepResult result;
  result.loss_sum = loss.loss_sum;
  result.boundary_gradient = stage.Backward(loss.gradient, context, std::move(saved),
                                            models::InputGradient::kNeeded, nullptr);
  CollectGradients(stage, &result.gradients);
  return result;
}

TinyStepResult StepSplit(const TinyModel& model, models::Stage& client, models::Stage& server,
                         const TinyBatch& batch, uint64_t divisor, bool deferred,
                         const lora::DropoutContext& dropout) {
  const models::BatchContext context = TinyContext(model, batch.segments, dropout);
  std::vector<models::BlockSaved> client_saved;
  std::vector<models::BlockSaved> server_saved;
  const at::Tensor x = client.Embed(tensor::FromInts(batch.tokens, at::kCPU));
  const at::Tensor boundary = client.Forward(x, context, &client_saved);
  const at::Tensor out = server.Forward(boundary, context, &server_saved);
  const models::LossResult loss =
      models::HeadLoss(out, server.head(), batch.supervision(), divisor);
  lora::DeferredGradients waiting;
  TinyStepResult result;
  result.loss_sum = loss.loss_sum;
  result.boundary_gradient =
      server.Backward(loss.gradient, context, std::move(server_saved),
                      models::InputGradient::kNeeded, deferred ? &waiting : nullptr);
  client.Backward(result.boundary_gradient, context, std::move(client_saved),
                  models::InputGradient::kNotNeeded, nullptr);
  for (const auto& form : waiting) form();
  CollectGradients(client, &result.gradients);
  CollectGradients(server, &result.gradients);
  return result;
}

}  // namespace amaq::test
