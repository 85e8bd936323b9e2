#ifndef AMAQ_TESTS_MODELS_REFERENCE_MODEL_H_
#define AMAQ_TESTS_MODELS_REFERENCE_MODEL_H_

// The oracle: a Llama written once more in plain ATen operators that autograd can follow, in the
// words of transformers' modelling code (separate projections, rotate_half, repeated KV heads, a
// masked softmax). It shares no function with src/models.

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/pow.h>
#include <ATen/ops/silu.h>

#include <limits>
#include <map>
#include <string>
#include <vector>

#include "models/block.h"
#include "models/head.h"
#include "tensor/bridge.h"

namespace amaq::test {

// A and B of one module as leaves of autograd, by global module name.
struct ReferenceAdapter {
  at::Tensor a, b;
  double scale = 0;
};
using ReferenceAdapters = std::map<std::string, ReferenceAdapter>;

// Leaves with the values of the adapters, in `type`; scale_factor other than 1 is a deliberate
// mistake for negative controls.
inline void AddReferenceAdapters(const models::BlockAdapters& adapters, at::ScalarType type,
                                 double scale_factor, ReferenceAdapters* into) {
  const auto leaf = [type](const at::Tensor& x) {
    return x.to(type).clone().set_requires_grad(true);
  };
  for (const auto& adapter : adapters) {
    if (adapter == nullptr) continue;
    (*into)[adapter->name()] = {leaf(adapter->a()), leaf(adapter->b()),
                                adapter->scale() * scale_factor};
  }
}

inline at::Tensor ReferenceRmsNorm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  return x * (x.pow(2).mean(-1, true) + eps).rsqrt() * weight;
}

inline at::Tensor RotateHalf(const at::Tensor& x) {
  const int64_t half = x.size(-1) / 2;
  return at::cat({x.narrow(-1, half, half).neg(), x.narrow(-1, 0, half)}, -1);
}

// x [T, heads, d] at positions 0...T-1.
inline at::Tensor ReferenceRotary(const at::Tensor& x, double theta) {
  const int64_t d = x.size(-1);
  const at::Tensor inverse =
      at::pow(theta, at::arange(0, d, 2, x.options()) / static_cast<double>(d)).reciprocal();
  const at::Tensor angles =
      at::arange(0, x.size(0), x.options()).unsqueeze(1) * inverse.unsqueeze(0);
  const at::Tensor both = at::cat({angles, angles}, -1).unsqueeze(1);
  return x * both.cos() + RotateHalf(x) * both.sin();
}

// One sequence: q [T, heads, d], k and v [T, kv_heads, d]; returns [T, heads * d].
inline at::Tensor ReferenceSequenceAttention(const at::Tensor& q, const at::Tensor& k,
                                             const at::Tensor& v) {
  const int64_t length = q.size(0);
  const int64_t group = q.size(1) / k.size(1);
  const auto heads_first = [](const at::Tensor& x, int64_t repeats) {
    return x.transpose(0, 1).repeat_interleave(repeats, 0);
  };
  const double root = std::sqrt(static_cast<double>(q.size(2)));
  const at::Tensor future =
      at::full({length, length}, -std::numeric_limits<double>::infinity(), q.options()).triu(1);
  const at::Tensor scores =
      at::matmul(heads_first(q, 1), heads_first(k, group).transpose(1, 2)) / root + future;
  const at::Tensor out = at::matmul(scores.softmax(-1), heads_first(v, group));
  return out.transpose(0, 1).reshape({length, q.size(1) * q.size(2)});
}

inline at::Tensor ReferenceAttention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                     const std::vector<uint32_t>& segments) {
  std::vector<at::Tensor> parts;
  for (size_t s = 0; s + 1 < segments.size(); ++s) {
    const auto rows = [&](const at::Tensor& x) {
      return x.narrow(0, segments[s], segments[s + 1] - segments[s]);
    };
    parts.push_back(ReferenceSequenceAttention(rows(q), rows(k), rows(v)));
  }
  return at::cat(parts, 0);
}

// One block over x [N, H]; prefix is "model.layers.<i>.".
class ReferenceBlock {
 public:
  ReferenceBlock(const models::ModelSpec& spec, const models::BlockWeights& weights,
                 const ReferenceAdapters& adapters, std::string prefix)
      : spec_(spec), weights_(weights), adapters_(adapters), prefix_(std::move(prefix)) {}

  at::Tensor Forward(const at::Tensor& x, const std::vector<uint32_t>& segments) const {
    const at::Tensor normed = ReferenceRmsNorm(x, weights_.input_norm, spec_.norm_eps);
    const int64_t query = spec_.query_width();
    const int64_t kv = spec_.kv_width();
    const at::Tensor q = Linear(normed, weights_.qkv.narrow(0, 0, query), "self_attn.q_proj");
    const at::Tensor k = Linear(normed, weights_.qkv.narrow(0, query, kv), "self_attn.k_proj");
    const at::Tensor v = Linear(normed, weights_.qkv.narrow(0, query + kv, kv), "self_attn.v_proj");
    const at::Tensor attended =
        ReferenceAttention(Rotated(q, spec_.heads, segments), Rotated(k, spec_.kv_heads, segments),
                           v.view({-1, spec_.kv_heads, spec_.head_dim}), segments);
    const at::Tensor middle = x + Linear(attended, weights_.attention_out, "self_attn.o_proj");
    const at::Tensor post = ReferenceRmsNorm(middle, weights_.post_norm, spec_.norm_eps);
    const int64_t ffn = spec_.ffn;
    const at::Tensor gate = Linear(post, weights_.gate_up.narrow(0, 0, ffn), "mlp.gate_proj");
    const at::Tensor up = Linear(post, weights_.gate_up.narrow(0, ffn, ffn), "mlp.up_proj");
    return middle + Linear(at::silu(gate) * up, weights_.down, "mlp.down_proj");
  }

 private:
  at::Tensor Linear(const at::Tensor& x, const at::Tensor& weight, const char* module) const {
    at::Tensor y = at::linear(x, weight);
    const auto found = adapters_.find(prefix_ + module);
    if (found == adapters_.end()) return y;
    const ReferenceAdapter& adapter = found->second;
    return y + at::linear(at::linear(x, adapter.a), adapter.b) * adapter.scale;
  }
  at::Tensor Rotated(const at::Tensor& x, int64_t heads,
                     const std::vector<uint32_t>& segments) const {
    const at::Tensor split = x.view({-1, heads, spec_.head_dim});
    std::vector<at::Tensor> parts;
    for (size_t s = 0; s + 1 < segments.size(); ++s) {
      parts.push_back(ReferenceRotary(split.narrow(0, segments[s], segments[s + 1] - segments[s]),
                                      spec_.rope_theta));
    }
    return at::cat(parts, 0);
  }

  models::ModelSpec spec_;
  models::BlockWeights weights_;
  const ReferenceAdapters& adapters_;
  std::string prefix_;
};

// Sum of the cross-entropies of the supervised rows.
inline at::Tensor ReferenceLossSum(const at::Tensor& x, const models::HeadWeights& weights,
                                   const models::Supervision& supervision) {
  const at::Tensor normed = ReferenceRmsNorm(x, weights.norm, weights.norm_eps);
  const at::Tensor log_probabilities = at::linear(normed, weights.output).log_softmax(-1);
  const at::Tensor rows = tensor::FromRows(supervision.rows, at::kCPU);
  const at::Tensor targets = tensor::FromInts(supervision.targets, at::kCPU).unsqueeze(1);
  return log_probabilities.index_select(0, rows).gather(1, targets).sum().neg();
}

}  // namespace amaq::test

#endif  // AMAQ_TESTS_MODELS_REFERENCE_MODEL_H_
