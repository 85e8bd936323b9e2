#include "train/moments.h"

#include <ATen/ops/outer.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <vector>

#include "core/check.h"
#include "tensor/bridge.h"

namespace amaq::train {
namespace {

at::Tensor RowsOf(const at::Tensor& x, const std::vector<uint32_t>& rows) {
  return x.index_select(0, tensor::FromRows(rows, x.device())).to(at::kCPU, at::kDouble);
}

}  // namespace

Moments::Moments(int64_t channels)
    : mean_(at::zeros({channels}, at::kDouble)),
      scatter_(at::zeros({channels, channels}, at::kDouble)),
      sink_mean_(at::zeros({channels}, at::kDouble)) {}

int64_t Moments::channels() const { return mean_.size(0); }

void Moments::Add(const at::Tensor& x, std::span<const uint32_t> sink_rows) {
  AMAQ_CHECK(x.dim() == 2 && x.size(1) == channels());
  if (!sink_rows.empty()) {
    const auto added = static_cast<int64_t>(sink_rows.size());
    const at::Tensor sum = RowsOf(x, {sink_rows.begin(), sink_rows.end()}).sum(0);
    sink_mean_ = (sink_mean_ * sinks_ + sum) / (sinks_ + added);
    sinks_ += added;
  }
  std::vector<uint32_t> kept;
  for (uint32_t row = 0; row < x.size(0); ++row) {
    if (!std::binary_search(sink_rows.begin(), sink_rows.end(), row)) kept.push_back(row);
  }
  if (kept.empty()) return;
  const at::Tensor counted = RowsOf(x, kept);
  const at::Tensor mean = counted.mean(0);
  const at::Tensor centred = counted - mean;
  const at::Tensor shift = mean - mean_;
  const auto had = static_cast<double>(rows_);
  const auto added = static_cast<double>(kept.size());
  scatter_ += centred.t().mm(centred);
  scatter_ += at::outer(shift, shift) * (had * added / (had + added));
  mean_ += shift * (added / (had + added));
  rows_ += static_cast<int64_t>(kept.size());
}

at::Tensor Moments::Covariance() const {
  return scatter_ / static_cast<double>(std::max<int64_t>(rows_, 1));
}

}  // namespace amaq::train
