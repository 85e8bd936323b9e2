#include "lora/peft_adapter.h"

#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "core/error.h"
#include "io/json.h"
#include "io/safetensors.h"
#include "tensor/bridge.h"

namespace amaq::lora {
namespace {

using nlohmann::json;

constexpr std::string_view kPrefix = "base_model.model.";
constexpr std::string_view kBlockPrefix = "base_model.model.model.layers.";
constexpr uint64_t kMaxRank = 1 << 16;
const std::map<std::string, std::string> kMetadata = {{"format", "pt"}};

std::string TensorName(const LowRank& adapter, char matrix) {
  return StrCat(kPrefix, adapter.name(), ".lora_", matrix, ".weight");
}

struct OwnedTensor {
  std::string name;
  std::vector<int64_t> shape;
  std::vector<float> values;
};

Bytes Serialize(const std::vector<OwnedTensor>& tensors) {
  std::vector<io::F32Tensor> views;
  views.reserve(tensors.size());
  for (const OwnedTensor& tensor : tensors)
    views.push_back({tensor.name, tensor.shape, tensor.values});
  return io::SerializeSafetensors(std::move(views), kMetadata);
}

void AppendAll(const io::TensorSource& source, std::vector<OwnedTensor>* out) {
  for (const io::TensorInfo& info : source.tensors()) {
    OwnedTensor tensor{info.name, info.shape, std::vector<float>(info.num_elements)};
    source.ReadF32(info.name, tensor.values);
    out->push_back(std::move(tensor));
  }
}

// The values of one matrix, checked against the shape that the adapter wants.
at::Tensor ReadMatrix(const io::TensorSource& source, const std::string& name,
                      const at::Tensor& like) {
  const io::TensorInfo* info = source.Find(name);
  if (info == nullptr) {
    Throw(Code::kInvalidArgument, source.path(), " lacks tensor ", name);
  }
  if (info->shape != like.sizes().vec()) {
    std::string shape;
    for (const int64_t size : info->shape) shape += StrCat(shape.empty() ? "" : ", ", size);
    Throw(Code::kInvalidArgument, "tensor ", name, " of ", source.path(), " has shape [", shape,
          "], this run's has [", like.size(0), ", ", like.size(1), "]");
  }
  at::Tensor values = tensor::EmptyFloats(like.size(0), like.size(1));
  source.ReadF32(name, tensor::Floats(values));
  for (const float value : tensor::Floats(values)) {
    if (!std::isfinite(value)) {
      Throw(Code::kInvalidArgument, "tensor ", name, " of ", source.path(),
            " holds a value that is not finite");
    }
  }
  return values;
}

// The block that a tensor's name says; -1 if it says none.
int64_t BlockOf(std::string_view name) {
  if (!name.starts_with(kBlockPrefix)) return -1;
  name.remove_prefix(kBlockPrefix.size());
  int64_t block = -1;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), block);
  if (error != std::errc() || end == name.data() + name.size() || *end != '.') return -1;
  return block;
}

}  // namespace

Bytes SerializeAdapter(const std::vector<LowRank*>& adapters) {
  std::vector<OwnedTensor> tensors;
  for (const LowRank* adapter : adapters) {
    for (const auto& [matrix, values] :
         {std::pair{'A', adapter->a()}, std::pair{'B', adapter->b()}}) {
      const at::Tensor host = tensor::OnHost(values.to(at::kFloat));
      const std::span<const float> floats = tensor::Floats(host);
      tensors.push_back({TensorName(*adapter, matrix), host.sizes().vec(),
                         std::vector<float>(floats.begin(), floats.end())});
    }
  }
  return Serialize(tensors);
}

void LoadAdapter(ByteSpan safetensors, const std::vector<LowRank*>& adapters,
                 const std::string& what) {
  const auto source = io::SafetensorsFile::FromBytes(safetensors, what);
  std::set<std::string> expected;
  std::vector<std::pair<at::Tensor*, at::Tensor>> updates;
  for (LowRank* adapter : adapters) {
    for (const auto& [matrix, target] :
         {std::pair{'A', &adapter->a()}, std::pair{'B', &adapter->b()}}) {
      const std::string name = TensorName(*adapter, matrix);
      expected.insert(name);
      updates.emplace_back(target, ReadMatrix(*source, name, *target));
    }
  }
  for (const io::TensorInfo& info : source->tensors()) {
    if (!expected.contains(info.name)) {
      Throw(Code::kInvalidArgument, what, " holds tensor ", info.name,
            ", which this run does not adapt");
    }
  }
  for (const auto& [target, values] : updates) target->copy_(values);
}

Bytes JoinAdapters(ByteSpan client_half, ByteSpan server_half) {
  std::vector<OwnedTensor> tensors;
  AppendAll(*io::SafetensorsFile::FromBytes(client_half, "the client's half"), &tensors);
  AppendAll(*io::SafetensorsFile::FromBytes(server_half, "the server's half"), &tensors);
  return Serialize(tensors);
}

AdapterHalves SplitAdapter(ByteSpan safetensors, int64_t client_blocks, int64_t num_blocks,
                           const std::string& what) {
  std::vector<OwnedTensor> all;
  AppendAll(*io::SafetensorsFile::FromBytes(safetensors, what), &all);
  std::vector<OwnedTensor> client;
  std::vector<OwnedTensor> server;
  for (OwnedTensor& tensor : all) {
    const int64_t block = BlockOf(tensor.name);
    if (block < 0 || block >= num_blocks) {
      Throw(Code::kInvalidArgument, what, " holds tensor ", tensor.name,
            ", which belongs to none of the model's ", num_blocks, " blocks");
    }
    (block < client_blocks ? client : server).push_back(std::move(tensor));
  }
  return {Serialize(client), Serialize(server)};
}

std::string PeftConfigJson(const PeftConfig& config) {
  json out = {{"peft_type", "LORA"},
              {"task_type", "CAUSAL_LM"},
              {"base_model_name_or_path", config.base_model_name_or_path},
              {"revision", nullptr},
              {"inference_mode", true},
              {"r", config.lora.r},
              {"lora_alpha", config.lora.alpha},
              {"lora_dropout", config.lora.dropout},
              {"bias", "none"},
              {"fan_in_fan_out", false},
              {"target_modules", config.lora.target_modules},
              {"modules_to_save", nullptr},
              {"init_lora_weights", true},
              {"layers_to_transform", nullptr},
              {"layers_pattern", nullptr},
              {"use_rslora", config.lora.use_rslora},
              {"rank_pattern", json::object()},
              {"alpha_pattern", json::object()}};
  const double alpha = config.lora.alpha;
  if (alpha == std::floor(alpha)) out["lora_alpha"] = static_cast<int64_t>(alpha);
  if (config.layers_to_transform) {
    out["layers_to_transform"] = *config.layers_to_transform;
    out["layers_pattern"] = "layers";
  }
  return out.dump(2) + "\n";
}

namespace {

// These start values come with a base model whose weights were changed; such an adapter means
// nothing on the model that its config names.
void RefuseChangedBase(const json& config, const std::string& what) {
  const json* init = io::FindJsonMember(config, "init_lora_weights");
  if (init == nullptr || !init->is_string()) return;
  const auto name = init->get<std::string>();
  for (const char* kind : {"pissa", "olora", "loftq", "corda"}) {
    if (name.starts_with(kind)) {
      Throw(Code::kUnimplemented, what, " sets init_lora_weights to '", name,
            "', which goes with a changed base model; this version does not run it");
    }
  }
}

}  // namespace

PeftConfig ParsePeftConfig(const std::string& text, const std::string& what) {
  const json config = io::ParseJson(text, what);
  if (io::JsonString(config, "peft_type", what) != "LORA") {
    Throw(Code::kInvalidArgument, what, " is not the config of a LoRA adapter");
  }
  for (const char* key :
       {"use_dora", "use_qalora", "lora_bias", "fan_in_fan_out", "modules_to_save", "rank_pattern",
        "alpha_pattern", "target_parameters", "layer_replication", "trainable_token_indices"}) {
    const json* value = io::FindJsonMember(config, key);
    if (value != nullptr && *value != false && !value->empty()) {
      Throw(Code::kUnimplemented, what, " sets ", key, ", which this version does not train");
    }
  }
  const json* bias = io::FindJsonMember(config, "bias");
  if (bias != nullptr && *bias != "none") {
    Throw(Code::kUnimplemented, what, " sets bias, which this version does not train");
  }
  RefuseChangedBase(config, what);
  PeftConfig parsed;
  const uint64_t rank = io::JsonUint(config, "r", what);
  if (rank < 1 || rank > kMaxRank) {
    Throw(Code::kInvalidArgument, what, ": r must be in [1, ", kMaxRank, "], got ", rank);
  }
  parsed.lora.r = static_cast<int64_t>(rank);
  parsed.lora.alpha = io::JsonNumber(config, "lora_alpha", what);
  const json* rslora = io::FindJsonMember(config, "use_rslora");
  parsed.lora.use_rslora = rslora != nullptr && *rslora == true;
  const json& targets = io::JsonMember(config, "target_modules", what);
  std::vector<std::string> names;
  if (targets.is_string()) names.push_back(targets.get<std::string>());
  for (const json& target : targets.is_array() ? targets : json::array()) {
    if (target.is_string()) names.push_back(target.get<std::string>());
  }
  parsed.lora.target_modules = ResolveTargets(names);
  return parsed;
}

}  // namespace amaq::lora
