#ifndef AMAQ_TESTS_SUPPORT_TINY_HF_MODEL_H_
#define AMAQ_TESTS_SUPPORT_TINY_HF_MODEL_H_

// Model files for tests that load from disk: a small Llama with a byte-level tokenizer, as a
// Hugging Face folder or as a GGUF file with the same weights, and a JSONL data set. All contents
// are pure functions of a seed. What is written can be changed first, so that tests can also write
// wrong files.

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "models/model_spec.h"

namespace amaq::test {

// 4 blocks, hidden 32, ffn 48, 4 heads over 2 KV heads of 8, 272 tokens, context of 128, tied.
models::ModelSpec TinyFileSpec();

struct StoredTensor {
  std::vector<int64_t> shape;
  std::vector<float> values;
};
using StoredTensors = std::map<std::string, StoredTensor>;  // by Hugging Face name

StoredTensors TinyTensors(const models::ModelSpec& spec, uint64_t seed = 7);

// The text of config.json.
std::string HfConfig(const models::ModelSpec& spec);

// Makes the folder: config.json, model.safetensors, tokenizer.json, tokenizer_config.json.
void WriteHfModel(const std::string& folder, const std::string& config,
                  const StoredTensors& tensors);

// The same model as one F32 file. Q and K rows of each head are interleaved, as the format has
// them.
void WriteGgufModel(const std::string& path, const models::ModelSpec& spec,
                    const StoredTensors& tensors);

// Records {"prompt", "completion"} of 15 to 30 tokens.
void WriteRecords(const std::string& path, uint32_t count, uint64_t seed);

void WriteText(const std::string& path, const std::string& text);

}  // namespace amaq::test

#endif  // AMAQ_TESTS_SUPPORT_TINY_HF_MODEL_H_
