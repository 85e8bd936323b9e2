#ifndef AMAQ_SERVER_ENGINE_H_
#define AMAQ_SERVER_ENGINE_H_

// One session's half of a model behind the transport: messages in, messages out. It decodes what
// crossed the cut, runs its blocks, head and loss, sends the cut gradient first and forms the
// lowest block's weight gradients after. It knows no network. Lane-bound. Source: design "The
// wire", section 4, and "Compute" (our choice).

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "models/stage.h"
#include "quant/entropy_stage.h"
#include "quant/width_policy.h"
#include "train/cut.h"
#include "train/optimizer.h"
#include "train/supervision.h"
#include "train/versioned_widths.h"
#include "transport/endpoint.h"
#include "transport/session.h"

namespace amaq::server {

struct EngineOptions {
  train::CutOptions cut;
  train::AdamWOptions optimizer;
  lora::LoraOptions lora;
  uint64_t max_tokens = 0;  // of a micro-batch
  bool allow_fetch_adapter = true;
  quant::EntropyMode entropy = quant::EntropyMode::kOff;
  std::optional<quant::WidthConfig> gradient_gate;  // gradient.bits: own
};

class Engine : public transport::Session {
 public:
  Engine(std::unique_ptr<models::Stage> stage, const EngineOptions& options, uint32_t epoch);

  void OnMessage(transport::Message message, const Reply& reply) override;
  void PutAdapter(ByteSpan adapter) override;
  Bytes FetchAdapter() override;
  bool measures_links() const override { return options_.entropy == quant::EntropyMode::kAuto; }
  void OnDownloadRate(double bytes_per_second) override {
    download_bytes_per_second_ = bytes_per_second;
  }

  uint64_t num_parameters() const { return optimizer_.num_parameters(); }

 private:
  // A tensor message as the engine works on it.
  struct Incoming {
    train::Supervision supervision;
    std::span<const uint8_t> widths;  // empty: raw
    at::Tensor x;                     // [N, H] decoded
    models::BatchContext context;
  };

  void Forward(transport::Message message, const Reply& reply);
  void Commit(const transport::Message& message, const Reply& reply);
  void Abort(const Reply& reply);
  void TakeBasis(const transport::Message& message);
  void Evaluate(transport::Message message, const Reply& reply);
  void Decode(transport::Message message, const Reply& reply);

  // Takes the codes out of their entropy-coded form, in place.
  Incoming Receive(transport::Message* message, bool is_training);
  std::span<const uint8_t> WidthsOf(const transport::Message& message);
  // The gradient as sections, under the gate version that it was coded with.
  void AttachGradient(const at::Tensor& gradient, const train::GradientRows& plan,
                      const transport::Message& request, std::span<const uint8_t> forward_widths,
                      transport::Message* answer);
  transport::Message NormReply(const transport::MessageKey& key) const;
  transport::Message Answer(const transport::Message& request, transport::Phase phase) const;
  void ReplyNonFinite(const transport::Message& request, transport::NonFinite what,
                      const Reply& reply);

  std::unique_ptr<models::Stage> stage_;
  const EngineOptions options_;
  train::CutCoder coder_;
  train::AdamW optimizer_;
  transport::StepLedger ledger_;
  train::VersionedWidths received_widths_;
  std::unique_ptr<quant::WidthPolicy> gradient_gate_;  // null: gradients take the forward's widths
  uint64_t sent_gradient_version_ = 0;                 // newest that the client holds
  quant::EntropyStage entropy_;
  std::optional<double> download_bytes_per_second_;
  bool is_step_finite_ = true;
};

}  // namespace amaq::server

#endif  // AMAQ_SERVER_ENGINE_H_
