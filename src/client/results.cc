#include "client/results.h"

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "client/progress.h"
#include "core/error.h"
#include "io/file.h"
#include "io/safetensors.h"

namespace amaq::client {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

double Ratio(double part, double whole) { return whole > 0 ? part / whole : 0; }

void MakeFolder(const std::string& path) {
  std::error_code failure;
  fs::create_directories(path, failure);
  if (failure) Throw(Code::kPermissionDenied, "cannot create ", path, ": ", failure.message());
}

double ClippedShare(const quant::ClipCounts& clips) {
  return Ratio(static_cast<double>(clips.clipped), static_cast<double>(clips.values));
}

json HistoryEntry(const StepLog& log) {
  json entry = {{"step", log.step},
                {"epoch", log.epoch},
                {"loss", log.loss},
                {"grad_norm", log.grad_norm},
                {"learning_rate", log.learning_rate},
                {"bits_mean_forward", log.widths.mean_bits},
                {"bits_spread_forward", log.widths.spread_bits},
                {"bits_correlation", log.widths.correlation},
                {"bits_widths_spread", log.widths.widths_spread},
                {"bits_widths_correlation", log.widths.widths_correlation},
                {"bits_mean_backward", log.gradient_bits},
                {"bits_target", log.target_bits},
                {"bits_histogram", log.widths.histogram}};
  if (log.clips.values > 0) entry["clipped_share"] = ClippedShare(log.clips);
  return entry;
}

}  // namespace

std::map<std::string, double> AllResults(const RunTotals& totals) {
  const auto elements = static_cast<double>(totals.rows) * static_cast<double>(totals.channels);
  const auto up = static_cast<double>(totals.traffic.train_bytes_up);
  const auto down = static_cast<double>(totals.traffic.train_bytes_down);
  std::map<std::string, double> results = {
      {"train_loss", Ratio(totals.loss_sum, static_cast<double>(totals.supervised_tokens))},
      {"train_steps", static_cast<double>(totals.steps)},
      {"train_tokens", static_cast<double>(totals.rows)},
      {"train_supervised_tokens", static_cast<double>(totals.supervised_tokens)},
      {"train_runtime", totals.seconds},
      {"tokens_per_second", Ratio(static_cast<double>(totals.rows), totals.seconds)},
      {"epoch", totals.epochs},
      {"skipped_steps", static_cast<double>(totals.skipped_steps)},
      {"wire_bytes_up", up},
      {"wire_bytes_down", down},
      {"wire_bytes_total", static_cast<double>(totals.traffic.total_bytes)},
      {"effective_bits_forward",
       Ratio(8 * static_cast<double>(totals.traffic.forward_bytes), elements)},
      {"effective_bits_backward",
       Ratio(8 * static_cast<double>(totals.traffic.backward_bytes), elements)},
      {"mean_bits_forward_final", totals.widths_final.mean_bits},
      {"traffic_ratio_vs_bf16", Ratio(up + down, 4 * elements)}};
  const quant::WidthReport& widths = totals.widths_final;
  for (size_t bits = 0; bits < widths.histogram.size(); ++bits) {
    if (widths.histogram[bits] == 0) continue;
    results[StrCat("channels_at_", bits, "_bits")] = static_cast<double>(widths.histogram[bits]);
  }
  results["bits_spread_final"] = widths.widths_spread;
  results["bits_correlation_final"] = widths.widths_correlation;
  if (totals.clips.values > 0) results["clipped_share"] = ClippedShare(totals.clips);
  if (totals.eval_before) results["eval_loss_before"] = totals.eval_before->MeanLoss();
  if (totals.eval_after) {
    results["eval_loss"] = totals.eval_after->MeanLoss();
    results["eval_tokens"] = static_cast<double>(totals.eval_after->tokens);
    results["eval_accuracy"] = Ratio(static_cast<double>(totals.eval_after->correct),
                                     static_cast<double>(totals.eval_after->tokens));
  }
  return results;
}

ResultWriter::ResultWriter(std::string dir, bool overwrite) : dir_(std::move(dir)) {
  std::error_code failure;
  if (!overwrite && fs::exists(dir_, failure) && !fs::is_empty(dir_, failure)) {
    Throw(Code::kAlreadyExists, "output.dir ", dir_,
          " holds files already; set output.overwrite: true or name another folder");
  }
}

void ResultWriter::Write(const std::string& name, const std::string& text) const {
  io::WriteFileAtomically(dir_ + "/" + name, std::string_view(text));
}

void ResultWriter::Begin(const std::string& effective_config_yaml) {
  MakeFolder(dir_);
  // With output.overwrite: nothing of an earlier run may pass for this one's.
  for (const char* name : {"adapter_model.safetensors", "adapter_config.json", "all_results.json",
                           "trainer_state.json", "trainer_log.jsonl", "amaq_gate.safetensors"}) {
    std::error_code failure;
    fs::remove(dir_ + "/" + name, failure);
    if (failure) {
      Throw(Code::kPermissionDenied, "cannot remove ", name, " of an earlier run from ", dir_, ": ",
            failure.message());
    }
  }
  Write("amaq_config.yaml", effective_config_yaml);
}

void ResultWriter::LogStep(const StepLog& log, uint64_t max_steps) {
  history_.push_back(log);
  const double left =
      log.seconds / static_cast<double>(log.step) * static_cast<double>(max_steps - log.step);
  json line = {
      {"current_steps", log.step},
      {"total_steps", max_steps},
      {"loss", log.loss},
      {"lr", log.learning_rate},
      {"epoch", log.epoch},
      {"bits_mean", log.widths.mean_bits},
      {"bits_spread", log.widths.spread_bits},
      {"bits_correlation", log.widths.correlation},
      {"percentage", 100 * Ratio(static_cast<double>(log.step), static_cast<double>(max_steps))},
      {"elapsed_time", Clock(log.seconds)},
      {"remaining_time", Clock(left)}};
  if (log.clips.values > 0) line["clipped_share"] = ClippedShare(log.clips);
  const std::string path = dir_ + "/trainer_log.jsonl";
  std::ofstream out(path, std::ios::app);
  out << line.dump() << "\n";
  if (!out.flush()) Throw(Code::kResourceExhausted, "cannot write ", path);
}

std::string ResultWriter::SaveAdapter(const lora::PeftConfig& config, ByteSpan safetensors,
                                      std::optional<uint64_t> checkpoint_step) {
  const std::string folder =
      checkpoint_step ? StrCat(dir_, "/checkpoint-", *checkpoint_step) : dir_;
  MakeFolder(folder);
  io::WriteFileAtomically(folder + "/adapter_model.safetensors", safetensors);
  io::WriteFileAtomically(folder + "/adapter_config.json",
                          std::string_view(lora::PeftConfigJson(config)));
  return folder;
}

void ResultWriter::Finish(const RunTotals& totals, uint64_t max_steps,
                          const std::map<std::string, std::vector<float>>& gates) {
  json results = json::object();
  for (const auto& [name, value] : AllResults(totals)) {
    const bool is_count = value == static_cast<double>(static_cast<int64_t>(value));
    results[name] = is_count ? json(static_cast<int64_t>(value)) : json(value);
  }
  Write("all_results.json", results.dump(4) + "\n");
  json history = json::array();
  for (const StepLog& log : history_) history.push_back(HistoryEntry(log));
  const json state = {{"epoch", totals.epochs},
                      {"global_step", totals.steps},
                      {"max_steps", max_steps},
                      {"num_train_epochs", totals.epochs},
                      {"total_flos", 0},
                      {"log_history", history},
                      {"best_metric", nullptr},
                      {"best_model_checkpoint", nullptr},
                      {"is_local_process_zero", true},
                      {"is_world_process_zero", true},
                      {"is_hyper_param_search", false},
                      {"trial_name", nullptr},
                      {"trial_params", nullptr}};
  Write("trainer_state.json", state.dump(2) + "\n");
  if (gates.empty()) return;
  std::vector<io::F32Tensor> tensors;
  for (const auto& [name, values] : gates) {
    tensors.push_back({name, {static_cast<int64_t>(values.size())}, values});
  }
  io::WriteFileAtomically(dir_ + "/amaq_gate.safetensors",
                          io::SerializeSafetensors(std::move(tensors), {{"format", "pt"}}));
}

}  // namespace amaq::client
