#ifndef AMAQ_MODELS_MODEL_SPEC_H_
#define AMAQ_MODELS_MODEL_SPEC_H_

// The shape of a decoder of the Llama family. Value type.

#include <cstdint>
#include <string>

namespace amaq::models {

struct ModelSpec {
  int64_t num_blocks = 0;
  int64_t hidden = 0;  // H
  int64_t ffn = 0;
  int64_t heads = 0;
  int64_t kv_heads = 0;
  int64_t head_dim = 0;
  int64_t vocab = 0;  // V
  int64_t max_positions = 0;
  double rope_theta = 10000;
  double norm_eps = 1e-5;
  bool tied_embeddings = true;

  int64_t query_width() const { return heads * head_dim; }
  int64_t kv_width() const { return kv_heads * head_dim; }
  bool operator==(const ModelSpec&) const = default;
};

// One line that both parties compare: "llama blocks=30 hidden=576 ...".
std::string CanonicalText(const ModelSpec& spec);

// Errors: kInvalidArgument naming the first field that cannot be (heads not a multiple of kv_heads,
// odd head_dim, a size of zero or beyond 2^24).
void Validate(const ModelSpec& spec);

}  // namespace amaq::models

#endif  // AMAQ_MODELS_MODEL_SPEC_H_
