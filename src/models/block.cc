#include "models/block.h"

#include <ATen/ops/empty_like.h>

#include "models/linear.h"
#include "models/mlp.h"

namespace amaq::models {
namespace {

// Positions in lora::LinearModules().
enum Module : size_t { kQ = 0, kK, kV, kO, kGate, kUp, kDown };

struct QkvViews {
  at::Tensor q, k, v;  // [N, heads, d]
};

QkvViews SplitHeads(const ModelSpec& spec, const at::Tensor& qkv) {
  const int64_t rows = qkv.size(0);
  const auto heads = [&](int64_t begin, int64_t count) {
    return qkv.narrow(1, begin, count * spec.head_dim).view({rows, count, spec.head_dim});
  };
  return {heads(0, spec.heads), heads(spec.query_width(), spec.kv_heads),
          heads(spec.query_width() + spec.kv_width(), spec.kv_heads)};
}

void AddAdapter(const std::unique_ptr<lora::LowRank>& adapter, const at::Tensor& x,
                const BatchContext& context, const at::Tensor& y) {
  if (adapter != nullptr) adapter->AddForward(x, context.dropout, y);
}

void BackAdapter(const std::unique_ptr<lora::LowRank>& adapter, const at::Tensor& grad,
                 const at::Tensor& x, const BatchContext& context, at::Tensor* grad_x,
                 lora::DeferredGradients* deferred) {
  if (adapter != nullptr) adapter->AddBackward(grad, x, context.dropout, grad_x, deferred);
}

}  // namespace

at::Tensor Block::ForwardKeeping(const at::Tensor& x, const BatchContext& context,
                                 BlockSaved* saved) const {
  const int64_t query = spec_.query_width();
  const int64_t kv = spec_.kv_width();
  saved->x = x;
  saved->normed = RmsNormForward(x, weights_.input_norm, spec_.norm_eps, &saved->input_norm);
  saved->qkv = LinearForward(saved->normed, weights_.qkv);
  AddAdapter(adapters_[kQ], saved->normed, context, saved->qkv.narrow(1, 0, query));
  AddAdapter(adapters_[kK], saved->normed, context, saved->qkv.narrow(1, query, kv));
  AddAdapter(adapters_[kV], saved->normed, context, saved->qkv.narrow(1, query + kv, kv));
  const QkvViews heads = SplitHeads(spec_, saved->qkv);
  RotateInPlace(heads.q, context.rotary);
  RotateInPlace(heads.k, context.rotary);
  saved->attended =
      AttentionForward(heads.q, heads.k, heads.v, context.segments, &saved->attention);
  at::Tensor attention_out = LinearForward(saved->attended, weights_.attention_out);
  AddAdapter(adapters_[kO], saved->attended, context, attention_out);
  saved->middle = attention_out.add_(x);

  saved->post_normed =
      RmsNormForward(saved->middle, weights_.post_norm, spec_.norm_eps, &saved->post_norm);
  saved->gate_up = LinearForward(saved->post_normed, weights_.gate_up);
  AddAdapter(adapters_[kGate], saved->post_normed, context, saved->gate_up.narrow(1, 0, spec_.ffn));
  AddAdapter(adapters_[kUp], saved->post_normed, context,
             saved->gate_up.narrow(1, spec_.ffn, spec_.ffn));
  const at::Tensor activated = SwiGluForward(saved->gate_up);
  at::Tensor out = LinearForward(activated, weights_.down);
  AddAdapter(adapters_[kDown], activated, context, out);
  return out.add_(saved->middle);
}

at::Tensor Block::Forward(const at::Tensor& x, const BatchContext& context, MemoryPolicy memory,
                          BlockSaved* saved) const {
  BlockSaved kept;
  at::Tensor out = ForwardKeeping(x, context, &kept);
  if (memory == MemoryPolicy::kFast) {
    *saved = std::move(kept);
  } else {
    saved->x = x;
  }
  return out;
}

at::Tensor Block::BackwardMlp(const at::Tensor& grad, const BatchContext& context,
                              const BlockSaved& saved, lora::DeferredGradients* deferred) {
  at::Tensor grad_activated = LinearBackward(grad, weights_.down);
  if (adapters_[kDown] != nullptr) {
    adapters_[kDown]->AddBackward(grad, SwiGluForward(saved.gate_up), context.dropout,
                                  &grad_activated, deferred);
  }
  const at::Tensor grad_gate_up = SwiGluBackward(grad_activated, saved.gate_up);
  at::Tensor grad_normed = LinearBackward(grad_gate_up, weights_.gate_up);
  BackAdapter(adapters_[kGate], grad_gate_up.narrow(1, 0, spec_.ffn), saved.post_normed, context,
              &grad_normed, deferred);
  BackAdapter(adapters_[kUp], grad_gate_up.narrow(1, spec_.ffn, spec_.ffn), saved.post_normed,
              context, &grad_normed, deferred);
  return RmsNormBackward(grad_normed, saved.middle, weights_.post_norm, saved.post_norm).add_(grad);
}

at::Tensor Block::BackwardAttention(const at::Tensor& grad, const BatchContext& context,
                                    const BlockSaved& saved, bool needs_input_gradient,
                                    lora::DeferredGradients* deferred) {
  const int64_t query = spec_.query_width();
  const int64_t kv = spec_.kv_width();
  const bool trains_qkv = adapters_[kQ] || adapters_[kK] || adapters_[kV];
  if (!needs_input_gradient && !trains_qkv && !adapters_[kO]) return {};
  at::Tensor grad_attended = LinearBackward(grad, weights_.attention_out);
  BackAdapter(adapters_[kO], grad, saved.attended, context, &grad_attended, deferred);
  if (!needs_input_gradient && !trains_qkv) return {};
  const QkvViews heads = SplitHeads(spec_, saved.qkv);
  const at::Tensor grad_qkv = at::empty_like(saved.qkv);
  const QkvViews grad_heads = SplitHeads(spec_, grad_qkv);
  AttentionBackward(grad_attended, heads.q, heads.k, heads.v, context.segments, saved.attention,
                    {grad_heads.q, grad_heads.k, grad_heads.v});
  RotateBackInPlace(grad_heads.q, context.rotary);
  RotateBackInPlace(grad_heads.k, context.rotary);

  at::Tensor grad_normed;
  if (needs_input_gradient) grad_normed = LinearBackward(grad_qkv, weights_.qkv);
  at::Tensor* into = needs_input_gradient ? &grad_normed : nullptr;
  BackAdapter(adapters_[kQ], grad_qkv.narrow(1, 0, query), saved.normed, context, into, deferred);
  BackAdapter(adapters_[kK], grad_qkv.narrow(1, query, kv), saved.normed, context, into, deferred);
  BackAdapter(adapters_[kV], grad_qkv.narrow(1, query + kv, kv), saved.normed, context, into,
              deferred);
  if (!needs_input_gradient) return {};
  return RmsNormBackward(grad_normed, saved.x, weights_.input_norm, saved.input_norm).add_(grad);
}

at::Tensor Block::Backward(const at::Tensor& grad, const BatchContext& context,
                           bool needs_input_gradient, BlockSaved saved,
                           lora::DeferredGradients* deferred) {
  if (!saved.qkv.defined()) {  // kLean
    const at::Tensor x = saved.x;
    ForwardKeeping(x, context, &saved);
  }
  const at::Tensor grad_middle = BackwardMlp(grad, context, saved, deferred);
  return BackwardAttention(grad_middle, context, saved, needs_input_gradient, deferred);
}

}  // namespace amaq::models
