#ifndef AMAQ_CLIENT_STEP_DRIVER_H_
#define AMAQ_CLIENT_STEP_DRIVER_H_

// The client's half of each step, over any Link: forward, send, receive, backward in 1F1B order
// with a window of micro-batches; global clipping; commit; and evaluation, generation and
// calibration over the same cut. Owns the gate (the sender of a tensor owns its widths).
// Lane-bound. Source: design "The wire", section 4 (our choice).

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "data/batch.h"
#include "models/stage.h"
#include "quant/entropy_stage.h"
#include "quant/width_policy.h"
#include "train/cut.h"
#include "train/optimizer.h"
#include "train/versioned_widths.h"
#include "transport/link.h"

namespace amaq::client {

struct StepResult {
  double loss_sum = 0;           // nats over the supervised tokens of the step
  uint64_t tokens = 0;           // supervised
  uint64_t rows = 0;             // N of all micro-batches
  double activation_bits = 0;    // amaq-rd: sections of FORWARD messages of the last step kept
  double activation_target = 0;  // what it was to be
  quant::ClipCounts clips;       // range delayed: of the step's activations
  double gradient_bits = 0;      // of a value of the last coded gradient; 0: none was coded
  double grad_norm = 0;          // global, before clipping
  bool skipped = false;          // something was not finite
  std::string skip_reason;       // names step, micro-batch, token and channel
};

struct EvalResult {
  double loss_sum = 0;
  uint64_t tokens = 0;
  uint64_t correct = 0;
  double MeanLoss() const { return tokens > 0 ? loss_sum / static_cast<double>(tokens) : 0; }
};

class StepDriver {
 public:
  struct Options {
    train::CutOptions cut;
    train::AdamWOptions optimizer;
    lora::LoraOptions lora;
    uint32_t in_flight = 2;
    double max_grad_norm = 0;  // 0: no clipping
    uint32_t epoch = 1;        // of the session
    quant::EntropyMode entropy = quant::EntropyMode::kOff;
    std::vector<std::string>
        server_tensors;  // global names of the server's trained tensors, sorted
  };

  // All references outlive the driver.
  StepDriver(models::Stage& stage, quant::WidthPolicy& widths, transport::Link& link,
             const Options& options);

  // One optimizer step over the micro-batches. On return the client's half is updated and the
  // COMMIT is on its way; its acknowledgement is awaited before anything else is received.
  StepResult RunStep(const std::vector<data::Batch>& micro_batches, double learning_rate);

  // Micro-batches for a policy that measures before step 0 (waterfill); nothing is trained.
  void Calibrate(const std::vector<data::Batch>& micro_batches);

  // Method amaq-rd, before anything else: fits the transform to the activations of the batches
  // (forward only) and sends it. expected_rows: of the whole run.
  void FitTransform(const std::vector<data::Batch>& batches, quant::Transform transform,
                    uint64_t expected_rows);
  // For amaq_gate.safetensors, of method amaq-rd.
  std::map<std::string, std::vector<float>> TransformState();

  EvalResult Evaluate(const std::vector<data::Batch>& batches);

  // Greedy continuation, at most max_new_tokens, ending before `end_token`. The whole prefix is run
  // again for each token.
  std::vector<int32_t> Generate(std::vector<int32_t> tokens, uint32_t max_new_tokens,
                                int32_t end_token);

  // Waits for the last COMMITTED: afterwards adapter calls are in order.
  void Drain();

  uint64_t step() const { return step_; }

 private:
  struct InFlight {
    models::BatchContext context;
    std::vector<models::BlockSaved> saved;
    at::Tensor activation;
    train::CodedTensor coded;
    std::vector<uint8_t> widths;  // that it was coded with; empty: raw
    uint64_t version = 0;         // of those widths; 0: raw
    train::GradientRows plan;
    bool is_broken = false;  // not finite: nothing to go back through
  };
  // A run over several micro-batches of one attempt: what comes back, in order.
  struct Pass {
    StepResult result;
    bool is_observed = false;  // did any micro-batch tell the gate something?
    uint32_t sent = 0;
    uint32_t received = 0;
    std::deque<InFlight> in_flight;
  };

  void RunMicroBatches(const std::vector<data::Batch>& micro_batches, Pass* pass);
  void SendForward(const data::Batch& batch, uint32_t index, uint32_t count, uint64_t loss_tokens,
                   Pass* pass);
  void ReceiveBackward(uint64_t loss_tokens, Pass* pass);
  // Widths of the gradient that answers `work`; empty: raw. Checks its version and its echo.
  std::vector<uint8_t> GradientWidths(const InFlight& work, const transport::Message& message,
                                      bool is_raw);
  // The gradient that the message carries; the gate observes it where it learns.
  at::Tensor DecodeGradient(const InFlight& work, const train::GradientMessage& message,
                            uint64_t loss_tokens, Pass* pass);
  train::ClipDecision ReceiveNorms(StepResult* result);
  void SendCommit(const Pass& pass, const train::ClipDecision& decision, double learning_rate);

  transport::Message NewMessage(transport::Phase phase) const;
  // Codes the activation into the message, with the widths where their version is new to the
  // server. samples: of a FORWARD.
  train::CodedTensor Attach(const at::Tensor& activation, std::span<const uint32_t> segments,
                            const std::optional<quant::SampleContext>& samples,
                            transport::Message* message);
  // Forward without keeping anything.
  at::Tensor Activation(const data::Batch& batch);
  // An evaluation or generation message of a batch.
  transport::Message RequestMessage(transport::Phase phase, const data::Batch& batch);
  transport::Message ReceiveNext(transport::Phase phase, uint32_t micro_batch);

  models::Stage& stage_;
  quant::WidthPolicy& widths_;
  transport::Link& link_;
  const Options options_;
  train::CutCoder coder_;
  train::AdamW optimizer_;
  uint64_t step_ = 0;
  uint32_t attempt_ = 0;
  uint64_t next_request_ = 1;
  uint64_t next_answer_ = 1;                  // request whose answer comes next
  uint64_t sent_version_ = 0;                 // newest gate version whose widths the server holds
  uint64_t decoded_version_ = 0;              // of the last gradient
  train::VersionedWidths gradient_versions_;  // of the server's gate, gradient.bits: own
  quant::EntropyStage entropy_;
  bool awaits_committed_ = false;
};

}  // namespace amaq::client

#endif  // AMAQ_CLIENT_STEP_DRIVER_H_
