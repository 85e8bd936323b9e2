#include "client/settings.h"

#include <gtest/gtest.h>

namespace amaq::client {
namespace {

TEST(SettingsTest, StepsComeFromTheEpochsUnlessTheirNumberIsSet) {
  config::TrainConfig train;
  train.num_train_epochs = 3;
  train.gradient_accumulation_steps = 4;

  EXPECT_EQ(MaxSteps(train, 10),
            8u);  // 30 micro-batches, the last step takes some of a fourth epoch
  train.num_train_epochs = 0.1;
  EXPECT_EQ(MaxSteps(train, 10), 1u);
  train.max_steps = 60;
  EXPECT_EQ(MaxSteps(train, 10), 60u);
}

TEST(SettingsTest, WarmUpIsARatioUnlessItsStepsAreSet) {
  config::ClientConfig config;
  config.train.lr_scheduler_type = "cosine";
  config.train.learning_rate = 3e-4;
  config.train.min_lr_ratio = 0.1;
  config.train.warmup_ratio = 0.05;

  const train::LrSchedule schedule = ScheduleOf(config, 50);

  EXPECT_EQ(schedule.kind, train::LrScheduleKind::kCosine);
  EXPECT_EQ(schedule.learning_rate, 3e-4);
  EXPECT_EQ(schedule.min_ratio, 0.1);
  EXPECT_EQ(schedule.warmup_steps, 3u);
  EXPECT_EQ(schedule.max_steps, 50u);
  config.train.warmup_steps = 6;
  EXPECT_EQ(ScheduleOf(config, 50).warmup_steps, 6u);
  config.train.lr_scheduler_type = "constant";
  EXPECT_EQ(ScheduleOf(config, 50).kind, train::LrScheduleKind::kConstant);
  config.train.lr_scheduler_type = "linear";
  EXPECT_EQ(ScheduleOf(config, 50).kind, train::LrScheduleKind::kLinear);
}

TEST(SettingsTest, AdaptingIsARatioUnlessItsStepsAreSet) {
  config::ClientConfig config;
  config.quant.adapt_ratio = 0.15;

  EXPECT_EQ(WidthConfigOf(config, 60).adapt_steps, 9u);
  EXPECT_EQ(WidthConfigOf(config, 1).adapt_steps, 1u);
  config.quant.adapt_steps = 20;
  EXPECT_EQ(WidthConfigOf(config, 60).adapt_steps, 20u);
}

TEST(SettingsTest, TheQuantizersOptionsAreTheConfigs) {
  config::ClientConfig config;
  config.quant.method = "linear";
  config.quant.bits = 5;
  config.quant.b_min = 1;
  config.quant.b_max = 7;
  config.quant.b_start = 6.5;
  config.quant.target_bits = 2.5;
  config.quant.schedule = "constant";
  config.quant.gate.update = "adam";
  config.quant.gate.grad = "fisher";
  config.quant.gate.freeze = "gate";
  config.quant.gate.alpha = 2;
  config.quant.gate.penalty = "dual";
  config.quant.gate.penalty_beta = 3;

  const quant::WidthConfig width = WidthConfigOf(config, 10);

  EXPECT_EQ(width.method, quant::Method::kLinear);
  EXPECT_EQ(width.bits, 5u);
  EXPECT_EQ(width.b_min, 1);
  EXPECT_EQ(width.b_max, 7);
  EXPECT_EQ(width.b_start, 6.5);
  EXPECT_EQ(width.target_bits, 2.5);
  EXPECT_EQ(width.schedule, quant::TargetSchedule::kConstant);
  EXPECT_EQ(width.update, quant::GateUpdate::kAdam);
  EXPECT_EQ(width.gradient, quant::GateGradient::kFisher);
  EXPECT_EQ(width.freeze, quant::GateFreeze::kGate);
  EXPECT_EQ(width.alpha, 2);
  EXPECT_EQ(width.penalty, quant::GatePenalty::kDual);
  EXPECT_EQ(width.penalty_beta, 3);
  config.quant.gate.penalty = "mean";
  EXPECT_EQ(WidthConfigOf(config, 10).penalty, quant::GatePenalty::kMean);
}

TEST(SettingsTest, TheCutsOptionsAreTheConfigs) {
  config::ClientConfig config;
  config.split.client_blocks = 10;
  config.wire.dtype = "fp16";
  config.train.seed = 9;
  config.quant.range = "absmax";
  config.quant.sink_tokens = 0;
  config.quant.method = "aqsgd";
  config.quant.nested = true;
  config.quant.group_size = 96;
  config.quant.cache_bytes = 4096;
  config.quant.cache_dir = "/some/folder";
  config.quant.gradient.bits_offset = -1;
  config.quant.gradient.rounding = "nearest";

  const train::CutOptions cut = CutOptionsOf(config);

  EXPECT_EQ(cut.wire_dtype, DType::kF16);
  EXPECT_EQ(cut.range, quant::Range::kAbsMax);
  EXPECT_EQ(cut.sink_tokens, 0u);
  EXPECT_EQ(cut.method, quant::Method::kAqsgd);
  EXPECT_TRUE(cut.nested);
  EXPECT_EQ(cut.group_size, 96u);
  EXPECT_EQ(cut.cache_bytes, 4096u);
  EXPECT_EQ(cut.cache_dir, "/some/folder");
  EXPECT_FALSE(cut.gradient_bits.has_value());
  EXPECT_EQ(cut.gradient_bits_offset, -1);
  EXPECT_EQ(cut.gradient_rounding, quant::Rounding::kNearestEven);
  EXPECT_EQ(cut.seed, 9u);
  EXPECT_EQ(cut.cut, 10u);
  config.quant.gradient.bits = "6";
  EXPECT_EQ(CutOptionsOf(config).gradient_bits, 6u);
  EXPECT_FALSE(CutOptionsOf(config).gradient_is_own);
  config.quant.gradient.bits = "own";
  config.quant.range = "percentile";
  config.quant.range_percentile = 97;
  EXPECT_TRUE(CutOptionsOf(config).gradient_is_own);
  EXPECT_FALSE(CutOptionsOf(config).gradient_bits.has_value());
  EXPECT_EQ(CutOptionsOf(config).range, quant::Range::kPercentile);
  EXPECT_EQ(CutOptionsOf(config).range_percentile, 97);
  EXPECT_EQ(CutOptionsOf(config).positions, 0u);
  config.quant.axis = "token";
  config.data.max_length = 77;
  EXPECT_EQ(CutOptionsOf(config).positions, 77u);
  EXPECT_EQ(OpenRequestOf(config, "run", {"shape", 1, 2}, 640, 100).quant.axis, "token");
  EXPECT_EQ(OpenRequestOf(config, "run", {"shape", 1, 2}, 640, 100).quant.positions, 77u);
  config.quant.range = "delayed";
  config.quant.range_margin = 2;
  config.quant.range_max_clipped = 0.25;
  EXPECT_EQ(CutOptionsOf(config).range, quant::Range::kDelayed);
  EXPECT_EQ(CutOptionsOf(config).range_margin, 2);
  EXPECT_EQ(CutOptionsOf(config).range_max_clipped, 0.25);
}

TEST(SettingsTest, GradientsHaveARateWithTheirMethodRdAndOfAmaqRdThatOfTheActivations) {
  const auto gradient_of = [](const config::ClientConfig& config) {
    return OpenRequestOf(config, "run", {"shape", 1, 2}, 640, 100).quant;
  };
  config::ClientConfig config;
  config.quant.gradient.target_bits = 1.75;
  EXPECT_EQ(CutOptionsOf(config).gradient_rate, 0);
  config.quant.gradient.method = "rd";
  EXPECT_EQ(CutOptionsOf(config).gradient_rate, 1.75);
  EXPECT_EQ(gradient_of(config).gradient_method, "rd");
  EXPECT_EQ(gradient_of(config).gradient_target_bits, 1.75);
  config.quant.method = "amaq-rd";
  config.quant.target_bits = 1.25;
  EXPECT_EQ(CutOptionsOf(config).gradient_rate, 1.75);
  config.quant.gradient.method = "same";
  EXPECT_EQ(CutOptionsOf(config).gradient_rate, 1.25);
  EXPECT_EQ(gradient_of(config).gradient_method, "rd");
  EXPECT_EQ(gradient_of(config).gradient_target_bits, 1.25);
  config.quant.rd.dead_zone = 0.375;
  EXPECT_EQ(CutOptionsOf(config).rd_dead_zone, 0.375);
  EXPECT_TRUE(CutOptionsOf(config).rd_memory);
  EXPECT_TRUE(gradient_of(config).rd_memory);
  config.quant.rd.memory = false;
  EXPECT_FALSE(CutOptionsOf(config).rd_memory);
  EXPECT_FALSE(gradient_of(config).rd_memory);
}

TEST(SettingsTest, TheStagesOptionsAreTheConfigs) {
  config::ClientConfig config;
  config.lora.r = 5;
  config.lora.lora_alpha = 20;
  config.lora.lora_dropout = 0.25;
  config.lora.use_rslora = true;
  config.lora.target_modules = {"v_proj", "k_proj"};
  config.train.seed = 9;
  config.train.memory = "lean";
  config.model.dtype = "bf16";

  const models::StageOptions stage = StageOptionsOf(config);

  EXPECT_EQ(stage.lora.r, 5);
  EXPECT_EQ(stage.lora.alpha, 20);
  EXPECT_EQ(stage.lora.dropout, 0.25);
  EXPECT_TRUE(stage.lora.use_rslora);
  EXPECT_EQ(stage.lora.target_modules, (std::vector<std::string>{"k_proj", "v_proj"}));
  EXPECT_EQ(stage.lora.seed, 9u);
  EXPECT_EQ(stage.memory, models::MemoryPolicy::kLean);
  EXPECT_EQ(stage.compute_dtype, DType::kBF16);
}

TEST(SettingsTest, OpenSaysWhatTheServerMustDoAlike) {
  config::ClientConfig config;
  config.split.client_blocks = 10;
  config.lora.lora_dropout = 0.25;
  config.lora.target_modules = {"all-linear"};
  config.train.adam_beta1 = 0.8;
  config.train.adam_beta2 = 0.95;
  config.train.adam_epsilon = 1e-6;
  config.train.weight_decay = 0.1;
  config.train.in_flight = 3;
  config.train.seed = 9;
  config.train.memory = "lean";
  config.quant.gradient.bits = "4";
  config.quant.gradient.target_bits = 2.5;
  config.quant.schedule = "linear";
  config.quant.range_percentile = 98;
  config.quant.range_margin = 3;
  config.quant.range_max_clipped = 0.125;
  config.quant.method = "amaq-delta";
  config.quant.group_size = 96;
  config.quant.cache_bytes = 4096;
  config.wire.entropy = "on";
  config.wire.dtype = "fp16";
  config.model.dtype = "bf16";

  const transport::OpenRequest request = OpenRequestOf(config, "run", {"shape", 1, 2}, 640, 100);

  EXPECT_EQ(request.run_id, "run");
  EXPECT_EQ(request.model, (transport::ModelFingerprint{"shape", 1, 2}));
  EXPECT_EQ(request.client_blocks, 10u);
  EXPECT_EQ(request.compute_dtype, "bf16");
  EXPECT_EQ(request.quant.method, "amaq-delta");
  EXPECT_EQ(request.quant.group_size, 96u);
  EXPECT_EQ(request.quant.cache_bytes, 4096u);
  EXPECT_EQ(request.quant.entropy, "on");
  EXPECT_EQ(request.quant.wire_dtype, "fp16");
  EXPECT_EQ(request.quant.gradient_bits, "4");
  EXPECT_EQ(request.quant.gradient_target_bits, 2.5);
  EXPECT_EQ(request.quant.schedule, "linear");
  EXPECT_EQ(request.quant.adapt_steps, 15u);
  EXPECT_EQ(request.quant.range_percentile, 98);
  EXPECT_EQ(request.quant.range_margin, 3);
  EXPECT_EQ(request.quant.range_max_clipped, 0.125);
  EXPECT_EQ(request.quant.gradient_method, "same");
  EXPECT_EQ(request.lora.dropout, 0.25);
  EXPECT_EQ(request.lora.target_modules.size(), 7u);
  EXPECT_EQ(request.optimizer.beta1, 0.8);
  EXPECT_EQ(request.optimizer.beta2, 0.95);
  EXPECT_EQ(request.optimizer.eps, 1e-6);
  EXPECT_EQ(request.optimizer.weight_decay, 0.1);
  EXPECT_EQ(request.memory_policy, "lean");
  EXPECT_EQ(request.seed, 9u);
  EXPECT_EQ(request.max_tokens, 640u);
  EXPECT_EQ(request.in_flight, 3u);
}

TEST(SettingsTest, TheDatasOptionsAreTheConfigs) {
  config::ClientConfig config;
  config.data.prompt_template = "{q}";
  config.data.completion_template = "{a}";
  config.data.append_eos = false;
  config.data.max_length = 160;
  config.data.on_bad_line = "skip";

  const data::DatasetOptions options = DatasetOptionsOf(config, 240);

  EXPECT_EQ(options.prompt_template, "{q}");
  EXPECT_EQ(options.completion_template, "{a}");
  EXPECT_FALSE(options.append_eos);
  EXPECT_EQ(options.max_length, 160u);
  EXPECT_EQ(options.max_records, 240u);
  EXPECT_EQ(options.on_bad_line, data::OnBadLine::kSkip);
}

TEST(SettingsTest, ALinksQueuesHoldAWindowAndACommit) {
  config::ClientConfig config;

  EXPECT_EQ(QueueMessages(config), 16u);
  config.train.in_flight = 64;
  EXPECT_EQ(QueueMessages(config), 66u);
}

}  // namespace
}  // namespace amaq::client
