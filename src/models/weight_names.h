#ifndef AMAQ_MODELS_WEIGHT_NAMES_H_
#define AMAQ_MODELS_WEIGHT_NAMES_H_

// Names of a Llama model's tensors: the global names are Hugging Face's; GGUF has its own. Pure
// functions over two tables.

#include <cstdint>
#include <string>
#include <string_view>

namespace amaq::models {

inline constexpr std::string_view kEmbeddingName = "model.embed_tokens.weight";
inline constexpr std::string_view kFinalNormName = "model.norm.weight";
inline constexpr std::string_view kHeadName = "lm_head.weight";
inline constexpr std::string_view kInputNorm = "input_layernorm";
inline constexpr std::string_view kPostNorm = "post_attention_layernorm";

// "model.layers.3.self_attn.q_proj" for leaf "q_proj", "model.layers.3.input_layernorm" and so on.
std::string ModuleName(int64_t block, std::string_view leaf);

// The GGUF name of a global tensor name ("blk.3.attn_q.weight").
// Errors: kInvalidArgument for a name outside the tables.
std::string GgufTensorName(std::string_view global_name);

// Whether a GGUF file's tensor is one that GgufTensorName names.
bool IsGgufTensorName(std::string_view name);

}  // namespace amaq::models

#endif  // AMAQ_MODELS_WEIGHT_NAMES_H_
