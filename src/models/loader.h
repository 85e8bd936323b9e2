#ifndef AMAQ_MODELS_LOADER_H_
#define AMAQ_MODELS_LOADER_H_

// A base model on disk (a Hugging Face folder or a GGUF file) and the stages made of it. A party
// loads the tensors of its own range only; the file stays memory-mapped and its pages are dropped
// after use. Thread-safety: an opened model is immutable.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/dtype.h"
#include "io/tensor_source.h"
#include "lora/init.h"
#include "models/model_spec.h"
#include "models/stage.h"

namespace amaq::models {

enum class ModelFormat { kHuggingFace, kGguf };

struct BaseModel {
  std::string path;
  ModelFormat format = ModelFormat::kHuggingFace;
  ModelSpec spec;
  std::unique_ptr<io::TensorSource> tensors;
};

// Errors: kNotFound when there is nothing at `path`; kInvalidArgument for a broken file;
// kUnimplemented naming the architecture or option that is not supported.
BaseModel OpenModel(const std::string& path);

struct StageOptions {
  lora::LoraOptions lora;
  DType compute_dtype = DType::kF32;
  MemoryPolicy memory = MemoryPolicy::kFast;
  std::string device = "cpu";
};

// Errors: kInvalidArgument naming a tensor that is missing or has another shape than the model's
// config says (both shapes).
std::unique_ptr<Stage> LoadStage(const BaseModel& model, const StageRange& range,
                                 const StageOptions& options);

// Bytes that the frozen tensors of `range` take in memory in the compute type.
uint64_t StageBytes(const ModelSpec& spec, const StageRange& range, DType compute_dtype);

// Who the model is: digest of name, shape and stored type of all tensors, and of the stored bytes
// of the blocks at both sides of the cut.
struct Fingerprint {
  std::string config;
  uint64_t tensor_index = 0;
  uint64_t boundary = 0;
};
Fingerprint FingerprintOf(const BaseModel& model, int64_t client_blocks);

}  // namespace amaq::models

#endif  // AMAQ_MODELS_LOADER_H_
