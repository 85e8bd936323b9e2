#include "client/client.h"

#include <algorithm>
#include <chrono>
#include <random>

#include "client/progress.h"
#include "client/results.h"
#include "client/settings.h"
#include "client/step_driver.h"
#include "config/load.h"
#include "core/digest.h"
#include "core/error.h"
#include "core/log.h"
#include "data/dataset.h"
#include "data/sampler.h"
#include "data/tokenizer.h"
#include "io/file.h"
#include "models/loader.h"
#include "models/weight_names.h"

namespace amaq::client {
namespace {

double Seconds(std::chrono::steady_clock::time_point since) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - since).count();
}

std::string RunId() {
  std::random_device device;
  return StrCat("run-", Hex((uint64_t{device()} << 32) | device()));
}

data::Batch Gather(const data::Dataset& dataset, const std::vector<uint32_t>& records) {
  std::vector<const data::Example*> examples;
  for (const uint32_t record : records) examples.push_back(&dataset.examples[record]);
  return data::Collate(examples);
}

std::vector<data::Batch> InFileOrder(const data::Dataset& dataset, uint32_t batch_size) {
  std::vector<data::Batch> batches;
  data::Sampler sampler({static_cast<uint32_t>(dataset.examples.size()), batch_size, false, 0});
  for (uint64_t i = 0; i < sampler.batches_per_epoch(); ++i) {
    batches.push_back(Gather(dataset, sampler.Next()));
  }
  return batches;
}

// Most tokens that any micro-batch may have: the batch_size longest records.
uint64_t LargestBatch(const data::Dataset& dataset, uint32_t batch_size) {
  std::vector<uint64_t> lengths;
  for (const data::Example& example : dataset.examples) lengths.push_back(example.tokens.size());
  std::sort(lengths.rbegin(), lengths.rend());
  uint64_t total = 0;
  for (size_t i = 0; i < std::min<size_t>(batch_size, lengths.size()); ++i) total += lengths[i];
  return total;
}

// Global names of the trained tensors of [first, end), sorted.
std::vector<std::string> TensorNames(int64_t first, int64_t end,
                                     const std::vector<std::string>& targets) {
  std::vector<std::string> names;
  for (int64_t block = first; block < end; ++block) {
    for (const std::string& target : targets) {
      const std::string module = models::ModuleName(block, target);
      names.insert(names.end(), {module + ".lora_A.weight", module + ".lora_B.weight"});
    }
  }
  std::sort(names.begin(), names.end());
  return names;
}

// What a run has loaded before it talks to a server.
struct Inputs {
  std::unique_ptr<const data::Tokenizer> tokenizer;
  data::Dataset train;
  std::vector<data::Batch> eval;
  std::vector<int32_t> sample_prompt;
  uint64_t max_tokens = 0;
};

void DescribeData(const char* what, const std::string& path, const data::Dataset& dataset) {
  std::string extra;
  if (dataset.num_truncated > 0) extra += StrCat(", ", dataset.num_truncated, " truncated");
  if (dataset.num_without_answer > 0) {
    extra +=
        StrCat(", ", dataset.num_without_answer, " left out (nothing to learn within max_length)");
  }
  if (dataset.num_skipped > 0) {
    extra += StrCat(", ", dataset.num_skipped, " bad lines skipped (", dataset.first_bad_line, ")");
  }
  AMAQ_LOG(kInfo, what, ": ", dataset.examples.size(), " records, ", dataset.num_tokens,
           " tokens (", dataset.num_supervised, " to learn)", extra, " from ", path);
}

// Every record must be one that the model can run: known before anything is sent.
void CheckFits(const char* what, const data::Dataset& dataset, const data::Tokenizer& tokenizer,
               const models::ModelSpec& spec) {
  for (const data::Example& example : dataset.examples) {
    if (example.tokens.size() > static_cast<uint64_t>(spec.max_positions)) {
      Throw(Code::kInvalidArgument, "a record of the ", what, " has ", example.tokens.size(),
            " tokens, the model a context of ", spec.max_positions,
            ": set data.max_length to that or less");
    }
    const int32_t highest = std::ranges::max(example.tokens);
    if (highest >= spec.vocab) {
      Throw(Code::kInvalidArgument, "token ", highest, " ('", tokenizer.TokenOf(highest),
            "') of the ", what, " is outside the model's vocabulary of ", spec.vocab,
            ": the tokenizer (data.tokenizer) is another model's");
    }
  }
}

void CheckPromptFits(const Inputs& inputs, const config::TrainConfig& train,
                     const models::ModelSpec& spec) {
  const uint64_t length = inputs.sample_prompt.size() + train.sample_max_new_tokens;
  if (length <= static_cast<uint64_t>(spec.max_positions)) return;
  Throw(Code::kInvalidArgument, "train.sample_prompt has ", inputs.sample_prompt.size(),
        " tokens and train.sample_max_new_tokens is ", train.sample_max_new_tokens,
        ": more than the model's context of ", spec.max_positions);
}

Inputs LoadInputs(const config::ClientConfig& config, const models::ModelSpec& spec,
                  Progress* progress) {
  Inputs inputs;
  const std::string& own = config.data.tokenizer;
  inputs.tokenizer = data::Tokenizer::Load(own.empty() ? config.model.model_name_or_path : own);
  if (config.data.train_file.empty()) {
    Throw(Code::kInvalidArgument, "data.train_file is not set: give a JSONL file of records");
  }
  inputs.train =
      data::LoadDataset(config.data.train_file,
                        DatasetOptionsOf(config, config.data.max_train_records), *inputs.tokenizer);
  DescribeData("training data", config.data.train_file, inputs.train);
  CheckFits("training data", inputs.train, *inputs.tokenizer, spec);
  inputs.max_tokens = LargestBatch(inputs.train, config.train.per_device_train_batch_size);
  if (!config.data.eval_file.empty()) {
    const data::Dataset eval = data::LoadDataset(
        config.data.eval_file, DatasetOptionsOf(config, config.data.max_eval_records),
        *inputs.tokenizer);
    DescribeData("held-out data", config.data.eval_file, eval);
    CheckFits("held-out data", eval, *inputs.tokenizer, spec);
    inputs.eval = InFileOrder(eval, config.train.per_device_eval_batch_size);
    inputs.max_tokens =
        std::max(inputs.max_tokens, LargestBatch(eval, config.train.per_device_eval_batch_size));
  }
  if (!config.train.sample_prompt.empty()) {
    inputs.sample_prompt =
        inputs.tokenizer->Encode(config.train.sample_prompt, data::SpecialTokens::kParse);
    CheckPromptFits(inputs, config.train, spec);
    inputs.max_tokens = std::max<uint64_t>(
        inputs.max_tokens, inputs.sample_prompt.size() + config.train.sample_max_new_tokens);
  }
  progress->Say("first record, as the model sees it:\n" + inputs.train.first_rendered);
  return inputs;
}

class Run {
 public:
  Run(const config::ClientConfig& config, transport::Link& link,
      const std::atomic<bool>& interrupted)
      : config_(config),
        link_(link),
        interrupted_(interrupted),
        progress_(ParseProgressStyle(config.output.progress), config.train.logging_steps),
        writer_(config.output.dir, config.output.overwrite) {}

  RunOutcome Execute() {
    const models::BaseModel model = models::OpenModel(config_.model.model_name_or_path);
    inputs_ = LoadInputs(config_, model.spec, &progress_);
    const models::StageRange range = models::ClientRange(model.spec, config_.split.client_blocks);
    data::Sampler sampler({static_cast<uint32_t>(inputs_.train.examples.size()),
                           config_.train.per_device_train_batch_size, config_.data.shuffle,
                           config_.train.seed});
    max_steps_ = MaxSteps(config_.train, sampler.batches_per_epoch());
    const uint64_t units = train::NumUnits(CutOptionsOf(config_), model.spec.hidden);
    const auto widths =
        quant::MakeWidthPolicy(WidthConfigOf(config_, max_steps_), static_cast<int64_t>(units));
    last_phase_ = widths->phase();
    reply_ = link_.Open(OpenRequestOf(config_, RunId(),
                                      models::FingerprintOf(model, config_.split.client_blocks),
                                      inputs_.max_tokens, max_steps_));
    const auto stage = models::LoadStage(model, range, StageOptionsOf(config_));
    InitAdapter(*stage, model.spec);
    StepDriver driver(*stage, *widths, link_, DriverOptions(model.spec));
    totals_.channels = model.spec.hidden;
    progress_.Say(StrCat("client: embedding and blocks 0 to ", range.end_block - 1,
                         "; server: blocks ", range.end_block, " to ", model.spec.num_blocks - 1,
                         ", head and loss; ", max_steps_, " steps"));
    FitTransform(driver, sampler, model.spec.hidden);
    Measure(driver, "before training", &totals_.eval_before);
    Calibrate(driver, *widths, sampler);
    const RunOutcome outcome = Train(driver, *stage, *widths, &sampler);
    if (outcome == RunOutcome::kDone) {
      Measure(driver, "after training", &totals_.eval_after);
      Save(*stage, std::nullopt);
      totals_.traffic = link_.traffic();
      std::map<std::string, std::vector<float>> state = widths->State();
      state.merge(driver.TransformState());
      writer_.Finish(totals_, max_steps_, state);
      PrintSummary();
    }
    link_.Close();
    return outcome;
  }

 private:
  StepDriver::Options DriverOptions(const models::ModelSpec& spec) const {
    StepDriver::Options options;
    options.cut = CutOptionsOf(config_);
    options.cut.rd_rate = WidthConfigOf(config_, max_steps_);
    options.optimizer = OptimizerOf(config_);
    options.lora = StageOptionsOf(config_).lora;
    options.in_flight = config_.train.in_flight;
    options.max_grad_norm = config_.train.max_grad_norm;
    options.epoch = reply_.epoch;
    options.entropy = quant::ParseEntropyMode(config_.wire.entropy).value();
    options.server_tensors =
        TensorNames(config_.split.client_blocks, spec.num_blocks, options.lora.target_modules);
    return options;
  }

  void InitAdapter(models::Stage& stage, const models::ModelSpec& spec) {
    const std::string& folder = config_.lora.init_from;
    if (folder.empty()) return;
    const std::string config_path = folder + "/adapter_config.json";
    const lora::PeftConfig stored =
        lora::ParsePeftConfig(io::ReadTextFile(config_path, 1 << 20), config_path);
    const lora::LoraOptions wanted = StageOptionsOf(config_).lora;
    if (stored.lora.r != wanted.r || stored.lora.Scale() != wanted.Scale() ||
        stored.lora.target_modules != wanted.target_modules) {
      Throw(Code::kInvalidArgument, "the adapter of lora.init_from (", folder, ") has r ",
            stored.lora.r, ", scale ", stored.lora.Scale(), " and ",
            stored.lora.target_modules.size(), " target modules; lora.r ", wanted.r, ", scale ",
            wanted.Scale(), " and ", wanted.target_modules.size(), " are configured");
    }
    const auto file = io::MappedFile::Open(folder + "/adapter_model.safetensors");
    const int64_t cut = config_.split.client_blocks;
    const lora::AdapterHalves halves =
        lora::SplitAdapter(file->bytes(), cut, spec.num_blocks, file->path());
    lora::LoadAdapter(halves.client, stage.adapters(), file->path());
    link_.PutAdapter(halves.server);
  }

  void Measure(StepDriver& driver, const char* when, std::optional<EvalResult>* result) {
    if (!inputs_.eval.empty()) {
      *result = driver.Evaluate(inputs_.eval);
      progress_.Say(StrCat("held-out loss ", when, ": ", Fixed((*result)->MeanLoss(), 4)));
    }
    if (inputs_.sample_prompt.empty()) return;
    const std::vector<int32_t> made =
        driver.Generate(inputs_.sample_prompt, config_.train.sample_max_new_tokens,
                        inputs_.tokenizer->eos_id().value_or(-1));
    progress_.Say(StrCat("answer ", when, ": ", config_.train.sample_prompt,
                         inputs_.tokenizer->Decode(made)));
  }

  void Calibrate(StepDriver& driver, const quant::WidthPolicy& widths, data::Sampler sampler) {
    std::vector<data::Batch> batches;
    for (uint32_t i = 0; i < widths.calibration_micro_batches(); ++i) {
      batches.push_back(Gather(inputs_.train, sampler.Next()));
    }
    if (!batches.empty()) driver.Calibrate(batches);
  }

  // Method amaq-rd: training records in the order of the run, once at most.
  void FitTransform(StepDriver& driver, data::Sampler sampler, int64_t channels) {
    if (config_.quant.method != "amaq-rd") return;
    const auto transform = quant::ParseTransform(config_.quant.rd.transform);
    uint64_t wanted = config_.quant.rd.fit_tokens;
    if (wanted == 0) wanted = 60 * static_cast<uint64_t>(channels);
    std::vector<data::Batch> batches;
    uint64_t rows = 0;
    for (uint64_t i = 0; i < sampler.batches_per_epoch() && rows < wanted; ++i) {
      batches.push_back(Gather(inputs_.train, sampler.Next()));
      rows += batches.back().num_tokens();
    }
    const uint64_t micro_batches = max_steps_ * config_.train.gradient_accumulation_steps;
    driver.FitTransform(batches, transform.value_or(quant::Transform::kNone),
                        rows * micro_batches / batches.size());
    progress_.Say(StrCat("transform fitted to ", rows, " tokens, ",
                         Fixed(static_cast<double>(link_.traffic().forward_bytes) / 1e3, 1),
                         " kB sent"));
  }

  RunOutcome Train(StepDriver& driver, models::Stage& stage, const quant::WidthPolicy& widths,
                   data::Sampler* sampler) {
    const train::LrSchedule schedule = ScheduleOf(config_, max_steps_);
    const auto begin = std::chrono::steady_clock::now();
    uint64_t skipped_in_a_row = 0;
    uint64_t micro_batches = 0;
    while (totals_.steps < max_steps_) {
      std::vector<data::Batch> batches;
      for (uint32_t i = 0; i < config_.train.gradient_accumulation_steps; ++i) {
        batches.push_back(Gather(inputs_.train, sampler->Next()));
      }
      micro_batches += batches.size();
      StepLog log;
      log.learning_rate = train::LearningRate(schedule, driver.step());
      const StepResult step = driver.RunStep(batches, log.learning_rate);
      if (++totals_.steps == max_steps_) driver.Drain();
      totals_.epochs =
          static_cast<double>(micro_batches) / static_cast<double>(sampler->batches_per_epoch());
      totals_.seconds = Seconds(begin);
      skipped_in_a_row = step.skipped ? skipped_in_a_row + 1 : 0;
      if (skipped_in_a_row > config_.train.max_nonfinite_steps) {
        Throw(Code::kInternal, step.skip_reason,
              "; the step was not applied (train.max_nonfinite_steps is ",
              config_.train.max_nonfinite_steps, ")");
      }
      // Not before: a run that fails in its first step leaves nothing behind.
      if (totals_.steps == 1) writer_.Begin(config::DumpYaml(config_));
      Account(step, widths, &log);
      MaybeSaveAndEvaluate(driver, stage);
      if (interrupted_ && totals_.steps < max_steps_) return Interrupt(driver, stage);
    }
    return RunOutcome::kDone;
  }

  void Account(const StepResult& step, const quant::WidthPolicy& widths, StepLog* log) {
    if (step.skipped) {
      ++totals_.skipped_steps;
      progress_.Say("step skipped: " + step.skip_reason);
    } else {
      totals_.loss_sum += step.loss_sum;
      totals_.supervised_tokens += step.tokens;
    }
    totals_.rows += step.rows;
    log->step = totals_.steps;
    log->epoch = totals_.epochs;
    log->loss = step.tokens > 0 ? step.loss_sum / static_cast<double>(step.tokens) : 0;
    log->grad_norm = step.grad_norm;
    log->seconds = totals_.seconds;
    log->widths = widths.Report();
    log->target_bits = widths.target_bits();
    if (widths.widths().empty()) {  // raw
      log->widths.mean_bits = 8.0 * static_cast<double>(SizeOf(CutOptionsOf(config_).wire_dtype));
    }
    if (config_.quant.method == "amaq-rd") {
      log->widths.mean_bits = step.activation_bits;
      log->target_bits = step.activation_target;
    }
    log->gradient_bits = step.gradient_bits;
    log->clips = step.clips;
    totals_.clips.values += step.clips.values;
    totals_.clips.clipped += step.clips.clipped;
    totals_.widths_final = log->widths;
    SayFreeze(widths.phase(), log->widths);
    if (log->step % config_.train.logging_steps == 0 || log->step == max_steps_) {
      writer_.LogStep(*log, max_steps_);
    }
    const transport::LinkTraffic traffic = link_.traffic();
    progress_.Show({totals_.steps, max_steps_, log->loss,
                    static_cast<double>(totals_.rows) / std::max(1e-9, totals_.seconds),
                    log->widths.mean_bits, traffic.train_bytes_up, traffic.train_bytes_down,
                    totals_.seconds});
  }

  // Once, when a gate that learned stops learning.
  void SayFreeze(quant::PolicyPhase phase, const quant::WidthReport& report) {
    const bool was_adapting = last_phase_ == quant::PolicyPhase::kAdapting;
    last_phase_ = phase;
    if (!was_adapting || phase != quant::PolicyPhase::kFrozen) return;
    std::string histogram;
    for (size_t bits = 0; bits < report.histogram.size(); ++bits) {
      if (report.histogram[bits] == 0) continue;
      histogram += StrCat(histogram.empty() ? "" : ", ", report.histogram[bits], " at ", bits);
    }
    progress_.Say(StrCat("widths frozen after step ", totals_.steps, ": mean ",
                         Fixed(report.mean_bits, 3), " bits, spread ",
                         Fixed(report.widths_spread, 3), ", correlation with the optimum ",
                         Fixed(report.widths_correlation, 3), "; ",
                         config_.quant.axis == "token" ? "positions: " : "channels: ", histogram));
  }

  void MaybeSaveAndEvaluate(StepDriver& driver, models::Stage& stage) {
    const bool is_last = totals_.steps == max_steps_;
    const uint64_t eval_steps = config_.train.eval_steps;
    if (!is_last && eval_steps > 0 && totals_.steps % eval_steps == 0 && !inputs_.eval.empty()) {
      progress_.Say(StrCat("held-out loss at step ", totals_.steps, ": ",
                           Fixed(driver.Evaluate(inputs_.eval).MeanLoss(), 4)));
    }
    const uint64_t save_steps = config_.output.save_steps;
    if (!is_last && save_steps > 0 && totals_.steps % save_steps == 0) {
      driver.Drain();
      progress_.Say("saved " + Save(stage, totals_.steps));
    }
  }

  RunOutcome Interrupt(StepDriver& driver, models::Stage& stage) {
    driver.Drain();
    const std::string folder = Save(stage, totals_.steps);
    progress_.Say(StrCat("interrupted after step ", totals_.steps,
                         "; the adapter as it is now lies in ", folder));
    return RunOutcome::kInterrupted;
  }

  std::string Save(models::Stage& stage, std::optional<uint64_t> checkpoint_step) {
    lora::PeftConfig config;
    config.lora = StageOptionsOf(config_).lora;
    config.base_model_name_or_path =
        config_.model.hub_name.empty() ? config_.model.model_name_or_path : config_.model.hub_name;
    Bytes adapter = lora::SerializeAdapter(stage.adapters());
    if (reply_.fetch_adapter_allowed) {
      adapter = lora::JoinAdapters(adapter, link_.FetchAdapter());
    } else {
      config.layers_to_transform.emplace();
      for (int64_t block = 0; block < stage.range().end_block; ++block) {
        config.layers_to_transform->push_back(block);
      }
    }
    return writer_.SaveAdapter(config, adapter, checkpoint_step);
  }

  void PrintSummary() {
    const std::map<std::string, double> results = AllResults(totals_);
    const auto megabytes = [](double bytes) { return Fixed(bytes / 1e6, 2) + " MB"; };
    const double bf16 =
        4 * static_cast<double>(totals_.rows) * static_cast<double>(totals_.channels);
    std::string table = "\n";
    if (totals_.eval_before && totals_.eval_after) {
      table += StrCat("  held-out loss   ", Fixed(totals_.eval_before->MeanLoss(), 4), " before, ",
                      Fixed(totals_.eval_after->MeanLoss(), 4), " after\n");
    }
    if (const auto clipped = results.find("clipped_share"); clipped != results.end()) {
      table += StrCat("  clipped         ", Fixed(100 * clipped->second, 4),
                      " % of the activations' values (quant.range: delayed)\n");
    }
    table += StrCat(
        "  traffic         ", megabytes(results.at("wire_bytes_up")), " up, ",
        megabytes(results.at("wire_bytes_down")), " down; bf16 would be ", megabytes(bf16), "\n",
        "  bits a value    ", Fixed(results.at("effective_bits_forward"), 2), " forward, ",
        Fixed(results.at("effective_bits_backward"), 2),
        " backward, all counted: ", Fixed(100 * results.at("traffic_ratio_vs_bf16"), 1),
        " % of bf16\n", "  speed           ", Fixed(results.at("tokens_per_second"), 0),
        " tokens/s, ", Clock(totals_.seconds), " for ", totals_.steps, " steps\n",
        "  adapter         ", writer_.dir(),
        reply_.fetch_adapter_allowed ? "" : " (the client's half: the server keeps its own)");
    progress_.Say(table);
  }

  const config::ClientConfig& config_;
  transport::Link& link_;
  const std::atomic<bool>& interrupted_;
  Progress progress_;
  ResultWriter writer_;
  Inputs inputs_;
  transport::OpenReply reply_;
  RunTotals totals_;
  uint64_t max_steps_ = 0;
  quant::PolicyPhase last_phase_ = quant::PolicyPhase::kRaw;
};

}  // namespace

RunOutcome RunClient(const config::ClientConfig& config, transport::Link& link,
                     const std::atomic<bool>& interrupted) {
  return Run(config, link, interrupted).Execute();
}

}  // namespace amaq::client
