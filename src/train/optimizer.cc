#include "train/optimizer.h"

#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <cmath>
#include <numbers>

namespace amaq::train {
namespace {

double SquaredNorm(const at::Tensor& x) { return x.to(at::kDouble).square().sum().item<double>(); }

}  // namespace

AdamW::AdamW(std::vector<lora::LowRank*> adapters, const AdamWOptions& options)
    : adapters_(std::move(adapters)), options_(options) {
  for (const lora::LowRank* adapter : adapters_) {
    for (const at::Tensor* weight : {&adapter->a(), &adapter->b()}) {
      first_moments_.push_back(at::zeros_like(*weight));
      second_moments_.push_back(at::zeros_like(*weight));
      steps_.push_back(at::zeros({}, weight->options().dtype(at::kFloat)));
    }
  }
}

std::vector<TensorNorm> AdamW::SquaredNorms() const {
  std::vector<TensorNorm> norms;
  for (const lora::LowRank* adapter : adapters_) {
    norms.push_back({adapter->name() + ".lora_A.weight", SquaredNorm(adapter->grad_a())});
    norms.push_back({adapter->name() + ".lora_B.weight", SquaredNorm(adapter->grad_b())});
  }
  std::sort(norms.begin(), norms.end(),
            [](const TensorNorm& x, const TensorNorm& y) { return x.name < y.name; });
  return norms;
}

void AdamW::Step(double clip_scale, double learning_rate) {
  std::vector<at::Tensor> weights;
  std::vector<at::Tensor> gradients;
  for (lora::LowRank* adapter : adapters_) {
    weights.insert(weights.end(), {adapter->a(), adapter->b()});
    gradients.insert(gradients.end(), {adapter->grad_a(), adapter->grad_b()});
  }
  if (clip_scale != 1) {
    for (at::Tensor& gradient : gradients) gradient.mul_(clip_scale);
  }
  for (at::Tensor& step : steps_) step.add_(1);
  at::_fused_adamw_(weights, gradients, first_moments_, second_moments_, {}, steps_, learning_rate,
                    options_.beta1, options_.beta2, options_.weight_decay, options_.eps,
                    /*amsgrad=*/false, /*maximize=*/false);
  ZeroGradients();
}

void AdamW::ZeroGradients() {
  for (lora::LowRank* adapter : adapters_) adapter->ZeroGradients();
}

uint64_t AdamW::num_parameters() const {
  uint64_t count = 0;
  for (const lora::LowRank* adapter : adapters_) {
    count += static_cast<uint64_t>(adapter->a().numel() + adapter->b().numel());
  }
  return count;
}

ClipDecision DecideClip(std::vector<TensorNorm> norms, double max_norm) {
  std::sort(norms.begin(), norms.end(),
            [](const TensorNorm& x, const TensorNorm& y) { return x.name < y.name; });
  double total = 0;
  for (const TensorNorm& norm : norms) total += norm.squared;
  ClipDecision decision;
  decision.finite = std::isfinite(total);
  decision.total_norm = std::sqrt(total);
  if (max_norm > 0 && decision.finite) {
    decision.scale = std::min(1.0, max_norm / (decision.total_norm + 1e-6));
  }
  return decision;
}

double LearningRate(const LrSchedule& schedule, uint64_t step) {
  if (step < schedule.warmup_steps) {
    return schedule.learning_rate * static_cast<double>(step) /
           static_cast<double>(schedule.warmup_steps);
  }
  if (schedule.kind == LrScheduleKind::kConstant) return schedule.learning_rate;
  const auto decay_steps = static_cast<double>(std::max<uint64_t>(
      1, schedule.max_steps - std::min(schedule.max_steps, schedule.warmup_steps)));
  const double progress =
      std::min(1.0, static_cast<double>(step - schedule.warmup_steps) / decay_steps);
  const double share = schedule.kind == LrScheduleKind::kLinear
                           ? 1 - progress
                           : 0.5 * (1 + std::cos(std::numbers::pi * progress));
  return schedule.learning_rate * (schedule.min_ratio + (1 - schedule.min_ratio) * share);
}

}  // namespace amaq::train
