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
      coder_(options.cut),
      optimizer_(stage_->adapters(), options.optimizer),
      ledger_(epoch),
      entropy_(options.entropy) {
  if (options.gradient_gate) {
    gradient_gate_ = quant::MakeGradientPolicy(*options.gradient_gate, stage_->spec().hidden);
  }
}

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
    case Phase::kBasis:
      return TakeBasis(message);
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
  if (version == 0 || options_.cut.method == quant::Method::kAmaqRd) return {};
  return received_widths_.Take(ToString(message.key), version,
                               FindSection(message.sections, SectionKind::kWidths),
                               train::NumUnits(options_.cut, message.tensor->channels));
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
  const std::vector<uint32_t>& segments = incoming.supervision.segments;
  std::optional<quant::SampleContext> samples;
  if (is_training) {
    samples = {segments, {}, {message.key.step, message.key.attempt, message.key.micro_batch}};
  }
  if (entropy_.is_used() && !raw_dtype && coder_.rd() == nullptr) {
    entropy_.Restore(coder_.ActivationCodes(message.sections, segments, incoming.widths, samples),
                     &message.sections);
  }
  incoming.x = coder_.DecodeActivation(message.sections, raw_dtype, segments, incoming.widths,
                                       stage_->spec().hidden, stage_->device(),
                                       stage_->scalar_type(), samples);
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
  if (gradient_gate_ != nullptr && message.gate.decoded_version > gradient_gate_->version()) {
    Throw(Code::kInvalidArgument, ToString(message.key), " echoes version ",
          message.gate.decoded_version, " of the gradient's gate, the newest is ",
          gradient_gate_->version());
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
    AttachGradient(gradient, plan, message, incoming.widths, &answer);
  } catch (const quant::NonFiniteError& error) {
    return ReplyNonFinite(message, {"gradient", plan.rows[error.row()], error.channel()}, reply);
  }
  reply(std::move(answer));
  for (const auto& form_gradient : deferred) form_gradient();
  if (ledger_.is_complete()) reply(NormReply(message.key));
}

void Engine::AttachGradient(const at::Tensor& gradient, const train::GradientRows& plan,
                            const Message& request, std::span<const uint8_t> forward_widths,
                            Message* answer) {
  // A tensor that came raw is answered raw.
  const bool is_own = gradient_gate_ != nullptr && !forward_widths.empty();
  std::vector<uint8_t> widths = train::GradientWidths(options_.cut, forward_widths);
  if (is_own) widths.assign(gradient_gate_->widths().begin(), gradient_gate_->widths().end());
  train::CodedTensor coded =
      coder_.EncodeGradient(gradient, plan, widths, {request.key.step, request.key.micro_batch});
  if (is_own && !coded.raw_dtype) {
    gradient_gate_->Observe({train::SentRanges(coded.sections, widths), {}, {}}, 1);
  }
  if (entropy_.is_used() && !coded.raw_dtype && options_.cut.gradient_rate == 0) {
    entropy_.Compress(coder_.GradientCodes(coded.sections, plan, widths),
                      download_bytes_per_second_, &coded.sections);
  }
  const uint64_t version = is_own ? gradient_gate_->version() : request.gate.version;
  answer->gate.version = coded.raw_dtype ? 0 : version;
  answer->tensor = transport::TensorSpec{request.tensor->tokens, request.tensor->channels,
                                         coded.raw_dtype.value_or(DType::kF32), options_.cut.cut,
                                         Direction::kBackward};
  if (is_own && !coded.raw_dtype) {
    answer->gate.target_bits = gradient_gate_->target_bits();
    if (version > sent_gradient_version_) {
      answer->sections.push_back({SectionKind::kWidths, Bytes(widths.begin(), widths.end())});
      sent_gradient_version_ = version;
    }
  }
  answer->sections.insert(answer->sections.end(), coded.sections.begin(), coded.sections.end());
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
    coder_.TakeBackStep(ledger_.step());
    optimizer_.ZeroGradients();
    if (gradient_gate_ != nullptr) gradient_gate_->Discard();
  } else {
    if (!is_step_finite_ || !std::isfinite(commit->clip_scale) || commit->clip_scale < 0 ||
        !std::isfinite(commit->learning_rate) || commit->learning_rate < 0) {
      Throw(Code::kInvalidArgument, ToString(message.key), " applies a step that is not finite");
    }
    optimizer_.Step(commit->clip_scale, commit->learning_rate);
    if (gradient_gate_ != nullptr) gradient_gate_->Commit();
    coder_.KeepSteps(ledger_.step() + 1);
  }
  Message answer = Answer(message, Phase::kCommitted);
  answer.item = transport::CommittedInfo{ledger_.step() + 1};
  ledger_.Committed(answer);
  reply(std::move(answer));
}

void Engine::Abort(const Reply& /*reply*/) {
  coder_.TakeBackStep(ledger_.step());
  optimizer_.ZeroGradients();
  is_step_finite_ = true;
  if (gradient_gate_ != nullptr) gradient_gate_->Discard();
  sent_gradient_version_ = 0;  // what the attempt carried may not have arrived
}

void Engine::TakeBasis(const Message& message) {
  if (coder_.rd() == nullptr) {
    Throw(Code::kInvalidArgument, ToString(message.key), " has no place in a run of quant.method ",
          MethodName(options_.cut.method));
  }
  if (coder_.rd()->has_basis()) {
    Throw(Code::kFailedPrecondition, ToString(message.key), " is the second of its run");
  }
  coder_.rd()->SetBasis(train::ReadBasis(message.sections, stage_->spec().hidden),
                        stage_->device());
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
