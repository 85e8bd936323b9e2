#include "tests/support/tiny_hf_model.h"

#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/bytes.h"
#include "core/error.h"
#include "core/rng.h"
#include "io/file.h"
#include "io/safetensors.h"
#include "models/weight_names.h"
#include "tests/data/tiny_tokenizer.h"
#include "tests/support/gguf_builder.h"

namespace amaq::test {
namespace {

using nlohmann::json;

void AddUniform(const std::string& name, std::vector<int64_t> shape, double middle, double bound,
                uint64_t seed, StoredTensors* tensors) {
  int64_t count = 1;
  for (const int64_t size : shape) count *= size;
  StoredTensor tensor{std::move(shape), std::vector<float>(static_cast<size_t>(count))};
  const uint64_t key = NamedKey(seed, name);
  for (size_t i = 0; i < tensor.values.size(); ++i) {
    const double value = 2 * static_cast<double>(UniformFloat(PhiloxWord(key, i))) - 1;
    tensor.values[i] = static_cast<float>(middle + bound * value);
  }
  (*tensors)[name] = std::move(tensor);
}

json TokenizerJson() {
  const data::TokenizerParts parts = TinyParts();
  json vocab = json::object();
  const size_t plain = parts.tokens.size() - parts.added.size();
  for (size_t id = 0; id < plain; ++id) vocab[parts.tokens[id]] = id;
  json added = json::array();
  for (const data::AddedToken& token : parts.added) {
    added.push_back({{"id", token.id}, {"content", token.content}, {"special", token.is_special}});
  }
  return {{"version", "1.0"},
          {"added_tokens", added},
          {"normalizer", nullptr},
          {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}}},
          {"post_processor", nullptr},
          {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", parts.merges}}}};
}

void AddGgufTokenizer(GgufBuilder* file) {
  const data::TokenizerParts parts = TinyParts();
  std::vector<int32_t> types(parts.tokens.size(), 1);
  for (const data::AddedToken& token : parts.added) {
    types[static_cast<size_t>(token.id)] = token.is_special ? 3 : 4;
  }
  file->String("tokenizer.ggml.model", "gpt2")
      .String("tokenizer.ggml.pre", "gpt-2")
      .Strings("tokenizer.ggml.tokens", parts.tokens)
      .Strings("tokenizer.ggml.merges", parts.merges)
      .Array("tokenizer.ggml.token_type", 5, types)
      .Uint("tokenizer.ggml.eos_token_id", kTinyEos);
}

// Row 2 j + half of a head is row half * d / 2 + j of the Hugging Face matrix.
std::vector<float> Interleaved(const StoredTensor& tensor, int64_t head_dim) {
  const auto columns = static_cast<size_t>(tensor.shape[1]);
  const auto size = static_cast<size_t>(head_dim);
  std::vector<float> out(tensor.values.size());
  for (size_t row = 0; row < static_cast<size_t>(tensor.shape[0]); ++row) {
    const size_t head = row / size;
    const size_t half = row % size / (size / 2);
    const size_t to = head * size + 2 * (row % size % (size / 2)) + half;
    for (size_t c = 0; c < columns; ++c) out[to * columns + c] = tensor.values[row * columns + c];
  }
  return out;
}

}  // namespace

models::ModelSpec TinyFileSpec() {
  models::ModelSpec spec;
  spec.num_blocks = 4;
  spec.hidden = 32;
  spec.ffn = 48;
  spec.heads = 4;
  spec.kv_heads = 2;
  spec.head_dim = 8;
  spec.vocab = 272;
  spec.max_positions = 128;
  return spec;
}

StoredTensors TinyTensors(const models::ModelSpec& spec, uint64_t seed) {
  StoredTensors tensors;
  const auto matrix = [&](const std::string& name, int64_t rows, int64_t columns) {
    const double bound = std::sqrt(3.0 / static_cast<double>(columns));  // variance 1 / columns
    AddUniform(name, {rows, columns}, 0, bound, seed, &tensors);
  };
  const auto norm = [&](const std::string& name) {
    AddUniform(name, {spec.hidden}, 1, 0.3, seed, &tensors);
  };
  AddUniform("model.embed_tokens.weight", {spec.vocab, spec.hidden}, 0, 1, seed, &tensors);
  for (int64_t block = 0; block < spec.num_blocks; ++block) {
    const std::string prefix = StrCat("model.layers.", block, ".");
    norm(prefix + "input_layernorm.weight");
    matrix(prefix + "self_attn.q_proj.weight", spec.query_width(), spec.hidden);
    matrix(prefix + "self_attn.k_proj.weight", spec.kv_width(), spec.hidden);
    matrix(prefix + "self_attn.v_proj.weight", spec.kv_width(), spec.hidden);
    matrix(prefix + "self_attn.o_proj.weight", spec.hidden, spec.query_width());
    norm(prefix + "post_attention_layernorm.weight");
    matrix(prefix + "mlp.gate_proj.weight", spec.ffn, spec.hidden);
    matrix(prefix + "mlp.up_proj.weight", spec.ffn, spec.hidden);
    matrix(prefix + "mlp.down_proj.weight", spec.hidden, spec.ffn);
  }
  norm("model.norm.weight");
  if (!spec.tied_embeddings) {
    AddUniform("lm_head.weight", {spec.vocab, spec.hidden}, 0, 1, seed, &tensors);
  }
  return tensors;
}

std::string HfConfig(const models::ModelSpec& spec) {
  const json config = {{"architectures", {"LlamaForCausalLM"}},
                       {"model_type", "llama"},
                       {"num_hidden_layers", spec.num_blocks},
                       {"hidden_size", spec.hidden},
                       {"intermediate_size", spec.ffn},
                       {"num_attention_heads", spec.heads},
                       {"num_key_value_heads", spec.kv_heads},
                       {"head_dim", spec.head_dim},
                       {"vocab_size", spec.vocab},
                       {"max_position_embeddings", spec.max_positions},
                       {"rope_theta", spec.rope_theta},
                       {"rms_norm_eps", spec.norm_eps},
                       {"hidden_act", "silu"},
                       {"attention_bias", false},
                       {"mlp_bias", false},
                       {"rope_scaling", nullptr},
                       {"tie_word_embeddings", spec.tied_embeddings}};
  return config.dump(2) + "\n";
}

void WriteText(const std::string& path, const std::string& text) {
  io::WriteFileAtomically(path, std::string_view(text));
}

void WriteHfModel(const std::string& folder, const std::string& config,
                  const StoredTensors& tensors) {
  std::filesystem::create_directories(folder);
  WriteText(folder + "/config.json", config);
  std::vector<io::F32Tensor> views;
  for (const auto& [name, tensor] : tensors) views.push_back({name, tensor.shape, tensor.values});
  io::WriteFileAtomically(folder + "/model.safetensors",
                          io::SerializeSafetensors(std::move(views), {{"format", "pt"}}));
  WriteText(folder + "/tokenizer.json", TokenizerJson().dump());
  WriteText(folder + "/tokenizer_config.json", json{{"eos_token", "<|im_end|>"}}.dump());
}

void WriteGgufModel(const std::string& path, const models::ModelSpec& spec,
                    const StoredTensors& tensors) {
  constexpr uint32_t kFloat32 = 6;  // of the format's values
  const auto uint = [](int64_t value) { return static_cast<uint32_t>(value); };
  GgufBuilder file;
  file.String("general.architecture", "llama")
      .Uint("llama.block_count", uint(spec.num_blocks))
      .Uint("llama.context_length", uint(spec.max_positions))
      .Uint("llama.embedding_length", uint(spec.hidden))
      .Uint("llama.feed_forward_length", uint(spec.ffn))
      .Uint("llama.attention.head_count", uint(spec.heads))
      .Uint("llama.attention.head_count_kv", uint(spec.kv_heads))
      .Uint("llama.attention.key_length", uint(spec.head_dim))
      .Scalar("llama.attention.layer_norm_rms_epsilon", kFloat32, static_cast<float>(spec.norm_eps))
      .Scalar("llama.rope.freq_base", kFloat32, static_cast<float>(spec.rope_theta));
  AddGgufTokenizer(&file);
  for (const auto& [name, tensor] : tensors) {
    const bool is_query_or_key = name.ends_with("q_proj.weight") || name.ends_with("k_proj.weight");
    const std::vector<float> values =
        is_query_or_key ? Interleaved(tensor, spec.head_dim) : tensor.values;
    Bytes bytes;
    for (const float value : values) AppendLittleEndian(&bytes, value);
    const std::vector<uint64_t> dimensions(tensor.shape.rbegin(), tensor.shape.rend());
    file.Tensor(models::GgufTensorName(name), dimensions, /*F32*/ 0, bytes);
  }
  io::WriteFileAtomically(path, file.Build());
}

void WriteRecords(const std::string& path, uint32_t count, uint64_t seed) {
  std::string text;
  for (uint32_t i = 0; i < count; ++i) {
    const uint32_t a = PhiloxWord(seed, 2 * i) % 900;
    const uint32_t b = PhiloxWord(seed, 2 * i + 1) % 90;
    const json record = {{"prompt", StrCat("hello ", a, " and ", b, " are")},
                         {"completion", StrCat(" ", a + b, " #### ", a + b)}};
    text += record.dump() + "\n";
  }
  WriteText(path, text);
}

}  // namespace amaq::test
