#include "models/weight_names.h"

#include <algorithm>
#include <array>

#include "core/error.h"

namespace amaq::models {
namespace {

struct ModuleRow {
  std::string_view leaf;
  std::string_view parent;  // within a block of the Hugging Face model
  std::string_view gguf;
};

constexpr std::array<ModuleRow, 9> kModules = {{{"q_proj", "self_attn.", "attn_q"},
                                                {"k_proj", "self_attn.", "attn_k"},
                                                {"v_proj", "self_attn.", "attn_v"},
                                                {"o_proj", "self_attn.", "attn_output"},
                                                {"gate_proj", "mlp.", "ffn_gate"},
                                                {"up_proj", "mlp.", "ffn_up"},
                                                {"down_proj", "mlp.", "ffn_down"},
                                                {kInputNorm, "", "attn_norm"},
                                                {kPostNorm, "", "ffn_norm"}}};

constexpr std::string_view kBlockPrefix = "model.layers.";

}  // namespace

std::string ModuleName(int64_t block, std::string_view leaf) {
  for (const ModuleRow& row : kModules) {
    if (row.leaf == leaf) return StrCat(kBlockPrefix, block, ".", row.parent, leaf);
  }
  Throw(Code::kInvalidArgument, "a Llama block has no module '", leaf, "'");
}

std::string GgufTensorName(std::string_view global_name) {
  if (global_name == kEmbeddingName) return "token_embd.weight";
  if (global_name == kFinalNormName) return "output_norm.weight";
  if (global_name == kHeadName) return "output.weight";
  if (global_name.starts_with(kBlockPrefix)) {
    const std::string_view rest = global_name.substr(kBlockPrefix.size());
    const size_t dot = rest.find('.');
    for (const ModuleRow& row : kModules) {
      if (dot != std::string_view::npos &&
          rest.substr(dot + 1) == StrCat(row.parent, row.leaf, ".weight")) {
        return StrCat("blk.", rest.substr(0, dot), ".", row.gguf, ".weight");
      }
    }
  }
  Throw(Code::kInvalidArgument, "'", global_name, "' is not a tensor of a Llama model");
}

bool IsGgufTensorName(std::string_view name) {
  constexpr std::string_view kPrefix = "blk.";
  if (!name.starts_with(kPrefix)) {
    return name == "token_embd.weight" || name == "output_norm.weight" || name == "output.weight";
  }
  name.remove_prefix(kPrefix.size());
  const size_t dot = name.find('.');
  if (dot == 0 || dot == std::string_view::npos ||
      name.substr(0, dot).find_first_not_of("0123456789") != std::string_view::npos) {
    return false;
  }
  return std::ranges::any_of(kModules, [leaf = name.substr(dot + 1)](const ModuleRow& row) {
    return leaf == StrCat(row.gguf, ".weight");
  });
}

}  // namespace amaq::models
