#include <array>
#include <charconv>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "io/file.h"
#include "io/gguf.h"
#include "io/json.h"
#include "models/loader.h"
#include "models/weight_names.h"

namespace amaq::models {
namespace {

constexpr uint64_t kMaxConfigBytes = 1 << 20;

using nlohmann::json;

int64_t Size(const json& config, std::string_view key, const std::string& what) {
  return static_cast<int64_t>(io::JsonUint(config, key, what));
}

int64_t SizeOr(const json& config, std::string_view key, const std::string& what,
               int64_t fallback) {
  return io::FindJsonMember(config, key) == nullptr ? fallback : Size(config, key, what);
}

// Options of transformers' LlamaConfig that would change the arithmetic.
void RefuseUnsupported(const json& config, const std::string& what) {
  const std::string type = io::JsonString(config, "model_type", what);
  if (type != "llama") {
    Throw(Code::kUnimplemented, what, " describes a '", type, "' model; this version runs 'llama'");
  }
  for (const char* key : {"attention_bias", "mlp_bias"}) {
    const json* value = io::FindJsonMember(config, key);
    if (value != nullptr && *value != false) {
      Throw(Code::kUnimplemented, what, " sets ", key, ", which this version does not run");
    }
  }
  const json* activation = io::FindJsonMember(config, "hidden_act");
  if (activation != nullptr && *activation != "silu") {
    Throw(Code::kUnimplemented, what, " sets hidden_act to ", activation->dump(),
          "; this version runs silu");
  }
}

// Older configs have rope_theta and rope_scaling, newer ones rope_parameters.
double RopeTheta(const json& config, const std::string& what) {
  const json* scaling = io::FindJsonMember(config, "rope_scaling");
  const json* parameters = io::FindJsonMember(config, "rope_parameters");
  for (const json* rope : {scaling, parameters}) {
    if (rope == nullptr) continue;
    const json* type = io::FindJsonMember(*rope, "rope_type");
    if (type != nullptr && *type != "default") {
      Throw(Code::kUnimplemented, what, " scales the rotary embedding (", type->dump(),
            "), which this version does not run");
    }
  }
  if (parameters != nullptr) return io::JsonNumber(*parameters, "rope_theta", what);
  if (scaling != nullptr && io::FindJsonMember(*scaling, "rope_type") == nullptr) {
    Throw(Code::kUnimplemented, what, " sets rope_scaling, which this version does not run");
  }
  return io::FindJsonMember(config, "rope_theta") == nullptr
             ? 10000.0
             : io::JsonNumber(config, "rope_theta", what);
}

ModelSpec SpecOfHfConfig(const std::string& folder) {
  const std::string what = folder + "/config.json";
  const json config = io::ParseJson(io::ReadTextFile(what, kMaxConfigBytes), what);
  RefuseUnsupported(config, what);
  ModelSpec spec;
  spec.num_blocks = Size(config, "num_hidden_layers", what);
  spec.hidden = Size(config, "hidden_size", what);
  spec.ffn = Size(config, "intermediate_size", what);
  spec.heads = Size(config, "num_attention_heads", what);
  spec.kv_heads = SizeOr(config, "num_key_value_heads", what, spec.heads);
  spec.head_dim = SizeOr(config, "head_dim", what, spec.heads > 0 ? spec.hidden / spec.heads : 0);
  spec.vocab = Size(config, "vocab_size", what);
  spec.max_positions = Size(config, "max_position_embeddings", what);
  spec.rope_theta = RopeTheta(config, what);
  spec.norm_eps = io::JsonNumber(config, "rms_norm_eps", what);
  const json* tied = io::FindJsonMember(config, "tie_word_embeddings");
  spec.tied_embeddings = tied != nullptr && *tied == true;
  return spec;
}

// The file stores fp32 where a config.json writes decimals: 1e-5 must be the same number in both.
double AsWritten(double stored) {
  const auto single = static_cast<float>(stored);
  if (static_cast<double>(single) != stored) return stored;
  std::array<char, 32> text;
  const auto written = std::to_chars(text.data(), text.data() + text.size(), single);
  double value = stored;
  std::from_chars(text.data(), written.ptr, value);
  return value;
}

// A tensor that our arithmetic would pass over changes what the model says: a bias, the factors of
// a scaled rotary embedding, experts.
void RefuseUnknownTensors(const io::GgufFile& file) {
  for (const io::TensorInfo& info : file.tensors()) {
    if (!IsGgufTensorName(info.name)) {
      Throw(Code::kUnimplemented, file.path(), " holds tensor ", info.name,
            ", which this version does not run");
    }
  }
}

ModelSpec SpecOfGguf(const io::GgufFile& file) {
  const std::string& architecture = file.String("general.architecture");
  if (architecture != "llama") {
    Throw(Code::kUnimplemented, file.path(), " holds a '", architecture,
          "' model; this version runs 'llama'");
  }
  const auto size = [&file](const char* key) { return static_cast<int64_t>(file.Uint(key)); };
  const auto* scaling = file.FindValue("llama.rope.scaling.type");
  if (scaling != nullptr && file.String("llama.rope.scaling.type") != "none") {
    Throw(Code::kUnimplemented, file.path(),
          " scales the rotary embedding, which this version does not run");
  }
  RefuseUnknownTensors(file);
  ModelSpec spec;
  spec.num_blocks = size("llama.block_count");
  spec.hidden = size("llama.embedding_length");
  spec.ffn = size("llama.feed_forward_length");
  spec.heads = size("llama.attention.head_count");
  spec.kv_heads = file.FindValue("llama.attention.head_count_kv") == nullptr
                      ? spec.heads
                      : size("llama.attention.head_count_kv");
  spec.head_dim = file.FindValue("llama.attention.key_length") == nullptr
                      ? (spec.heads > 0 ? spec.hidden / spec.heads : 0)
                      : size("llama.attention.key_length");
  spec.max_positions = size("llama.context_length");
  spec.rope_theta = file.FindValue("llama.rope.freq_base") == nullptr
                        ? 10000.0
                        : AsWritten(file.Number("llama.rope.freq_base"));
  spec.norm_eps = AsWritten(file.Number("llama.attention.layer_norm_rms_epsilon"));
  const io::TensorInfo& table = file.Get(GgufTensorName(kEmbeddingName));
  spec.vocab = table.shape.front();
  spec.tied_embeddings = file.Find(GgufTensorName(kHeadName)) == nullptr;
  return spec;
}

}  // namespace

BaseModel OpenModel(const std::string& path) {
  if (path.empty()) {
    Throw(Code::kInvalidArgument,
          "model.model_name_or_path is not set: give a GGUF file or a folder "
          "with config.json and safetensors files");
  }
  std::error_code failure;
  const bool is_folder = std::filesystem::is_directory(path, failure);
  BaseModel model;
  model.path = path;
  if (is_folder) {
    model.format = ModelFormat::kHuggingFace;
    model.spec = SpecOfHfConfig(path);
    model.tensors = io::OpenHfDirectory(path);
  } else {
    model.format = ModelFormat::kGguf;
    auto file = io::GgufFile::Open(path);
    model.spec = SpecOfGguf(*file);
    model.tensors = std::move(file);
  }
  try {
    Validate(model.spec);
  } catch (const Error& error) {
    throw Error(error.code(), StrCat(path, ": ", error.message()));
  }
  return model;
}

}  // namespace amaq::models
