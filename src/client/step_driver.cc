#include "client/step_driver.h"

#include <algorithm>
#include <cmath>

#include "core/bytes.h"
#include "core/check.h"
#include "core/error.h"
#include "quant/sections.h"
#include "tensor/bridge.h"
#include "train/supervision.h"

namespace amaq::client {
namespace {

using transport::Message;
using transport::Phase;

transport::GatePhase GatePhaseOf(quant::PolicyPhase phase) {
  switch (phase) {
    case quant::PolicyPhase::kRaw:
      return transport::GatePhase::kNone;
    case quant::PolicyPhase::kCalibrating:
      return transport::GatePhase::kCalibrating;
    case quant::PolicyPhase::kAdapting:
      return transport::GatePhase::kAdapting;
    case quant::PolicyPhase::kFrozen:
      return transport::GatePhase::kFrozen;
  }
  return transport::GatePhase::kNone;
}

std::string Describe(const Message& message, const transport::NonFinite& what) {
  const bool is_known =
      what.tensor == "activation" || what.tensor == "gradient" || what.tensor == "norm";
  if (!is_known && what.tensor != "loss") {
    Throw(Code::kDataLoss, ToString(message.key), " names no tensor that could be not finite");
  }
  if (what.tensor == "loss") return StrCat("the loss of ", ToString(message.key), " is not finite");
  return StrCat("the ", what.tensor, " of ", ToString(message.key), " is not finite at token ",
                what.token, ", channel ", what.channel);
}

uint64_t SupervisedTokens(const std::vector<data::Batch>& batches) {
  uint64_t total = 0;
  for (const data::Batch& batch : batches) total += batch.num_supervised();
  return total;
}

data::Batch PrefixBatch(const std::vector<int32_t>& tokens) {
  data::Example example{tokens, std::vector<uint8_t>(tokens.size(), 0), false};
  return data::Collate({&example});
}

}  // namespace

StepDriver::StepDriver(models::Stage& stage, quant::WidthPolicy& widths, transport::Link& link,
                       const Options& options)
    : stage_(stage),
      widths_(widths),
      link_(link),
      options_(options),
      coder_(options.cut),
      optimizer_(stage.adapters(), options.optimizer),
      entropy_(options.entropy) {}

Message StepDriver::NewMessage(Phase phase) const {
  Message message;
  message.key = {options_.epoch, step_, attempt_, 0, phase, 0};
  return message;
}

Message StepDriver::ReceiveNext(Phase phase, uint32_t micro_batch) {
  Message message = link_.Receive();
  if (awaits_committed_ && message.key.phase == Phase::kCommitted) {
    const auto* info = std::get_if<transport::CommittedInfo>(&message.item);
    if (info == nullptr || info->committed_steps != step_) {
      Throw(Code::kDataLoss, "the server confirms another step than ", step_);
    }
    awaits_committed_ = false;
    if (phase == Phase::kCommitted) return message;
    message = link_.Receive();
  }
  const bool is_request = phase == Phase::kEvaluate || phase == Phase::kDecode;
  const transport::MessageKey due = {message.key.epoch, step_, attempt_,
                                     micro_batch,       phase, is_request ? next_answer_++ : 0};
  if (message.key != due) {
    Throw(Code::kDataLoss, "the server sent ", ToString(message.key), " where ", ToString(due),
          " is due");
  }
  return message;
}

train::CodedTensor StepDriver::Attach(const at::Tensor& activation,
                                      std::span<const uint32_t> segments,
                                      const std::optional<quant::SampleContext>& samples,
                                      Message* message) {
  const std::span<const uint8_t> widths = widths_.widths();
  const bool keeps = widths_.wants_error_dot() && quant::NeedsCache(options_.cut.method);
  train::CodedTensor coded =
      coder_.EncodeActivation(activation, segments, widths, samples,
                              keeps ? train::KeepDecoded::kYes : train::KeepDecoded::kNo);
  message->tensor = transport::TensorSpec{
      static_cast<uint64_t>(activation.size(0)), static_cast<uint32_t>(activation.size(1)),
      coded.raw_dtype.value_or(DType::kF32), options_.cut.cut, transport::Direction::kForward};
  message->gate.version = coded.raw_dtype ? 0 : widths_.version();
  message->gate.phase = GatePhaseOf(widths_.phase());
  message->gate.target_bits = widths_.target_bits();
  message->gate.decoded_version = decoded_version_;
  if (!widths.empty() && message->gate.version > sent_version_) {
    message->sections.push_back({SectionKind::kWidths, Bytes(widths.begin(), widths.end())});
    sent_version_ = message->gate.version;
  }
  message->sections.insert(message->sections.end(), coded.sections.begin(), coded.sections.end());
  if (entropy_.is_used() && !coded.raw_dtype && coder_.rd() == nullptr) {
    entropy_.Compress(coder_.ActivationCodes(message->sections, segments, widths, samples),
                      link_.upload_bytes_per_second(), &message->sections);
  }
  return coded;
}

void StepDriver::SendForward(const data::Batch& batch, uint32_t index, uint32_t count,
                             uint64_t loss_tokens, Pass* pass) {
  InFlight work;
  work.context = models::MakeBatchContext(stage_.spec(), batch.segments,
                                          {options_.lora.dropout, options_.lora.seed, step_, index},
                                          stage_.scalar_type(), stage_.device());
  work.activation = stage_.Forward(stage_.Embed(tensor::FromInts(batch.tokens, stage_.device())),
                                   work.context, &work.saved);
  work.plan = train::PlanGradientRows(batch.segments, batch.target_rows, options_.cut.sink_tokens);
  Message message = NewMessage(Phase::kForward);
  message.key.micro_batch = index;
  message.micro_batches = count;
  message.loss_tokens = loss_tokens;
  try {
    const quant::SampleContext samples = {batch.segments, batch.keys, {step_, attempt_, index}};
    work.coded = Attach(work.activation, batch.segments, samples, &message);
    if (!work.coded.raw_dtype) {
      work.widths.assign(widths_.widths().begin(), widths_.widths().end());
      work.version = widths_.version();
    }
    train::AppendSupervision({batch.segments, batch.target_rows, batch.targets}, &message.sections);
    if (coder_.rd() != nullptr) {
      coder_.rd()->CountBytes(quant::TotalBytes(message.sections), batch.num_tokens());
    }
  } catch (const quant::NonFiniteError& error) {
    work.is_broken = true;
    message.item = transport::NonFinite{"activation", error.row(), error.channel()};
  }
  link_.Send(std::move(message));
  pass->in_flight.push_back(std::move(work));
  pass->result.rows += batch.num_tokens();
  ++pass->sent;
}

void StepDriver::ReceiveBackward(uint64_t loss_tokens, Pass* pass) {
  Message message = ReceiveNext(Phase::kBackward, pass->received);
  InFlight work = std::move(pass->in_flight.front());
  pass->in_flight.pop_front();
  ++pass->received;
  if (const auto* what = std::get_if<transport::NonFinite>(&message.item)) {
    pass->result.skipped = true;
    if (pass->result.skip_reason.empty()) pass->result.skip_reason = Describe(message, *what);
    return;
  }
  const auto* info = std::get_if<transport::BackwardInfo>(&message.item);
  if (info == nullptr || !message.tensor || work.is_broken) {
    Throw(Code::kDataLoss, ToString(message.key), " carries no gradient");
  }
  pass->result.loss_sum += info->loss_sum;
  pass->result.tokens += info->tokens;
  const bool is_rd = options_.cut.gradient_rate > 0;
  const bool is_raw = is_rd ? FindSection(message.sections, SectionKind::kRaw) != nullptr
                            : message.gate.version == 0;
  const std::vector<uint8_t> gradient_widths = GradientWidths(work, message, is_raw);
  decoded_version_ = message.gate.version;
  if (is_rd) {
    const auto values = static_cast<double>(work.context.num_rows() * stage_.spec().hidden);
    pass->result.gradient_bits =
        8 * static_cast<double>(quant::TotalBytes(message.sections)) / values;
  } else if (!is_raw) {
    pass->result.gradient_bits = train::MeanGradientWidth(options_.cut, gradient_widths, work.plan);
  }
  std::optional<DType> raw_dtype;
  if (is_raw) raw_dtype = message.tensor->dtype;
  if (entropy_.is_used() && !is_raw && !is_rd) {
    entropy_.Restore(coder_.GradientCodes(message.sections, work.plan, gradient_widths),
                     &message.sections);
  }
  const at::Tensor gradient = DecodeGradient(
      work,
      {message.sections, raw_dtype, gradient_widths, work.plan, {step_, message.key.micro_batch}},
      loss_tokens, pass);
  stage_.Backward(gradient, work.context, std::move(work.saved), models::InputGradient::kNotNeeded,
                  nullptr);
}

std::vector<uint8_t> StepDriver::GradientWidths(const InFlight& work, const Message& message,
                                                bool is_raw) {
  const bool is_own = options_.cut.gradient_is_own && !work.widths.empty();
  if ((!is_raw && !is_own && message.gate.version != work.version) ||
      message.gate.decoded_version != work.version) {
    Throw(Code::kDataLoss, ToString(message.key), " is coded with gate version ",
          message.gate.version, " and echoes ", message.gate.decoded_version,
          "; its forward tensor was sent with ", work.version);
  }
  if (!is_own || is_raw) return train::GradientWidths(options_.cut, work.widths);
  const std::span<const uint8_t> widths =
      gradient_versions_.Take(ToString(message.key), message.gate.version,
                              FindSection(message.sections, SectionKind::kWidths),
                              static_cast<uint64_t>(stage_.spec().hidden));
  return {widths.begin(), widths.end()};
}

at::Tensor StepDriver::DecodeGradient(const InFlight& work, const train::GradientMessage& message,
                                      uint64_t loss_tokens, Pass* pass) {
  // No row was quantized (one-token segments, first visits of amaq-delta): nothing to learn from.
  const Bytes* ranges = FindSection(work.coded.sections, SectionKind::kRanges);
  if (!widths_.wants_stats() || (ranges != nullptr && ranges->empty())) {
    return coder_.DecodeGradient(message.sections, message.raw_dtype, message.plan,
                                 work.context.num_rows(), message.widths, stage_.spec().hidden,
                                 stage_.device(), stage_.scalar_type(), message.id);
  }
  const train::ObservedGradient observed = coder_.ObserveGradient(
      message, {work.activation, work.coded, work.widths, work.context.segments},
      widths_.wants_error_dot(), stage_.device(), stage_.scalar_type());
  widths_.Observe(observed.stats, loss_tokens);
  pass->is_observed = true;
  return observed.gradient;
}

void StepDriver::RunMicroBatches(const std::vector<data::Batch>& micro_batches, Pass* pass) {
  const auto count = static_cast<uint32_t>(micro_batches.size());
  const uint64_t loss_tokens = SupervisedTokens(micro_batches);
  while (pass->received < count) {
    while (pass->sent < count && pass->sent - pass->received < options_.in_flight) {
      SendForward(micro_batches[pass->sent], pass->sent, count, loss_tokens, pass);
    }
    ReceiveBackward(loss_tokens, pass);
  }
}

train::ClipDecision StepDriver::ReceiveNorms(StepResult* result) {
  const Message message = ReceiveNext(Phase::kNorm, 0);
  const auto* info = std::get_if<transport::NormInfo>(&message.item);
  const Bytes* bytes = FindSection(message.sections, SectionKind::kNorms);
  if (info == nullptr || bytes == nullptr) Throw(Code::kDataLoss, "the server's NORM has no norms");
  std::vector<train::TensorNorm> norms = optimizer_.SquaredNorms();
  ByteReader reader(*bytes, "the norms section");
  for (const std::string& name : options_.server_tensors) {
    const auto squared = reader.Read<double>();
    if (squared < 0) {
      Throw(Code::kDataLoss, "the server's squared norm of ", name, " is negative: ", squared);
    }
    norms.push_back({name, squared});
  }
  reader.ExpectEnd();
  const train::ClipDecision decision = train::DecideClip(std::move(norms), options_.max_grad_norm);
  result->grad_norm = decision.total_norm;
  if (!info->finite || !decision.finite) {
    result->skipped = true;
    if (result->skip_reason.empty()) {
      result->skip_reason = StrCat("the gradient norm of step ", step_, " is not finite");
    }
  }
  return decision;
}

void StepDriver::SendCommit(const Pass& pass, const train::ClipDecision& decision,
                            double learning_rate) {
  const StepResult& result = pass.result;
  if (result.skipped) {
    coder_.TakeBackStep(step_);
    widths_.Discard();
  } else {
    coder_.KeepSteps(step_ + 1);
    // A gate's adaptation counts the steps that it could learn from.
    if (pass.is_observed || !widths_.wants_stats()) {
      widths_.Commit();
    } else {
      widths_.Discard();
    }
  }
  Message message = NewMessage(Phase::kCommit);
  message.item = transport::CommitInfo{result.skipped, decision.finite ? decision.scale : 0,
                                       learning_rate, widths_.version()};
  link_.Send(std::move(message));
  awaits_committed_ = true;
  if (result.skipped) {
    optimizer_.ZeroGradients();
  } else {
    optimizer_.Step(decision.scale, learning_rate);
  }
  ++step_;
  attempt_ = 0;
}

StepResult StepDriver::RunStep(const std::vector<data::Batch>& micro_batches,
                               double learning_rate) {
  Pass pass;
  const quant::ClipCounts before = coder_.activation_clips();
  RunMicroBatches(micro_batches, &pass);
  const quant::ClipCounts after = coder_.activation_clips();
  pass.result.clips = {after.values - before.values, after.clipped - before.clipped};
  const train::ClipDecision decision = ReceiveNorms(&pass.result);
  if (coder_.rd() != nullptr) pass.result.activation_target = coder_.rd()->target_bits();
  SendCommit(pass, decision, learning_rate);
  if (coder_.rd() != nullptr) pass.result.activation_bits = coder_.rd()->rate();
  return std::move(pass.result);
}

void StepDriver::FitTransform(const std::vector<data::Batch>& batches, quant::Transform transform,
                              uint64_t expected_rows) {
  AMAQ_CHECK(coder_.rd() != nullptr);
  train::Moments moments(stage_.spec().hidden);
  for (const data::Batch& batch : batches) {
    moments.Add(Activation(batch), train::SinkRows(batch.segments, options_.cut.sink_tokens));
  }
  train::Basis basis = train::FitBasis(transform, moments, expected_rows);
  Message message = NewMessage(Phase::kBasis);
  message.sections = train::WriteBasis(basis);
  link_.Send(std::move(message));
  coder_.rd()->SetBasis(std::move(basis), stage_.device());
}

std::map<std::string, std::vector<float>> StepDriver::TransformState() {
  return coder_.rd() != nullptr ? coder_.rd()->State()
                                : std::map<std::string, std::vector<float>>{};
}

void StepDriver::Calibrate(const std::vector<data::Batch>& micro_batches) {
  Pass pass;
  RunMicroBatches(micro_batches, &pass);
  ReceiveNorms(&pass.result);
  if (pass.result.skipped) Throw(Code::kInternal, "calibration failed: ", pass.result.skip_reason);
  Message abort = NewMessage(Phase::kAbort);
  abort.item = transport::AbortInfo{"calibration"};
  link_.Send(std::move(abort));
  coder_.TakeBackStep(step_);
  ++attempt_;
  optimizer_.ZeroGradients();
  widths_.FinishCalibration();
}

at::Tensor StepDriver::Activation(const data::Batch& batch) {
  const models::BatchContext context = models::MakeBatchContext(
      stage_.spec(), batch.segments, {}, stage_.scalar_type(), stage_.device());
  return stage_.Forward(stage_.Embed(tensor::FromInts(batch.tokens, stage_.device())), context,
                        nullptr);
}

Message StepDriver::RequestMessage(Phase phase, const data::Batch& batch) {
  const at::Tensor activation = Activation(batch);
  Message message = NewMessage(phase);
  message.key.request_id = next_request_++;
  Attach(activation, batch.segments, std::nullopt, &message);
  train::AppendSupervision({batch.segments, batch.target_rows, batch.targets}, &message.sections);
  return message;
}

EvalResult StepDriver::Evaluate(const std::vector<data::Batch>& batches) {
  EvalResult total;
  size_t received = 0;
  for (size_t sent = 0; received < batches.size();) {
    if (sent < batches.size() && sent - received < options_.in_flight) {
      link_.Send(RequestMessage(Phase::kEvaluate, batches[sent++]));
      continue;
    }
    const Message answer = ReceiveNext(Phase::kEvaluate, 0);
    const auto* info = std::get_if<transport::EvalInfo>(&answer.item);
    if (info == nullptr) Throw(Code::kDataLoss, "the server answered an evaluation without a loss");
    if (!std::isfinite(info->loss_sum)) {
      Throw(Code::kInternal, "the evaluation loss of batch ", received, " is not finite");
    }
    total.loss_sum += info->loss_sum;
    total.tokens += info->tokens;
    total.correct += info->correct;
    ++received;
  }
  return total;
}

std::vector<int32_t> StepDriver::Generate(std::vector<int32_t> tokens, uint32_t max_new_tokens,
                                          int32_t end_token) {
  std::vector<int32_t> made;
  for (uint32_t i = 0; i < max_new_tokens; ++i) {
    link_.Send(RequestMessage(Phase::kDecode, PrefixBatch(tokens)));
    const Message answer = ReceiveNext(Phase::kDecode, 0);
    const auto* info = std::get_if<transport::DecodeInfo>(&answer.item);
    if (info == nullptr) Throw(Code::kDataLoss, "the server answered a DECODE without a token");
    if (info->token_id >= static_cast<uint64_t>(stage_.spec().vocab)) {
      Throw(Code::kDataLoss, "the server chose token ", info->token_id, " of a vocabulary of ",
            stage_.spec().vocab);
    }
    const auto token = static_cast<int32_t>(info->token_id);
    if (token == end_token) break;
    made.push_back(token);
    tokens.push_back(token);
  }
  return made;
}

void StepDriver::Drain() {
  if (awaits_committed_) ReceiveNext(Phase::kCommitted, 0);
}

}  // namespace amaq::client
