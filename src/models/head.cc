#include "models/head.h"

#include <ATen/ops/_log_softmax.h>
#include <ATen/ops/argmax.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/zeros.h>

#include <algorithm>

#include "models/linear.h"
#include "tensor/bridge.h"

namespace amaq::models {
namespace {

// Most rows of a chunk: 128 rows of 49,152 fp32 logits are 25 MB. Each product reads and packs the
// whole output matrix, so fewer, equal chunks are faster than many or a short last one.
constexpr int64_t kChunkRows = 128;

at::Tensor WideLogits(const at::Tensor& normed, const at::Tensor& output) {
  const at::Tensor logits = LinearForward(normed, output);
  return logits.scalar_type() == at::kDouble ? logits : logits.to(at::kFloat);
}

}  // namespace

LossResult HeadLoss(const at::Tensor& x, const HeadWeights& weights, const Supervision& supervision,
                    uint64_t divisor) {
  LossResult result;
  result.tokens = supervision.rows.size();
  const bool wants_gradient = divisor > 0;
  if (wants_gradient) result.gradient = at::zeros(x.sizes(), x.options());
  if (supervision.rows.empty()) return result;

  const at::Tensor rows = tensor::FromRows(supervision.rows, x.device());
  const at::Tensor targets = tensor::FromInts(supervision.targets, x.device());
  const at::Tensor selected = x.index_select(0, rows);
  RmsNormSaved saved;
  const at::Tensor normed = RmsNormForward(selected, weights.norm, weights.norm_eps, &saved);
  at::Tensor grad_normed;
  if (wants_gradient) grad_normed = at::zeros(normed.sizes(), normed.options());

  const int64_t count = normed.size(0);
  const int64_t num_chunks = (count + kChunkRows - 1) / kChunkRows;
  const int64_t chunk_rows = (count + num_chunks - 1) / num_chunks;
  for (int64_t begin = 0; begin < count; begin += chunk_rows) {
    const int64_t size = std::min(chunk_rows, count - begin);
    const at::Tensor chunk_targets = targets.narrow(0, begin, size).unsqueeze(1);
    const at::Tensor logits = WideLogits(normed.narrow(0, begin, size), weights.output);
    if (!wants_gradient) {
      result.correct +=
          static_cast<uint64_t>(logits.argmax(1, true).eq(chunk_targets).sum().item<int64_t>());
    }
    at::Tensor log_probabilities = at::_log_softmax(logits, 1, false);
    result.loss_sum -=
        log_probabilities.gather(1, chunk_targets).to(at::kDouble).sum().item<double>();
    if (!wants_gradient) continue;
    at::Tensor grad_logits = log_probabilities.exp_();
    grad_logits.scatter_add_(1, chunk_targets,
                             at::ones_like(chunk_targets, grad_logits.options()).neg_());
    grad_normed.narrow(0, begin, size)
        .copy_(LinearBackward(grad_logits.to(normed.scalar_type()), weights.output));
  }
  if (wants_gradient) {
    grad_normed.div_(static_cast<double>(divisor));
    result.gradient.index_copy_(0, rows,
                                RmsNormBackward(grad_normed, selected, weights.norm, saved));
  }
  return result;
}

at::Tensor HeadLogits(const at::Tensor& x, const HeadWeights& weights,
                      std::span<const uint32_t> rows) {
  RmsNormSaved saved;
  const at::Tensor selected = x.index_select(0, tensor::FromRows(rows, x.device()));
  return WideLogits(RmsNormForward(selected, weights.norm, weights.norm_eps, &saved),
                    weights.output);
}

}  // namespace amaq::models
