#include "train/rd_activation.h"

#include <cmath>
#include <utility>

#include "core/bytes.h"
#include "core/check.h"
#include "core/error.h"
#include "core/log.h"
#include "quant/rd.h"
#include "quant/rows.h"
#include "quant/sections.h"
#include "tensor/bridge.h"

namespace amaq::train {
namespace {

// Names the first element of x that is not finite, in the whole micro-batch.
void RequireFinite(const at::Tensor& x) {
  if (std::isfinite(x.sum().item<double>())) return;  // sums of finite values may overflow, too
  const at::Tensor host = tensor::OnHost(x.to(at::kFloat));
  const std::span<const float> values = tensor::Floats(host);
  const auto channels = static_cast<size_t>(x.size(1));
  for (size_t i = 0; i < values.size(); ++i) {
    if (std::isfinite(values[i])) continue;
    const size_t row = i / channels;
    const auto channel = static_cast<uint32_t>(i % channels);
    throw quant::NonFiniteError(
        row, channel,
        StrCat("the value at row ", row, ", channel ", channel, " is not finite: ", values[i]));
  }
}

using State = std::map<std::string, std::vector<float>>;

const std::vector<float>& Entry(const State& state, const std::string& name) {
  const auto entry = state.find(name);
  if (entry == state.end() || entry->second.empty()) {
    Throw(Code::kDataLoss, "the state of an amaq-rd activation has no ", name);
  }
  return entry->second;
}

constexpr int32_t kLargestCount = 1 << 24;  // every integer up to it is a number of fp32

// The numbers, which must be integers of [low, high].
std::vector<int32_t> Integers(const State& state, const std::string& name, int32_t low,
                              int32_t high) {
  std::vector<int32_t> integers;
  for (const float value : Entry(state, name)) {
    if (!(value >= static_cast<float>(low) && value <= static_cast<float>(high)) ||
        value != std::nearbyint(value)) {
      Throw(Code::kDataLoss, name, " of the state of an amaq-rd activation has ", value);
    }
    integers.push_back(static_cast<int32_t>(value));
  }
  return integers;
}

}  // namespace

RdActivation::RdActivation(const RdActivationOptions& options)
    : options_(options), rate_(options.rate) {}

void RdActivation::SetBasis(Basis basis, at::Device device) {
  model_.emplace(static_cast<size_t>(basis.channels()));
  basis.MoveTo(device);
  basis_.emplace(std::move(basis));
}

quant::RdModel& RdActivation::RequireModel() {
  if (!model_) Throw(Code::kFailedPrecondition, "an amaq-rd activation before its basis");
  return *model_;
}

std::optional<std::vector<Section>> RdActivation::Encode(
    const at::Tensor& x, std::span<const uint32_t> segments,
    const std::optional<quant::MessagePlace>& place) {
  quant::RdModel& model = RequireModel();
  AMAQ_CHECK(!segments.empty() && x.size(0) == segments.back());
  RequireFinite(x);
  const at::Tensor y =
      tensor::OnHost(basis_->Analyse(x, quant::SinkRows(segments, options_.sink_tokens)));
  const std::span<const float> values = tensor::Floats(y);
  quant::RdOptions options;
  options.dead_zone = static_cast<float>(options_.dead_zone);
  options.threads = tensor::NumThreads();
  if (options_.remembers) options.kinds = place ? quant::RdKinds::kLearn : quant::RdKinds::kUse;
  options.step.index =
      rate_.index() ? *rate_.index()
                    : quant::RdSolveIndex(values, options, model,
                                          rate_.target_bits() * static_cast<double>(values.size()));
  std::optional<quant::RdEncoded> coded = quant::RdEncode(values, options, model, {});
  if (!coded || quant::TotalBytes(coded->sections) >= values.size() * sizeof(uint16_t)) {
    return std::nullopt;
  }
  if (place) {
    if (!rate_.index()) rate_.Start(options.step.index);
    model.Add(*place, std::move(coded->counts));
  }
  return std::move(coded->sections);
}

at::Tensor RdActivation::Decode(const std::vector<Section>& sections,
                                std::span<const uint32_t> segments,
                                const std::optional<quant::MessagePlace>& place) {
  quant::RdModel& model = RequireModel();
  AMAQ_CHECK(!segments.empty());
  at::Tensor y = tensor::EmptyFloats(segments.back(), basis_->channels());
  quant::RdCounts counts =
      quant::RdDecode(sections, model, tensor::Floats(y),
                      {.takes_kinds = options_.remembers, .threads = tensor::NumThreads()});
  at::Tensor x =
      basis_->Synthesise(y.to(basis_->device()), quant::SinkRows(segments, options_.sink_tokens));
  if (place) model.Add(*place, std::move(counts));
  return x;
}

void RdActivation::CountBytes(uint64_t bytes, uint64_t rows) {
  rate_.Observe(8 * bytes, rows * static_cast<uint64_t>(basis_->channels()));
}

void RdActivation::Keep(uint64_t step) {
  if (!model_) return;
  model_->Keep({step, 0, 0});
  rate_.Commit();
  if (rate_.is_off_target() && !was_off_target_) {
    AMAQ_LOG(kWarning, "activations of amaq-rd need ", rate_.rate(),
             " bits an element, the target is ", rate_.target_bits(), " (quant.target_bits)");
  }
  was_off_target_ = rate_.is_off_target();
}

void RdActivation::TakeBack(uint64_t step) {
  if (!model_) return;
  model_->TakeBack({step, 0, 0});
  rate_.Discard();
}

uint64_t RdActivation::Digest() const { return model_ ? model_->Digest() : 0; }

std::map<std::string, std::vector<float>> RdActivation::State() const {
  if (!basis_) return {};
  const Reflectors& reflectors = basis_->reflectors();
  const quant::RdRateControl::State rate = rate_.state();
  const auto index = static_cast<int32_t>(std::lround(rate.wanted_index.value_or(0)));
  const std::vector<uint8_t> bases = model_->BasesAt(index);
  // The means of the memory stand at its end: numbers of their own, not four each.
  Bytes model = model_->State();
  const std::span<const float> kinds = model_->memory().means();
  model.resize(model.size() - kinds.size_bytes());
  std::map<std::string, std::vector<float>> state = {
      {"rd.mean", basis_->means().rows},
      {"rd.sink_mean", basis_->means().sinks},
      {"rd.transform", {static_cast<float>(static_cast<uint32_t>(basis_->transform()))}},
      {"rd.steps", {static_cast<float>(rate.commits)}},
      {"rd.classes", {bases.begin(), bases.end()}},
      {"rd.model", {model.begin(), model.end()}}};
  if (rate.wanted_index) state["rd.log2_step"] = {*rate.wanted_index / 16};
  if (!kinds.empty()) state["rd.kinds"].assign(kinds.begin(), kinds.end());
  if (!reflectors.weights.empty()) {
    state["rd.weights"].assign(reflectors.weights.begin(), reflectors.weights.end());
    state["rd.coefficients"] = reflectors.coefficients;
  }
  return state;
}

void RdActivation::Restore(const std::map<std::string, std::vector<float>>& state,
                           at::Device device) {
  RowMeans means = {Entry(state, "rd.mean"), Entry(state, "rd.sink_mean")};
  const size_t channels = means.rows.size();
  if (means.sinks.size() != channels) {
    Throw(Code::kDataLoss, "the state of an amaq-rd activation has means of ", channels, " and of ",
          means.sinks.size(), " channels");
  }
  const auto transform = static_cast<Transform>(Integers(state, "rd.transform", 1, 3).front());
  quant::RdRateControl::State rate;
  rate.commits = static_cast<uint64_t>(Integers(state, "rd.steps", 0, kLargestCount).front());
  if (state.contains("rd.log2_step")) {
    rate.wanted_index = 16 * Entry(state, "rd.log2_step").front();
    if (!(std::fabs(*rate.wanted_index) <= quant::kRdLargestIndex)) {
      Throw(Code::kDataLoss, "rd.log2_step of the state of an amaq-rd activation is ",
            *rate.wanted_index / 16);
    }
  }
  Reflectors reflectors;
  if (state.contains("rd.weights")) {
    const std::vector<int32_t> weights = Integers(state, "rd.weights", INT8_MIN, INT8_MAX);
    reflectors.weights.assign(weights.begin(), weights.end());
    reflectors.coefficients = Entry(state, "rd.coefficients");
  }
  const std::vector<int32_t> bytes = Integers(state, "rd.model", 0, UINT8_MAX);
  Bytes model_state(bytes.begin(), bytes.end());
  if (state.contains("rd.kinds")) {
    for (const float value : Entry(state, "rd.kinds")) AppendLittleEndian(&model_state, value);
  }
  Basis basis(transform, std::move(means), std::move(reflectors));
  quant::RdModel model = quant::RdModel::FromState(model_state, channels);
  SetBasis(std::move(basis), device);
  *model_ = std::move(model);
  rate_.Restore(rate);
}

}  // namespace amaq::train
