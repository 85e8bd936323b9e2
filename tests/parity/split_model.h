#ifndef AMAQ_TESTS_PARITY_SPLIT_MODEL_H_
#define AMAQ_TESTS_PARITY_SPLIT_MODEL_H_

// SmolLM2 on GSM8K as configs/gsm8k-client.yaml cuts it, without link and adapter: activations that
// would cross, and what comes of them behind the cut.

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "models/loader.h"

namespace amaq {

// An activation that crosses.
struct Crossing {
  data::Batch batch;
  at::Tensor x;                 // [N, H] fp32
  std::vector<uint32_t> sinks;  // rows, ascending
  std::vector<uint32_t> coded;  // the others
};
using Crossings = std::vector<Crossing>;

at::Tensor RowsOf(const at::Tensor& x, const std::vector<uint32_t>& rows);
uint64_t NumRows(const Crossings& crossings);

class SplitModel {
 public:
  explicit SplitModel(const std::string& path);

  int64_t channels() const { return base_.spec.hidden; }
  std::vector<data::Example> Read(const std::string& path, uint64_t records) const;
  // Messages of so many records each.
  Crossings Cross(std::span<const data::Example> examples, size_t records) const;
  models::LossResult Loss(const Crossing& crossing, const at::Tensor& x_hat) const;
  // Of the mean loss, by what crosses unchanged.
  at::Tensor Gradient(const Crossing& crossing);

 private:
  models::BatchContext ContextOf(const data::Batch& batch) const;

  const models::BaseModel base_;
  std::unique_ptr<models::Stage> client_, server_;
  std::unique_ptr<const data::Tokenizer> tokenizer_;
};

}  // namespace amaq

#endif  // AMAQ_TESTS_PARITY_SPLIT_MODEL_H_
