#include "server/engine.h"

#include <cmath>

#include "core/bytes.h"
#include "core/error.h"
#include "core/log.h"
#include "lora/peft_adapter.h"
#include "tensor/bridge.h"
#include "transport/chunker.h"

namespace amaq::server {
namespace {

using transport::Direction;
using transport::Message;
using transport::Phase;

constexpr size_t kKeptWidthVersions = 2;

void CheckTensor(const Message& message, const models::Stage& stage, const EngineOptions& options) {
  if (!message.tensor) {
    Throw(Code::kInvalidArgument, ToString(message.key), " carries no tensor");
  }
  const transport::TensorSpec& tensor = *message.tensor;
  if (tensor.tokens == 0 || tensor.tokens > options.max_tokens) {
    Throw(Code::kInvalidArgument, ToString(message.key), " has ", tensor.tokens,
          " tokens; this session was granted 1 to ", options.max_tokens);
  }
  if (static_cast<int64_t>(tensor.channels) != stage.spec().hidden) {
    Throw(Code::kInvalidArgument, ToString(message.key), " has ", tensor.channels,
          " channels; the model has ", stage.spec().hidden);
  }
  if (tensor.cut != options.cut.cut || tensor.direction != Direction::kForward) {
    Throw(Code::kInvalidArgument, ToString(message.key), " is not a forward tensor of cut ",
          options.cut.cut);
  }
}

}  // namespace

Engine::Engine(std::unique_ptr<models::Stage> stage, const EngineOptions& options, uint32_t epoch)
    : stage_(std::move(stage)),
      options_(options),
      optimizer_(stage_->adapters(), options.optimizer),
      ledger_(epoch) {}

void Engine::OnMessage(Message message, const Reply& reply) {
  switch (ledger_.Admit(message, transport::MessageDigest(message)).OrThrow()) {
    case transport::Verdict::Action::kReplay:
      return reply(ledger_.last_reply());
    case transport::Verdict::Action::kIgnore:
    case transport::Verdict::Action::kRefuse:
      return;
    case transport::Verdict::Action::kWork:
      break;
  }
  switch (message.key.phase) {
    case Phase::kForward:
      return Forward(std::move(message), reply);
    case Phase::kCommit:
      return Commit(message, reply);
    case Phase::kAbort:
      return Abort(reply);
    case Phase::kEvaluate:
      return Evaluate(std::move(message), reply);
    case Phase::kDecode:
      return Decode(std::move(message), reply);
    default:
      Throw(Code::kInvalidArgument, "a client does not send ", PhaseName(message.key.phase));
  }
}

Message Engine::Answer(const Message& request, Phase phase) const {
  Message answer;
  answer.key = request.key;
  answer.key.phase = phase;
  answer.micro_batches = request.micro_batches;
  answer.loss_tokens = request.loss_tokens;
  answer.gate.decoded_version = request.gate.version;
  answer.gate.phase = request.gate.phase;
  answer.gate.target_bits = request.gate.target_bits;
  return answer;
}

std::span<const uint8_t> Engine::WidthsOf(const Message& message) {
  const uint64_t version = message.gate.version;
  if (version == 0) return {};
  const Bytes* sent = FindSection(message.sections, SectionKind::kWidths);
  if (sent != nullptr) {
    if (sent->size() != message.tensor->channels) {
      Throw(Code::kInvalidArgument, "the widths of gate version ", version, " name ", sent->size(),
            " channels; the model has ", message.tensor->channels);
    }
    const auto [known, is_new] = widths_by_version_.try_emplace(version, *sent);
    if (!is_new && known->second != *sent) {
      Throw(Code::kInvalidArgument, "gate version ", version,
            " came with two different sets of widths");
    }
    while (widths_by_version_.size() > kKeptWidthVersions) {
      widths_by_version_.erase(widths_by_version_.begin());
    }
  }
  const auto found = widths_by_version_.find(version);
  if (found == widths_by_version_.end()) {
    Throw(Code::kFailedPrecondition, ToString(message.key), " is coded with gate version ", version,
          ", which this server does not hold");
  }
  return found->second;
}

Engine::Incoming Engine::Receive(Message* received, bool is_training) {
  Message& message = *received;
  CheckTensor(message, *stage_, options_);
  Incoming incoming;
  incoming.supervision =
      train::ParseSupervision(message.sections, message.tensor->tokens, stage_->spec().vocab);
  lora::DropoutContext dropout;
  if (is_training) {
    dropout = {options_.lora.dropout, options_.lora.seed, message.key.step,
               message.key.micro_batch};
  }
  incoming.context = models::MakeBatchContext(stage_->spec(), incoming.supervision.segments,
                                              dropout, stage_->scalar_type(), stage_->device());
  incoming.widths = WidthsOf(message);
  std::optional<DType> raw_dtype;
  if (message.gate.version == 0) raw_dtype = message.tensor->dtype;
  if (options_.entropy && !raw_dtype) {
    entropy_receiver_.Restore(incoming.widths,
                              train::NumCodedRows(options_.cut, incoming.supervision.segments),
                              &message.sections);
  }
  incoming.x = train::DecodeActivation(
      options_.cut, message.sections, raw_dtype, incoming.supervision.segments, incoming.widths,
      stage_->spec().hidden, stage_->device(), stage_->scalar_type());
  return incoming;
}

void Engine::ReplyNonFinite(const Message& request, transport::NonFinite what, const Reply& reply) {
  is_step_finite_ = false;
  AMAQ_LOG(kWarning, ToString(request.key), ": ", what.tensor, " is not finite at token ",
           what.token, ", channel ", what.channel);
  Message answer = Answer(request, Phase::kBackward);
  answer.item = std::move(what);
  reply(std::move(answer));
  if (ledger_.is_complete()) reply(NormReply(request.key));
}

void Engine::Forward(Message message, const Reply& reply) {
  if (message.key.micro_batch == 0) is_step_finite_ = true;
  if (const auto* broken = std::get_if<transport::NonFinite>(&message.item)) {
    if (broken->tensor != "activation") {
      Throw(Code::kInvalidArgument, ToString(message.key),
            " says that something is not finite; only an activation may be");
    }
    return ReplyNonFinite(message, *broken, reply);
  }
  Incoming incoming = Receive(&message, /*is_training=*/true);
  const train::Supervision& supervision = incoming.supervision;
  if (message.loss_tokens < supervision.targets.size() || message.loss_tokens == 0) {
    Throw(Code::kInvalidArgument, ToString(message.key), " supervises ", supervision.targets.size(),
          " tokens but names ", message.loss_tokens, " for the whole step");
  }
  std::vector<models::BlockSaved> saved;
  const at::Tensor hidden = stage_->Forward(incoming.x, incoming.context, &saved);
  const models::LossResult loss = models::HeadLoss(
      hidden, stage_->head(), {supervision.target_rows, supervision.targets}, message.loss_tokens);
  if (!std::isfinite(loss.loss_sum)) return ReplyNonFinite(message, {"loss", 0, 0}, reply);

  lora::DeferredGradients deferred;
  const at::Tensor gradient = stage_->Backward(loss.gradient, incoming.context, std::move(saved),
                                               models::InputGradient::kNeeded, &deferred);
  const train::GradientRows plan = train::PlanGradientRows(
      supervision.segments, supervision.target_rows, options_.cut.sink_tokens);
  Message answer = Answer(message, Phase::kBackward);
  answer.item = transport::BackwardInfo{loss.loss_sum, loss.tokens};
  try {
    const std::vector<uint8_t> widths = train::GradientWidths(options_.cut, incoming.widths);
    train::CodedTensor coded = train::EncodeGradient(options_.cut, gradient, plan, widths,
                                                     {message.key.step, message.key.micro_batch});
    if (options_.entropy && !coded.raw_dtype) {
      entropy_sender_.Compress(widths, plan.num_coded(), &coded.sections);
    }
    answer.gate.version = coded.raw_dtype ? 0 : message.gate.version;
    answer.tensor = transport::TensorSpec{message.tensor->tokens, message.tensor->channels,
                                          coded.raw_dtype.value_or(DType::kF32), options_.cut.cut,
                                          Direction::kBackward};
    answer.sections = std::move(coded.sections);
  } catch (const quant::NonFiniteError& error) {
    return ReplyNonFinite(message, {"gradient", plan.rows[error.row()], error.channel()}, reply);
  }
  reply(std::move(answer));
  for (const auto& form_gradient : deferred) form_gradient();
  if (ledger_.is_complete()) reply(NormReply(message.key));
}

Message Engine::NormReply(const transport::MessageKey& key) const {
  Message norm;
  norm.key = key;
  norm.key.phase = Phase::kNorm;
  norm.key.micro_batch = 0;
  transport::NormInfo info{is_step_finite_};
  Bytes squared;
  for (const train::TensorNorm& entry : optimizer_.SquaredNorms()) {
    info.finite = info.finite && std::isfinite(entry.squared);
    AppendLittleEndian(&squared, entry.squared);
  }
  norm.item = info;
  norm.sections.push_back({SectionKind::kNorms, std::move(squared)});
  return norm;
}

void Engine::Commit(const Message& message, const Reply& reply) {
  const auto* commit = std::get_if<transport::CommitInfo>(&message.item);
  if (commit == nullptr) Throw(Code::kInvalidArgument, "a COMMIT without its decision");
  if (commit->skip) {
    optimizer_.ZeroGradients();
  } else {
    if (!is_step_finite_ || !std::isfinite(commit->clip_scale) || commit->clip_scale < 0 ||
        !std::isfinite(commit->learning_rate) || commit->learning_rate < 0) {
      Throw(Code::kInvalidArgument, ToString(message.key), " applies a step that is not finite");
    }
    optimizer_.Step(commit->clip_scale, commit->learning_rate);
  }
  Message answer = Answer(message, Phase::kCommitted);
  answer.item = transport::CommittedInfo{ledger_.step() + 1};
  ledger_.Committed(answer);
  reply(std::move(answer));
}

void Engine::Abort(const Reply& /*reply*/) {
  optimizer_.ZeroGradients();
  is_step_finite_ = true;
}

void Engine::Evaluate(Message message, const Reply& reply) {
  Message answer = Answer(message, Phase::kEvaluate);
  const Incoming incoming = Receive(&message, /*is_training=*/false);
  const at::Tensor hidden = stage_->Forward(incoming.x, incoming.context, nullptr);
  const models::LossResult loss = models::HeadLoss(
      hidden, stage_->head(), {incoming.supervision.target_rows, incoming.supervision.targets}, 0);
  answer.item = transport::EvalInfo{loss.loss_sum, loss.tokens, loss.correct};
  reply(std::move(answer));
}

void Engine::Decode(Message message, const Reply& reply) {
  Message answer = Answer(message, Phase::kDecode);
  const Incoming incoming = Receive(&message, /*is_training=*/false);
  const at::Tensor hidden = stage_->Forward(incoming.x, incoming.context, nullptr);
  const std::vector<uint32_t> last = {incoming.supervision.segments.back() - 1};
  const at::Tensor logits = models::HeadLogits(hidden, stage_->head(), last);
  answer.item = transport::DecodeInfo{static_cast<uint32_t>(logits.argmax().item<int64_t>())};
  reply(std::move(answer));
}

void Engine::PutAdapter(ByteSpan adapter) {
  if (ledger_.step() != 0 || ledger_.received() != 0) {
    Throw(Code::kFailedPrecondition,
          "an initial adapter is taken before the first step only; this session is at step ",
          ledger_.step());
  }
  lora::LoadAdapter(adapter, stage_->adapters(), "the initial adapter of the server's half");
}

Bytes Engine::FetchAdapter() {
  if (!options_.allow_fetch_adapter) {
    Throw(Code::kPermissionDenied,
          "this server keeps its half of the adapter "
          "(limits.allow_fetch_adapter is false in its config)");
  }
  return lora::SerializeAdapter(stage_->adapters());
}

}  // namespace amaq::server
