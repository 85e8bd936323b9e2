#ifndef AMAQ_CLIENT_RESULTS_H_
#define AMAQ_CLIENT_RESULTS_H_

// What a run leaves behind, in the shape that users of Hugging Face's Trainer know: the adapter
// folder, all_results.json, trainer_state.json, trainer_log.jsonl, the effective config, the gates.
// Each file is replaced atomically. Lane-bound. Source: docs/formats/output.md.

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "client/step_driver.h"
#include "core/section.h"
#include "lora/peft_adapter.h"
#include "transport/link.h"

namespace amaq::client {

struct StepLog {
  uint64_t step = 0;  // steps done
  double epoch = 0;
  double loss = 0;
  double grad_norm = 0;
  double learning_rate = 0;
  double seconds = 0;  // since the first step
  quant::WidthReport widths;
  double target_bits = 0;
  double gradient_bits = 0;  // mean width of the gradient
  quant::ClipCounts clips;   // no values: nothing was coded within ranges chosen beforehand
};

// Totals of a run; the figures of all_results.json are derived from them.
struct RunTotals {
  uint64_t steps = 0;
  double epochs = 0;
  double loss_sum = 0;
  uint64_t supervised_tokens = 0;
  uint64_t rows = 0;     // N of all trained micro-batches
  int64_t channels = 0;  // H
  double seconds = 0;    // from the first step to the last COMMITTED
  uint64_t skipped_steps = 0;
  quant::ClipCounts clips;
  quant::WidthReport widths_final;  // of the last step
  std::optional<EvalResult> eval_before, eval_after;
  transport::LinkTraffic traffic;
};

// name -> value; see docs/formats/output.md for each.
std::map<std::string, double> AllResults(const RunTotals& totals);

class ResultWriter {
 public:
  // Errors: kAlreadyExists when `dir` holds files and overwrite is false. Nothing is created yet.
  ResultWriter(std::string dir, bool overwrite);

  // Creates the folder, removes what an earlier run left in it (checkpoints stay) and writes the
  // effective config.
  void Begin(const std::string& effective_config_yaml);
  void LogStep(const StepLog& log, uint64_t max_steps);
  // The adapter folder: into `dir`, or into checkpoint-<step> within it. Returns the path.
  std::string SaveAdapter(const lora::PeftConfig& config, ByteSpan safetensors,
                          std::optional<uint64_t> checkpoint_step);
  void Finish(const RunTotals& totals, uint64_t max_steps,
              const std::map<std::string, std::vector<float>>& gates);

  const std::string& dir() const { return dir_; }

 private:
  void Write(const std::string& name, const std::string& text) const;

  const std::string dir_;
  std::string log_lines_;
  std::vector<StepLog> history_;
};

}  // namespace amaq::client

#endif  // AMAQ_CLIENT_RESULTS_H_
