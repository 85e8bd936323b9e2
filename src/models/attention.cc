#include "models/attention.h"

#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu_backward.h>
#include <ATen/ops/empty.h>

namespace amaq::models {
namespace {

// Rows [begin, end) of [N, heads, d] as [1, heads, T, d].
at::Tensor SegmentView(const at::Tensor& x, int64_t begin, int64_t end) {
  return x.narrow(0, begin, end - begin).transpose(0, 1).unsqueeze(0);
}

// The reverse: [1, heads, T, d] copied into rows [begin, end) of [N, heads, d].
void CopySegment(const at::Tensor& segment, int64_t begin, int64_t end, const at::Tensor& into) {
  into.narrow(0, begin, end - begin).copy_(segment.squeeze(0).transpose(0, 1));
}

}  // namespace

at::Tensor AttentionForward(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            const std::vector<uint32_t>& segments, AttentionSaved* saved) {
  at::Tensor result = at::empty(q.sizes(), q.options());
  for (size_t s = 0; s + 1 < segments.size(); ++s) {
    const auto begin = static_cast<int64_t>(segments[s]);
    const auto end = static_cast<int64_t>(segments[s + 1]);
    auto [out, logsumexp] = at::_scaled_dot_product_flash_attention_for_cpu(
        SegmentView(q, begin, end), SegmentView(k, begin, end), SegmentView(v, begin, end),
        /*dropout_p=*/0.0, /*is_causal=*/true);
    CopySegment(out, begin, end, result);
    saved->out.push_back(std::move(out));
    saved->logsumexp.push_back(std::move(logsumexp));
  }
  return result.view({q.size(0), q.size(1) * q.size(2)});
}

void AttentionBackward(const at::Tensor& grad, const at::Tensor& q, const at::Tensor& k,
                       const at::Tensor& v, const std::vector<uint32_t>& segments,
                       const AttentionSaved& saved, AttentionGradients into) {
  const at::Tensor grad_heads = grad.view(q.sizes());
  for (size_t s = 0; s + 1 < segments.size(); ++s) {
    const auto begin = static_cast<int64_t>(segments[s]);
    const auto end = static_cast<int64_t>(segments[s + 1]);
    const auto [grad_q, grad_k, grad_v] = at::_scaled_dot_product_flash_attention_for_cpu_backward(
        SegmentView(grad_heads, begin, end), SegmentView(q, begin, end), SegmentView(k, begin, end),
        SegmentView(v, begin, end), saved.out[s], saved.logsumexp[s], /*dropout_p=*/0.0,
        /*is_causal=*/true);
    CopySegment(grad_q, begin, end, into.q);
    CopySegment(grad_k, begin, end, into.k);
    CopySegment(grad_v, begin, end, into.v);
  }
}

}  // namespace amaq::models
