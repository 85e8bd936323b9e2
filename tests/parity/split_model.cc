#include "tests/parity/split_model.h"

#include <algorithm>
#include <utility>

#include "data/tokenizer.h"
#include "tensor/bridge.h"
#include "train/cut.h"

namespace amaq {
namespace {

constexpr int64_t kClientBlocks = 10;

models::Supervision SupervisionOf(const data::Batch& batch) {
  return {batch.target_rows, batch.targets};
}

}  // namespace

at::Tensor RowsOf(const at::Tensor& x, const std::vector<uint32_t>& rows) {
  return x.index_select(0, tensor::FromRows(rows, at::kCPU));
}

uint64_t NumRows(const Crossings& crossings) {
  uint64_t rows = 0;
  for (const Crossing& crossing : crossings) rows += crossing.batch.num_tokens();
  return rows;
}

SplitModel::SplitModel(const std::string& path)
    : base_(models::OpenModel(path)), tokenizer_(data::Tokenizer::Load(path)) {
  const models::StageOptions options;
  client_ = models::LoadStage(base_, models::ClientRange(base_.spec, kClientBlocks), options);
  server_ = models::LoadStage(base_, models::ServerRange(base_.spec, kClientBlocks), options);
}

std::vector<data::Example> SplitModel::Read(const std::string& path, uint64_t records) const {
  data::DatasetOptions options;
  options.prompt_template = "Question: {question}\nAnswer:";
  options.completion_template = " {answer}";
  options.max_length = 160;
  options.max_records = records;
  return data::LoadDataset(path, options, *tokenizer_).examples;
}

Crossings SplitModel::Cross(std::span<const data::Example> examples, size_t records) const {
  Crossings crossings;
  for (size_t first = 0; first < examples.size(); first += records) {
    std::vector<const data::Example*> pointers;
    for (size_t i = first; i < std::min(first + records, examples.size()); ++i) {
      pointers.push_back(&examples[i]);
    }
    Crossing crossing;
    crossing.batch = data::Collate(pointers);
    crossing.x = client_->Forward(client_->Embed(tensor::FromInts(crossing.batch.tokens, at::kCPU)),
                                  ContextOf(crossing.batch), nullptr);
    crossing.sinks = train::SinkRows(crossing.batch.segments, 1);
    for (uint32_t row = 0; row < crossing.batch.num_tokens(); ++row) {
      if (!std::binary_search(crossing.sinks.begin(), crossing.sinks.end(), row)) {
        crossing.coded.push_back(row);
      }
    }
    crossings.push_back(std::move(crossing));
  }
  return crossings;
}

models::LossResult SplitModel::Loss(const Crossing& crossing, const at::Tensor& x_hat) const {
  return models::HeadLoss(server_->Forward(x_hat, ContextOf(crossing.batch), nullptr),
                          server_->head(), SupervisionOf(crossing.batch), 0);
}

at::Tensor SplitModel::Gradient(const Crossing& crossing) {
  const models::BatchContext context = ContextOf(crossing.batch);
  std::vector<models::BlockSaved> saved;
  const at::Tensor hidden = server_->Forward(crossing.x, context, &saved);
  const models::LossResult loss = models::HeadLoss(
      hidden, server_->head(), SupervisionOf(crossing.batch), crossing.batch.num_supervised());
  return server_->Backward(loss.gradient, context, std::move(saved), models::InputGradient::kNeeded,
                           nullptr);
}

models::BatchContext SplitModel::ContextOf(const data::Batch& batch) const {
  return models::MakeBatchContext(base_.spec, batch.segments, {}, client_->scalar_type(), at::kCPU);
}

}  // namespace amaq
