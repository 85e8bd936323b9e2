#include "models/model_spec.h"

#include <array>
#include <charconv>
#include <system_error>
#include <utility>

#include "core/check.h"
#include "core/error.h"

namespace amaq::models {
namespace {

// The shortest text that reads back as the same value: equal texts mean equal numbers.
std::string Exact(double value) {
  std::array<char, 32> text;
  const auto [end, error] = std::to_chars(text.data(), text.data() + text.size(), value);
  AMAQ_CHECK(error == std::errc());
  return std::string(text.data(), end);
}

}  // namespace

std::string CanonicalText(const ModelSpec& spec) {
  return StrCat("llama blocks=", spec.num_blocks, " hidden=", spec.hidden, " ffn=", spec.ffn,
                " heads=", spec.heads, " kv_heads=", spec.kv_heads, " head_dim=", spec.head_dim,
                " vocab=", spec.vocab, " rope_theta=", Exact(spec.rope_theta),
                " eps=", Exact(spec.norm_eps), " tied=", spec.tied_embeddings ? "yes" : "no");
}

void Validate(const ModelSpec& spec) {
  const std::array<std::pair<const char*, int64_t>, 8> sizes = {
      {{"the number of blocks", spec.num_blocks},
       {"the hidden size", spec.hidden},
       {"the feed-forward size", spec.ffn},
       {"the number of heads", spec.heads},
       {"the number of KV heads", spec.kv_heads},
       {"the head size", spec.head_dim},
       {"the vocabulary", spec.vocab},
       {"the context length", spec.max_positions}}};
  for (const auto& [name, value] : sizes) {
    if (value < 1 || value > (1 << 24)) {
      Throw(Code::kInvalidArgument, name, " of the model must be in [1, 16777216], got ", value);
    }
  }
  if (spec.heads % spec.kv_heads != 0) {
    Throw(Code::kInvalidArgument, "the model has ", spec.heads, " heads, not a multiple of its ",
          spec.kv_heads, " KV heads");
  }
  if (spec.head_dim % 2 != 0) {
    Throw(Code::kInvalidArgument,
          "the head size of the model must be even for rotary embedding, got ", spec.head_dim);
  }
}

}  // namespace amaq::models
