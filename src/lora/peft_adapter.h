#ifndef AMAQ_LORA_PEFT_ADAPTER_H_
#define AMAQ_LORA_PEFT_ADAPTER_H_

// The PEFT adapter folder: adapter_config.json and adapter_model.safetensors. Strict both ways: a
// tensor too many or too few is an error, since other loaders drop what they do not know in
// silence. Pure functions. Source: PEFT's on-disk format; only the keys that every version knows
// are written.

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/section.h"
#include "lora/init.h"
#include "lora/low_rank.h"

namespace amaq::lora {

struct PeftConfig {
  LoraOptions lora;  // seed is not part of it
  std::string base_model_name_or_path;
  // Only these blocks are in the adapter (a client's half); nullopt: all.
  std::optional<std::vector<int64_t>> layers_to_transform;
};

// The tensors of `adapters` as the bytes of a safetensors file, F32, names
// "base_model.model.<module>.lora_A.weight" and "...lora_B.weight".
Bytes SerializeAdapter(const std::vector<LowRank*>& adapters);

// Overwrites A and B of `adapters` with the tensors of a safetensors file in the form above, which
// must hold exactly those of `adapters`. `what` names it in errors. Errors: kInvalidArgument naming
// the tensor that is missing, unexpected, of another shape or not finite. Nothing is changed on
// error.
void LoadAdapter(ByteSpan safetensors, const std::vector<LowRank*>& adapters,
                 const std::string& what);

// Halves that belong together as one file. Errors: kInvalidArgument when a tensor is in both.
Bytes JoinAdapters(ByteSpan client_half, ByteSpan server_half);

struct AdapterHalves {
  Bytes client, server;
};
// A joined file as the blocks below and above the cut. `what` names it in errors.
// Errors: kInvalidArgument naming a tensor outside the model's blocks.
AdapterHalves SplitAdapter(ByteSpan safetensors, int64_t client_blocks, int64_t num_blocks,
                           const std::string& what);

std::string PeftConfigJson(const PeftConfig& config);
// Errors: kInvalidArgument for a file that is no LoRA config; kUnimplemented for keys that change
// the arithmetic (DoRA, rank patterns, bias, ...), naming them.
PeftConfig ParsePeftConfig(const std::string& text, const std::string& what);

}  // namespace amaq::lora

#endif  // AMAQ_LORA_PEFT_ADAPTER_H_
