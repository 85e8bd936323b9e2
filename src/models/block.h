#ifndef AMAQ_MODELS_BLOCK_H_
#define AMAQ_MODELS_BLOCK_H_

// One decoder block of the Llama family with optional low-rank adapters, forward and backward
// written out. Lane-bound. Source: Llama 2 (arXiv 2307.09288), section 2.2.

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "lora/init.h"
#include "models/attention.h"
#include "models/batch_context.h"
#include "models/norm.h"

namespace amaq::models {

// What is kept from the forward pass. kFast: all that backward reads. kLean: the block's input
// alone; backward runs the forward again. Bytes a token and block, in elements of the compute type:
//   fast  5 H + 2 query + 2 kv + 2 ffn + O(heads), plus the head outputs once more
//   lean  H
enum class MemoryPolicy { kFast, kLean };

struct BlockWeights {
  at::Tensor input_norm;     // [H]
  at::Tensor qkv;            // [query + 2 kv, H]: rows of q, k, v
  at::Tensor attention_out;  // [H, query]
  at::Tensor post_norm;      // [H]
  at::Tensor gate_up;        // [2 ffn, H]: rows of gate, then up
  at::Tensor down;           // [H, ffn]
};

// Adapters by position in lora::LinearModules(); nullptr: not adapted.
using BlockAdapters = std::array<std::unique_ptr<lora::LowRank>, 7>;

struct BlockSaved {
  at::Tensor x;  // block input; the rest is empty under kLean
  RmsNormSaved input_norm, post_norm;
  at::Tensor normed;  // input of q, k, v
  at::Tensor qkv;     // rotated
  AttentionSaved attention;
  at::Tensor attended;     // input of o_proj
  at::Tensor middle;       // after the attention's residual
  at::Tensor post_normed;  // input of gate, up
  at::Tensor gate_up;
};

class Block {
 public:
  Block(const ModelSpec& spec, BlockWeights weights, BlockAdapters adapters)
      : spec_(spec), weights_(std::move(weights)), adapters_(std::move(adapters)) {}

  at::Tensor Forward(const at::Tensor& x, const BatchContext& context, MemoryPolicy memory,
                     BlockSaved* saved) const;

  // grad [N, H] of the output. Returns dx [N, H], or an undefined tensor when needs_input_gradient
  // is false (the lowest trained block of a model). `saved` is consumed.
  at::Tensor Backward(const at::Tensor& grad, const BatchContext& context,
                      bool needs_input_gradient, BlockSaved saved,
                      lora::DeferredGradients* deferred);

  const BlockAdapters& adapters() const { return adapters_; }
  BlockAdapters& adapters() { return adapters_; }
  const BlockWeights& weights() const { return weights_; }

 private:
  at::Tensor ForwardKeeping(const at::Tensor& x, const BatchContext& context,
                            BlockSaved* saved) const;
  at::Tensor BackwardMlp(const at::Tensor& grad, const BatchContext& context,
                         const BlockSaved& saved, lora::DeferredGradients* deferred);
  at::Tensor BackwardAttention(const at::Tensor& grad, const BatchContext& context,
                               const BlockSaved& saved, bool needs_input_gradient,
                               lora::DeferredGradients* deferred);

  ModelSpec spec_;
  BlockWeights weights_;
  BlockAdapters adapters_;
};

}  // namespace amaq::models

#endif  // AMAQ_MODELS_BLOCK_H_
