#include "server/endpoint.h"

#include <algorithm>
#include <map>
#include <random>
#include <string>

#include "core/digest.h"
#include "core/error.h"
#include "core/log.h"
#include "core/mutex.h"
#include "core/version.h"
#include "models/loader.h"
#include "quant/config.h"
#include "quant/rd_rate.h"
#include "server/engine.h"

namespace amaq::server {
namespace {

using transport::OpenReply;
using transport::OpenRequest;

template <typename... Args>
[[noreturn]] void Refuse(const Args&... args) {
  Throw(Code::kFailedPrecondition, "the server refuses the run: ", args...);
}

std::string Joined(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

bool Contains(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

bool IsRunName(const std::string& name) {
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
  };
  return !name.empty() && name.size() <= 64 && name.front() != '.' &&
         std::all_of(name.begin(), name.end(), allowed);
}

DType WireDtype(const std::string& name) {
  const std::optional<DType> dtype = ParseDType(name);
  if (!dtype || *dtype == DType::kF64) Refuse("wire.dtype '", name, "' of the client is unknown");
  return *dtype;
}

void CheckLimits(const OpenRequest& request, const config::LimitsConfig& limits) {
  if (request.protocol_min > transport::kProtocolVersion ||
      request.protocol_max < transport::kProtocolVersion) {
    Refuse("the client speaks protocol ", request.protocol_min, " to ", request.protocol_max,
           ", this server ", transport::kProtocolVersion);
  }
  if (!IsRunName(request.run_id)) {
    Throw(Code::kInvalidArgument,
          "a run id has 1 to 64 characters of A-Z a-z 0-9 . _ - and no leading dot");
  }
  if (!Contains(limits.methods, request.quant.method)) {
    Refuse("quant.method is '", request.quant.method,
           "' at the client, limits.methods of the server allows ", Joined(limits.methods));
  }
  if (!Contains(limits.dtypes, request.compute_dtype)) {
    Refuse("model.dtype is '", request.compute_dtype,
           "' at the client, limits.dtypes of the server allows ", Joined(limits.dtypes));
  }
  if (request.lora.r < 1 || request.lora.r > limits.max_rank) {
    Refuse("lora.r is ", request.lora.r, " at the client, limits.max_rank of the server is ",
           limits.max_rank);
  }
  if (request.client_blocks < limits.min_client_blocks) {
    Refuse("split.client_blocks is ", request.client_blocks,
           " at the client, limits.min_client_blocks of the server is ", limits.min_client_blocks);
  }
  if (request.max_tokens < 1 || request.max_tokens > limits.max_tokens) {
    Refuse(
        "a micro-batch of the client has up to ", request.max_tokens,
        " tokens (data.max_length times train.per_device_train_batch_size), limits.max_tokens of "
        "the server is ",
        limits.max_tokens);
  }
  if (request.in_flight < 1 || request.in_flight > limits.max_in_flight) {
    Refuse("train.in_flight is ", request.in_flight,
           " at the client, limits.max_in_flight of the server is ", limits.max_in_flight);
  }
}

// [low, high) must hold the value; NaN is in no range.
void CheckNumber(const char* key, double value, double low, double high) {
  if (value >= low && value < high) return;
  Refuse(key, " is ", value, " at the client, ", low, " up to but not ", high, " here");
}

void CheckNumbers(const OpenRequest& request) {
  constexpr double kHuge = 1e30;
  constexpr double kTiny = 1e-30;
  CheckNumber("lora.lora_dropout", request.lora.dropout, 0, 1);
  CheckNumber("lora.lora_alpha", request.lora.alpha, kTiny, kHuge);
  CheckNumber("train.adam_beta1", request.optimizer.beta1, 0, 1);
  CheckNumber("train.adam_beta2", request.optimizer.beta2, 0, 1);
  CheckNumber("train.adam_epsilon", request.optimizer.eps, kTiny, kHuge);
  CheckNumber("train.weight_decay", request.optimizer.weight_decay, 0, kHuge);
}

void CheckModel(const OpenRequest& request, const models::Fingerprint& own,
                bool allow_mixed_formats) {
  const transport::ModelFingerprint& theirs = request.model;
  if (theirs.config != own.config) {
    Refuse("another model (model.model_name_or_path): the client has ", theirs.config,
           ", the server ", own.config);
  }
  const bool is_same_file =
      theirs.tensor_index == own.tensor_index && theirs.boundary == own.boundary;
  if (is_same_file || allow_mixed_formats) return;
  Refuse(
      "another model of the same shape, or another format of it (model.model_name_or_path): the "
      "client's fingerprint is ",
      Hex(theirs.tensor_index), "-", Hex(theirs.boundary), ", the server's ", Hex(own.tensor_index),
      "-", Hex(own.boundary), "; model.allow_mixed_formats in the server's config lets them meet");
}

// Options of the methods that the server takes part in beyond reading widths.
void TakeMethod(const transport::QuantRequest& quant, const config::ServerFileConfig& config,
                train::CutOptions* cut) {
  const std::optional<quant::Method> method = quant::ParseMethod(quant.method);
  if (!method) Refuse("quant.method '", quant.method, "' of the client is unknown");
  cut->method = *method;
  if (quant.group_size < 32 || quant.group_size > 128 || quant.group_size % 8 != 0) {
    Refuse("quant.group_size is ", quant.group_size,
           " at the client, a multiple of 8 from 32 to 128 here");
  }
  cut->group_size = quant.group_size;
  const bool has_no_channel_widths = *method == quant::Method::kGroup ||
                                     *method == quant::Method::kTahquant ||
                                     *method == quant::Method::kAmaqRd;
  if (quant.gradient_bits == "own" && has_no_channel_widths) {
    Refuse("quant.gradient.bits is own at the client, which quant.method '", quant.method,
           "' has no widths for");
  }
  if (!quant::NeedsCache(*method)) return;
  if (quant.cache_bytes < 1 || quant.cache_bytes > config.limits.max_cache_bytes) {
    Refuse("quant.cache_bytes is ", quant.cache_bytes,
           " at the client, limits.max_cache_bytes of the server is ",
           config.limits.max_cache_bytes);
  }
  cut->cache_bytes = quant.cache_bytes;
  if (!config.server.cache_dir.empty()) cut->cache_dir = config.server.cache_dir;
}

// quant.axis: token: a width for each of `positions`.
void TakeAxis(const transport::QuantRequest& quant, const config::LimitsConfig& limits,
              train::CutOptions* cut) {
  const std::optional<quant::Axis> axis = quant::ParseAxis(quant.axis);
  if (!axis) Refuse("quant.axis '", quant.axis, "' of the client is unknown");
  if (*axis == quant::Axis::kChannel) return;
  const auto refuse = [](const char* key, const std::string& value) {
    Refuse("quant.axis of the client is token, which does not go with ", key, " '", value, "'");
  };
  if (!quant::HasTokenAxis(cut->method)) refuse("quant.method", quant.method);
  if (cut->range == quant::Range::kDelayed) refuse("quant.range", quant.range);
  if (quant.gradient_bits == "own") refuse("quant.gradient.bits", quant.gradient_bits);
  if (quant.gradient_method != "same") refuse("quant.gradient.method", quant.gradient_method);
  if (quant.entropy != "off") refuse("wire.entropy", quant.entropy);
  if (quant.positions < 1 || quant.positions > limits.max_tokens) {
    Refuse("quant.axis: token has ", quant.positions,
           " positions (data.max_length) at the client, limits.max_tokens of the server is ",
           limits.max_tokens);
  }
  cut->positions = quant.positions;
}

void TakeRange(const transport::QuantRequest& quant, train::CutOptions* cut) {
  const std::optional<quant::Range> range = quant::ParseRange(quant.range);
  if (!range) Refuse("quant.range '", quant.range, "' of the client is unknown");
  cut->range = *range;
  CheckNumber("quant.range_percentile", quant.range_percentile, 50, 100.001);
  cut->range_percentile = quant.range_percentile;
  CheckNumber("quant.range_margin", quant.range_margin, 1, 100.001);
  cut->range_margin = quant.range_margin;
  CheckNumber("quant.range_max_clipped", quant.range_max_clipped, 0, 1.001);
  cut->range_max_clipped = quant.range_max_clipped;
}

void TakeGradientMethod(const transport::QuantRequest& quant, const config::LimitsConfig& limits,
                        train::CutOptions* cut) {
  if (quant.gradient_method == "same") return;
  if (quant.gradient_method != "rd") {
    Refuse("quant.gradient.method '", quant.gradient_method, "' of the client is unknown");
  }
  if (!Contains(limits.methods, "amaq-rd")) {
    Refuse("quant.gradient.method is 'rd' at the client, limits.methods of the server allows ",
           Joined(limits.methods), ", without amaq-rd");
  }
  if (quant.gradient_bits != "same" || quant.gradient_bits_offset != 0) {
    Refuse("quant.gradient.method is rd at the client, with quant.gradient.bits '",
           quant.gradient_bits, "' and bits_offset ", quant.gradient_bits_offset,
           "; with rd they must be 'same' and 0");
  }
  CheckNumber("quant.gradient.target_bits", quant.gradient_target_bits, quant::kRdLowestRate,
              8.001);
  cut->gradient_rate = quant.gradient_target_bits;
}

void CheckCoderBytes(uint64_t bytes, const config::LimitsConfig& limits) {
  if (bytes <= limits.max_coder_bytes) return;
  Refuse("quant.method and quant.gradient.method of the client need up to ", bytes,
         " bytes for coders, limits.max_coder_bytes of the server is ", limits.max_coder_bytes);
}

train::CutOptions CutOf(const OpenRequest& request, const config::ServerFileConfig& config) {
  const transport::QuantRequest& quant = request.quant;
  train::CutOptions cut;
  TakeMethod(quant, config, &cut);
  cut.wire_dtype = WireDtype(quant.wire_dtype);
  TakeRange(quant, &cut);
  TakeAxis(quant, config.limits, &cut);
  if (quant.sink_tokens > 1)
    Refuse("quant.sink_tokens is ", quant.sink_tokens, " at the client, at most 1 here");
  cut.sink_tokens = quant.sink_tokens;
  cut.gradient_is_own = quant.gradient_bits == "own";
  if (quant.gradient_bits != "same" && !cut.gradient_is_own) {
    if (quant.gradient_bits.size() != 1 || quant.gradient_bits < "2" || quant.gradient_bits > "8") {
      Refuse("quant.gradient.bits '", quant.gradient_bits,
             "' of the client is neither 'same' nor 'own' nor 2 to 8");
    }
    cut.gradient_bits = static_cast<uint32_t>(quant.gradient_bits[0] - '0');
  }
  if (quant.gradient_bits_offset < -6 || quant.gradient_bits_offset > 6) {
    Refuse("quant.gradient.bits_offset is ", quant.gradient_bits_offset,
           " at the client, -6 to 6 here");
  }
  cut.gradient_bits_offset = quant.gradient_bits_offset;
  TakeGradientMethod(quant, config.limits, &cut);
  if (quant.gradient_rounding != "stochastic" && quant.gradient_rounding != "nearest") {
    Refuse("quant.gradient.rounding '", quant.gradient_rounding, "' of the client is unknown");
  }
  cut.gradient_rounding = quant.gradient_rounding == "stochastic" ? quant::Rounding::kStochastic
                                                                  : quant::Rounding::kNearestEven;
  cut.rd_memory = quant.rd_memory;
  cut.seed = request.seed;
  cut.cut = request.client_blocks;
  return cut;
}

quant::EntropyMode EntropyOf(const transport::QuantRequest& quant) {
  const std::optional<quant::EntropyMode> mode = quant::ParseEntropyMode(quant.entropy);
  if (!mode) Refuse("wire.entropy '", quant.entropy, "' of the client is unknown");
  return *mode;
}

// The gate of gradient.bits: own, which is this server's.
std::optional<quant::WidthConfig> GradientGateOf(const transport::QuantRequest& quant) {
  if (quant.gradient_bits != "own") return std::nullopt;
  const std::optional<quant::TargetSchedule> schedule = quant::ParseSchedule(quant.schedule);
  if (!schedule) Refuse("quant.schedule '", quant.schedule, "' of the client is unknown");
  quant::WidthConfig gate;
  gate.b_min = quant.b_min;
  gate.b_max = quant.b_max;
  gate.b_start = quant.b_start;
  gate.target_bits = quant.gradient_target_bits;
  gate.schedule = *schedule;
  gate.adapt_steps = quant.adapt_steps;
  return gate;
}

models::StageOptions StageOf(const OpenRequest& request, const std::string& device) {
  if (request.memory_policy != "fast" && request.memory_policy != "lean") {
    Refuse("train.memory '", request.memory_policy, "' of the client is unknown");
  }
  models::StageOptions options;
  options.lora.r = request.lora.r;
  options.lora.alpha = request.lora.alpha;
  options.lora.dropout = request.lora.dropout;
  options.lora.use_rslora = request.lora.use_rslora;
  options.lora.target_modules = lora::ResolveTargets(request.lora.target_modules);
  options.lora.seed = request.seed;
  options.compute_dtype = ParseDType(request.compute_dtype).value_or(DType::kF32);
  options.memory =
      request.memory_policy == "lean" ? models::MemoryPolicy::kLean : models::MemoryPolicy::kFast;
  options.device = device;
  return options;
}

std::string RandomId() {
  std::random_device device;
  const auto word = [&device] { return (uint64_t{device()} << 32) | device(); };
  const uint64_t high = word();
  return Hex(high) + Hex(word());
}

constexpr uint32_t kFirstEpoch = 1;

class SessionTable : public transport::Endpoint {
 public:
  explicit SessionTable(const config::ServerFileConfig& config)
      : config_(config), model_(models::OpenModel(config.model.model_name_or_path)) {}

  OpenReply Open(const OpenRequest& request) override {
    CheckLimits(request, config_.limits);
    CheckNumbers(request);
    const models::StageRange range = models::ServerRange(model_.spec, request.client_blocks);
    CheckModel(request, models::FingerprintOf(model_, request.client_blocks),
               config_.model.allow_mixed_formats);
    const models::StageOptions stage = StageOf(request, config_.device);
    const train::CutOptions cut = CutOf(request, config_);
    CheckCoderBytes(train::CoderBytes(cut, model_.spec.hidden), config_.limits);
    EngineOptions options{cut,
                          {request.optimizer.beta1, request.optimizer.beta2, request.optimizer.eps,
                           request.optimizer.weight_decay},
                          stage.lora,
                          request.max_tokens,
                          config_.limits.allow_fetch_adapter,
                          EntropyOf(request.quant),
                          GradientGateOf(request.quant)};
    const std::string id = Reserve();
    OpenReply reply;
    try {
      auto engine =
          std::make_shared<Engine>(models::LoadStage(model_, range, stage), options, kFirstEpoch);
      reply.trained_parameters = engine->num_parameters();
      MutexLock lock(mutex_);
      sessions_[id] = std::move(engine);
    } catch (...) {
      Close(id);
      throw;
    }
    reply.session_id = id;
    reply.epoch = kFirstEpoch;
    reply.server_version = kVersion;
    reply.max_tokens = request.max_tokens;
    reply.max_in_flight = request.in_flight;
    reply.fetch_adapter_allowed = config_.limits.allow_fetch_adapter;
    AMAQ_LOG(kInfo, "opened run ", request.run_id, ": blocks ", range.first_block, " to ",
             range.end_block - 1, ", ", reply.trained_parameters, " trained parameters, method ",
             request.quant.method);
    return reply;
  }

  std::shared_ptr<transport::Session> Find(const std::string& session_id, uint32_t epoch) override {
    MutexLock lock(mutex_);
    const auto found = sessions_.find(session_id);
    if (found == sessions_.end() || found->second == nullptr) {
      Throw(Code::kNotFound, "the server knows no such session");
    }
    if (epoch != kFirstEpoch) Throw(Code::kAborted, "the session is in epoch ", kFirstEpoch);
    return found->second;
  }

  void Close(const std::string& session_id) override {
    std::shared_ptr<Engine> closed;  // freed outside the lock
    MutexLock lock(mutex_);
    const auto found = sessions_.find(session_id);
    if (found == sessions_.end()) return;
    closed = std::move(found->second);
    sessions_.erase(found);
    if (closed != nullptr) AMAQ_LOG(kInfo, "closed a session; ", sessions_.size(), " left");
  }

 private:
  // Takes a place in the table before the half is loaded, so that the limit holds meanwhile.
  std::string Reserve() {
    MutexLock lock(mutex_);
    if (sessions_.size() >= config_.limits.max_sessions) {
      Throw(Code::kResourceExhausted, "the server has ", sessions_.size(),
            " sessions open, limits.max_sessions is ", config_.limits.max_sessions);
    }
    std::string id = RandomId();
    sessions_[id] = nullptr;
    return id;
  }

  const config::ServerFileConfig config_;
  const models::BaseModel model_;
  Mutex mutex_;
  std::map<std::string, std::shared_ptr<Engine>> sessions_ AMAQ_GUARDED_BY(mutex_);
};

}  // namespace

std::unique_ptr<transport::Endpoint> MakeEndpoint(const config::ServerFileConfig& config) {
  return std::make_unique<SessionTable>(config);
}

}  // namespace amaq::server
