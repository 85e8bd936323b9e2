#ifndef AMAQ_TESTS_SUPPORT_TINY_MODEL_H_
#define AMAQ_TESTS_SUPPORT_TINY_MODEL_H_

// A Llama of four blocks with awkward sizes, made in memory. Every tensor is a pure function of its
// global name, so each stage of a split model holds the same values as the whole one, and a model
// in fp64 the same as one in fp32.

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "models/stage.h"

namespace amaq::test {

// 4 blocks, hidden 13, ffn 11, 4 heads over 2 KV heads of 6, 29 tokens, context of 128.
models::ModelSpec TinySpec();

struct TinyModel {
  models::ModelSpec spec = TinySpec();
  std::vector<std::string> targets = lora::LinearModules();
  at::ScalarType type = at::kFloat;  // of compute; adapters are fp64 with fp64, else fp32
  models::MemoryPolicy memory = models::MemoryPolicy::kFast;
  int64_t rank = 3;
  double alpha = 5;
};

// Uniform in [-bound, bound), a pure function of the name; rounded to fp32, then to `type`.
at::Tensor NamedTensor(const std::string& name, int64_t rows, int64_t columns, double bound,
                       at::ScalarType type);

models::BlockWeights TinyBlockWeights(const TinyModel& model, int64_t block);
// Fresh adapters whose B is not zero, so that every gradient is different from zero.
models::BlockAdapters TinyBlockAdapters(const TinyModel& model, int64_t block);
models::Block TinyBlock(const TinyModel& model, int64_t block);
at::Tensor TinyEmbedding(const TinyModel& model);
models::HeadWeights TinyHead(const TinyModel& model);
models::Stage TinyStage(const TinyModel& model, const models::StageRange& range);

struct TinyBatch {
  std::vector<int32_t> tokens;        // [N]
  std::vector<uint32_t> segments;     // [S + 1]
  std::vector<uint32_t> target_rows;  // [K]
  std::vector<int32_t> targets;       // [K]
  models::Supervision supervision() const { return {target_rows, targets}; }
};

// Sequences number first, first + 1, ... of the given lengths; their tokens depend on that number
// alone. The second half of each sequence predicts its next token (one token: nothing).
TinyBatch MakeTinyBatch(const std::vector<uint32_t>& lengths, uint32_t first = 0);

models::BatchContext TinyContext(const TinyModel& model, const std::vector<uint32_t>& segments,
                                 const lora::DropoutContext& dropout = {});

// What a training step leaves: the loss, the gradient at the stages' boundary (or at the embedding
// when unsplit) and the accumulated gradients by tensor name.
struct TinyStepResult {
  double loss_sum = 0;
  at::Tensor boundary_gradient;
  std::map<std::string, at::Tensor> gradients;
};

// Copies of the accumulated gradients, "<module>.lora_A.weight" and "<module>.lora_B.weight".
void CollectGradients(models::Stage& stage, std::map<std::string, at::Tensor>* into);

// One forward and backward of a stage with embedding and head; gradients accumulate in the stage.
TinyStepResult StepWhole(const TinyModel& model, models::Stage& stage, const TinyBatch& batch,
                         uint64_t divisor, const lora::DropoutContext& dropout = {});
// The same over two stages, nothing between them. The lowest block of the server runs its weight
// gradients after the client's backward when deferred.
TinyStepResult StepSplit(const TinyModel& model, models::Stage& client, models::Stage& server,
                         const TinyBatch& batch, uint64_t divisor, bool deferred,
                         const lora::DropoutContext& dropout = {});

}  // namespace amaq::test

#endif  // AMAQ_TESTS_SUPPORT_TINY_MODEL_H_
