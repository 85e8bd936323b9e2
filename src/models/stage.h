#ifndef AMAQ_MODELS_STAGE_H_
#define AMAQ_MODELS_STAGE_H_

// A run of blocks that one party holds, with the embedding in front where it is the first stage and
// the head behind where it is the last. A model on one machine is one stage with both. Lane-bound.

#include <cstdint>
#include <optional>
#include <vector>

#include "models/block.h"
#include "models/head.h"

namespace amaq::models {

// Which part of a model. [first_block, end_block).
struct StageRange {
  int64_t first_block = 0;
  int64_t end_block = 0;
  bool has_embedding = false;
  bool has_head = false;
  bool operator==(const StageRange&) const = default;
};

// The two halves of a model cut before block `client_blocks`.
// Errors: kInvalidArgument unless 1 <= client_blocks < num_blocks.
StageRange ClientRange(const ModelSpec& spec, int64_t client_blocks);
StageRange ServerRange(const ModelSpec& spec, int64_t client_blocks);
StageRange WholeRange(const ModelSpec& spec);

struct StageWeights {
  at::Tensor embedding;  // [V, H]; undefined without has_embedding
  std::vector<Block> blocks;
  std::optional<HeadWeights> head;
};

enum class InputGradient { kNeeded, kNotNeeded };

class Stage {
 public:
  Stage(const ModelSpec& spec, const StageRange& range, StageWeights weights, MemoryPolicy memory)
      : spec_(spec), range_(range), weights_(std::move(weights)), memory_(memory) {}

  const ModelSpec& spec() const { return spec_; }
  const StageRange& range() const { return range_; }
  at::ScalarType scalar_type() const { return weights_.blocks.front().weights().qkv.scalar_type(); }
  at::Device device() const { return weights_.blocks.front().weights().qkv.device(); }

  // tokens int64 [N] -> [N, H]. Errors: kInvalidArgument for an id outside the vocabulary.
  at::Tensor Embed(const at::Tensor& tokens) const;

  // x [N, H] -> [N, H]. `saved` gets one entry a block; nullptr: nothing is kept (evaluation).
  at::Tensor Forward(const at::Tensor& x, const BatchContext& context,
                     std::vector<BlockSaved>* saved) const;

  // grad [N, H] of the output; gradients of the adapters accumulate. Returns dx, or an undefined
  // tensor when not needed. Weight gradients of the lowest block go to `deferred` when given: they
  // can be formed after dx has left.
  at::Tensor Backward(const at::Tensor& grad, const BatchContext& context,
                      std::vector<BlockSaved> saved, InputGradient input_gradient,
                      lora::DeferredGradients* deferred);

  const HeadWeights& head() const { return *weights_.head; }

  // All adapters of the stage in the order of their global names. They live as long as the stage.
  std::vector<lora::LowRank*> adapters();

 private:
  ModelSpec spec_;
  StageRange range_;
  StageWeights weights_;
  MemoryPolicy memory_;
};

}  // namespace amaq::models

#endif  // AMAQ_MODELS_STAGE_H_
