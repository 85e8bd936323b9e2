#include "models/stage.h"

#include <ATen/ops/embedding.h>

#include <algorithm>

#include "core/check.h"
#include "core/error.h"

namespace amaq::models {
namespace {

void CheckCut(const ModelSpec& spec, int64_t client_blocks) {
  if (client_blocks < 1 || client_blocks >= spec.num_blocks) {
    Throw(Code::kInvalidArgument, "split.client_blocks must be in [1, ", spec.num_blocks - 1,
          "] for a model of ", spec.num_blocks, " blocks, got ", client_blocks);
  }
}

}  // namespace

StageRange ClientRange(const ModelSpec& spec, int64_t client_blocks) {
  CheckCut(spec, client_blocks);
  return {0, client_blocks, true, false};
}

StageRange ServerRange(const ModelSpec& spec, int64_t client_blocks) {
  CheckCut(spec, client_blocks);
  return {client_blocks, spec.num_blocks, false, true};
}

StageRange WholeRange(const ModelSpec& spec) { return {0, spec.num_blocks, true, true}; }

at::Tensor Stage::Embed(const at::Tensor& tokens) const {
  AMAQ_CHECK(range_.has_embedding);
  if (tokens.numel() == 0 || tokens.min().item<int64_t>() < 0 ||
      tokens.max().item<int64_t>() >= spec_.vocab) {
    Throw(Code::kInvalidArgument, "a token id is outside the model's vocabulary of ", spec_.vocab);
  }
  return at::embedding(weights_.embedding, tokens);
}

at::Tensor Stage::Forward(const at::Tensor& x, const BatchContext& context,
                          std::vector<BlockSaved>* saved) const {
  at::Tensor hidden = x;
  if (saved != nullptr) saved->resize(weights_.blocks.size());
  for (size_t i = 0; i < weights_.blocks.size(); ++i) {
    BlockSaved dropped;
    hidden = weights_.blocks[i].Forward(hidden, context,
                                        saved != nullptr ? memory_ : MemoryPolicy::kLean,
                                        saved != nullptr ? &(*saved)[i] : &dropped);
  }
  return hidden;
}

at::Tensor Stage::Backward(const at::Tensor& grad, const BatchContext& context,
                           std::vector<BlockSaved> saved, InputGradient input_gradient,
                           lora::DeferredGradients* deferred) {
  AMAQ_CHECK(saved.size() == weights_.blocks.size());
  at::Tensor gradient = grad;
  for (size_t i = weights_.blocks.size(); i-- > 0;) {
    const bool needed = i > 0 || input_gradient == InputGradient::kNeeded;
    gradient = weights_.blocks[i].Backward(gradient, context, needed, std::move(saved[i]),
                                           i == 0 ? deferred : nullptr);
  }
  return gradient;
}

std::vector<lora::LowRank*> Stage::adapters() {
  std::vector<lora::LowRank*> all;
  for (Block& block : weights_.blocks) {
    for (auto& adapter : block.adapters()) {
      if (adapter != nullptr) all.push_back(adapter.get());
    }
  }
  std::sort(all.begin(), all.end(),
            [](const lora::LowRank* x, const lora::LowRank* y) { return x->name() < y->name(); });
  return all;
}

}  // namespace amaq::models
