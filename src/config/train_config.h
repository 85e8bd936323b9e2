#ifndef AMAQ_CONFIG_TRAIN_CONFIG_H_
#define AMAQ_CONFIG_TRAIN_CONFIG_H_

// The section train of config.h: what a run does step by step. Value type.

#include <cstdint>
#include <string>

namespace amaq::config {

struct TrainConfig {
  uint64_t seed = 42;
  uint64_t max_steps = 0;  // 0: from num_train_epochs
  double num_train_epochs = 1;
  uint32_t per_device_train_batch_size = 4;
  uint32_t per_device_eval_batch_size = 4;
  uint32_t gradient_accumulation_steps = 1;  // micro-batches a step
  uint32_t in_flight = 2;
  double learning_rate = 2e-4;
  std::string lr_scheduler_type = "linear";  // linear | cosine | constant
  double min_lr_ratio = 0;                   // the schedule ends at this share of learning_rate
  uint64_t warmup_steps = 0;
  double warmup_ratio = 0;
  double adam_beta1 = 0.9;
  double adam_beta2 = 0.999;
  double adam_epsilon = 1e-8;
  double weight_decay = 0;
  double max_grad_norm = 1;     // 0: no clipping
  std::string memory = "fast";  // fast | lean
  uint32_t threads = 1;
  uint64_t eval_steps = 0;  // 0: before and after training only
  uint64_t logging_steps = 1;
  uint64_t max_nonfinite_steps = 0;
  std::string sample_prompt;  // one answer generated before and after (empty: none)
  uint32_t sample_max_new_tokens = 64;
  bool operator==(const TrainConfig&) const = default;
};

}  // namespace amaq::config

#endif  // AMAQ_CONFIG_TRAIN_CONFIG_H_
