#include "client/settings.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/version.h"

namespace amaq::client {
namespace {

quant::GatePenalty PenaltyKind(const std::string& name) {
  if (name == "mean") return quant::GatePenalty::kMean;
  if (name == "dual") return quant::GatePenalty::kDual;
  return quant::GatePenalty::kHinge;
}

// Bits a value of gradients that have no widths; 0: they have. What has no widths forward, amaq-rd,
// has none for the way back to be the same as: its gradients get its rate.
double GradientRate(const config::QuantConfig& quant) {
  if (quant.gradient.method == "rd") return quant.gradient.target_bits;
  return quant.method == "amaq-rd" ? quant.target_bits : 0;
}

}  // namespace

data::DatasetOptions DatasetOptionsOf(const config::ClientConfig& config, uint64_t max_records) {
  data::DatasetOptions options;
  options.format = data::ParseRecordFormat(config.data.format);
  options.prompt_template = config.data.prompt_template;
  options.completion_template = config.data.completion_template;
  options.append_eos = config.data.append_eos;
  options.max_length = config.data.max_length;
  options.max_records = max_records;
  options.on_bad_line =
      config.data.on_bad_line == "skip" ? data::OnBadLine::kSkip : data::OnBadLine::kError;
  return options;
}

models::StageOptions StageOptionsOf(const config::ClientConfig& config) {
  models::StageOptions options;
  options.lora.r = config.lora.r;
  options.lora.alpha = config.lora.lora_alpha;
  options.lora.dropout = config.lora.lora_dropout;
  options.lora.use_rslora = config.lora.use_rslora;
  options.lora.target_modules = lora::ResolveTargets(config.lora.target_modules);
  options.lora.seed = config.train.seed;
  options.compute_dtype = ParseDType(config.model.dtype).value_or(DType::kF32);
  options.memory =
      config.train.memory == "lean" ? models::MemoryPolicy::kLean : models::MemoryPolicy::kFast;
  options.device = config.device;
  return options;
}

train::CutOptions CutOptionsOf(const config::ClientConfig& config) {
  const config::GradientConfig& gradient = config.quant.gradient;
  train::CutOptions cut;
  cut.method = quant::ParseMethod(config.quant.method).value_or(quant::Method::kNone);
  cut.wire_dtype = ParseDType(config.wire.dtype).value_or(DType::kBF16);
  cut.range = quant::ParseRange(config.quant.range).value_or(quant::Range::kMinMax);
  cut.range_percentile = config.quant.range_percentile;
  cut.range_margin = config.quant.range_margin;
  cut.range_max_clipped = config.quant.range_max_clipped;
  if (config.quant.axis == "token") cut.positions = config.data.max_length;
  cut.sink_tokens = config.quant.sink_tokens;
  cut.nested = config.quant.nested;
  cut.gradient_is_own = gradient.bits == "own";
  if (gradient.bits != "same" && !cut.gradient_is_own) {
    cut.gradient_bits = static_cast<uint32_t>(std::stoul(gradient.bits));
  }
  cut.gradient_bits_offset = gradient.bits_offset;
  cut.gradient_rate = GradientRate(config.quant);
  cut.gradient_rounding = gradient.rounding == "stochastic" ? quant::Rounding::kStochastic
                                                            : quant::Rounding::kNearestEven;
  cut.seed = config.train.seed;
  cut.cut = config.split.client_blocks;
  cut.group_size = config.quant.group_size;
  cut.cache_bytes = config.quant.cache_bytes;
  if (!config.quant.cache_dir.empty()) cut.cache_dir = config.quant.cache_dir;
  cut.rd_dead_zone = config.quant.rd.dead_zone;
  cut.rd_memory = config.quant.rd.memory;
  return cut;
}

train::AdamWOptions OptimizerOf(const config::ClientConfig& config) {
  return {config.train.adam_beta1, config.train.adam_beta2, config.train.adam_epsilon,
          config.train.weight_decay};
}

train::LrSchedule ScheduleOf(const config::ClientConfig& config, uint64_t max_steps) {
  train::LrSchedule schedule;
  if (config.train.lr_scheduler_type == "cosine") schedule.kind = train::LrScheduleKind::kCosine;
  if (config.train.lr_scheduler_type == "constant")
    schedule.kind = train::LrScheduleKind::kConstant;
  schedule.learning_rate = config.train.learning_rate;
  schedule.min_ratio = config.train.min_lr_ratio;
  schedule.warmup_steps = config.train.warmup_steps;
  if (schedule.warmup_steps == 0) {
    schedule.warmup_steps = static_cast<uint64_t>(
        std::ceil(config.train.warmup_ratio * static_cast<double>(max_steps)));
  }
  schedule.max_steps = max_steps;
  return schedule;
}

quant::WidthConfig WidthConfigOf(const config::ClientConfig& config, uint64_t max_steps) {
  const config::QuantConfig& quant = config.quant;
  quant::WidthConfig width;
  width.method = quant::ParseMethod(quant.method).value_or(quant::Method::kNone);
  width.bits = quant.bits;
  width.b_min = quant.b_min;
  width.b_max = quant.b_max;
  width.b_start = quant.b_start;
  width.target_bits = quant.target_bits;
  width.schedule = quant::ParseSchedule(quant.schedule).value_or(quant::TargetSchedule::kCosine);
  width.adapt_steps = quant.adapt_steps;
  if (width.adapt_steps == 0) {
    const double steps = std::ceil(quant.adapt_ratio * static_cast<double>(max_steps));
    width.adapt_steps = std::max<uint64_t>(1, static_cast<uint64_t>(steps));
  }
  width.alpha = quant.gate.alpha;
  width.update =
      quant.gate.update == "adam" ? quant::GateUpdate::kAdam : quant::GateUpdate::kNewton;
  width.gradient =
      quant.gate.grad == "fisher" ? quant::GateGradient::kFisher : quant::GateGradient::kSte;
  width.freeze =
      quant.gate.freeze == "gate" ? quant::GateFreeze::kGate : quant::GateFreeze::kMeasured;
  width.penalty = PenaltyKind(quant.gate.penalty);
  width.penalty_beta = quant.gate.penalty_beta;
  return width;
}

transport::OpenRequest OpenRequestOf(const config::ClientConfig& config, const std::string& run_id,
                                     const models::Fingerprint& model, uint64_t max_tokens,
                                     uint64_t max_steps) {
  transport::OpenRequest request;
  request.run_id = run_id;
  request.client_version = kVersion;
  request.model = {model.config, model.tensor_index, model.boundary};
  request.client_blocks = config.split.client_blocks;
  request.compute_dtype = config.model.dtype;
  request.quant.method = config.quant.method;
  request.quant.wire_dtype = config.wire.dtype;
  request.quant.bits = config.quant.bits;
  request.quant.b_min = config.quant.b_min;
  request.quant.b_max = config.quant.b_max;
  request.quant.b_start = config.quant.b_start;
  request.quant.target_bits = config.quant.target_bits;
  request.quant.range = config.quant.range;
  request.quant.axis = config.quant.axis;
  request.quant.positions = CutOptionsOf(config).positions;
  request.quant.sink_tokens = config.quant.sink_tokens;
  request.quant.gradient_bits = config.quant.gradient.bits;
  request.quant.gradient_bits_offset = config.quant.gradient.bits_offset;
  request.quant.gradient_rounding = config.quant.gradient.rounding;
  request.quant.entropy = config.wire.entropy;
  request.quant.gradient_target_bits = config.quant.gradient.target_bits;
  request.quant.schedule = config.quant.schedule;
  request.quant.adapt_steps = WidthConfigOf(config, max_steps).adapt_steps;
  request.quant.range_percentile = config.quant.range_percentile;
  request.quant.range_margin = config.quant.range_margin;
  request.quant.range_max_clipped = config.quant.range_max_clipped;
  if (const double rate = GradientRate(config.quant); rate > 0) {
    request.quant.gradient_method = "rd";
    request.quant.gradient_target_bits = rate;
  }
  request.quant.rd_memory = config.quant.rd.memory;
  request.quant.group_size = config.quant.group_size;
  const auto method = quant::ParseMethod(config.quant.method);
  if (method && quant::NeedsCache(*method)) request.quant.cache_bytes = config.quant.cache_bytes;
  request.lora.r = config.lora.r;
  request.lora.alpha = config.lora.lora_alpha;
  request.lora.dropout = config.lora.lora_dropout;
  request.lora.use_rslora = config.lora.use_rslora;
  request.lora.target_modules = lora::ResolveTargets(config.lora.target_modules);
  request.optimizer = {config.train.adam_beta1, config.train.adam_beta2, config.train.adam_epsilon,
                       config.train.weight_decay};
  request.memory_policy = config.train.memory;
  request.seed = config.train.seed;
  request.max_tokens = max_tokens;
  request.in_flight = config.train.in_flight;
  return request;
}

size_t QueueMessages(const config::ClientConfig& config) {
  return std::max<size_t>(16, size_t{config.train.in_flight} + 2);
}

uint64_t MaxSteps(const config::TrainConfig& train, uint64_t micro_batches_per_epoch) {
  if (train.max_steps > 0) return train.max_steps;
  const double micro_batches =
      train.num_train_epochs * static_cast<double>(micro_batches_per_epoch);
  const double steps = std::ceil(micro_batches / train.gradient_accumulation_steps);
  return std::max<uint64_t>(1, static_cast<uint64_t>(steps));
}

}  // namespace amaq::client
