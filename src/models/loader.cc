#include "models/loader.h"

#include <ATen/ops/empty.h>

#include "core/bytes.h"
#include "core/digest.h"
#include "core/error.h"
#include "models/weight_names.h"
#include "tensor/bridge.h"

namespace amaq::models {
namespace {

std::string ShapeText(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (const int64_t size : shape) text += StrCat(text.size() > 1 ? ", " : "", size);
  return text + "]";
}

// Reads tensors by their global names, checks shapes and undoes what the format did to them.
class TensorReader {
 public:
  TensorReader(const BaseModel& model, const StageOptions& options)
      : model_(model),
        type_(tensor::ToScalarType(options.compute_dtype)),
        device_(tensor::ParseDevice(options.device)) {}

  at::Tensor Vector(const std::string& name, int64_t size) const {
    at::Tensor out = at::empty({size}, at::kFloat);
    Read(name, {size}, tensor::Floats(out));
    return out.to(device_, type_);
  }

  at::Tensor Matrix(const std::string& name, int64_t rows, int64_t columns) const {
    return Stacked({{name, rows, 0}}, columns);
  }

  // head_dim > 0: rows are a Q or K projection.
  struct Part {
    std::string name;
    int64_t rows;
    int64_t head_dim;
  };

  // The matrices of `parts` below each other, read straight into place.
  at::Tensor Stacked(const std::vector<Part>& parts, int64_t columns) const {
    int64_t rows = 0;
    for (const Part& part : parts) rows += part.rows;
    at::Tensor out = tensor::EmptyFloats(rows, columns);
    const std::span<float> all = tensor::Floats(out);
    size_t offset = 0;
    for (const Part& part : parts) {
      const auto count = static_cast<size_t>(part.rows * columns);
      Read(part.name, {part.rows, columns}, all.subspan(offset, count));
      if (part.head_dim > 0 && model_.format == ModelFormat::kGguf) {
        at::Tensor slice = out.narrow(0, static_cast<int64_t>(offset) / columns, part.rows);
        slice.copy_(HalfRotatedOrder(slice, part.head_dim));
      }
      offset += count;
    }
    return out.to(device_, type_);
  }

 private:
  // GGUF keeps Q and K rows of a head interleaved (2 j + half); Hugging Face has (half * d/2 + j).
  static at::Tensor HalfRotatedOrder(const at::Tensor& rows, int64_t head_dim) {
    const int64_t heads = rows.size(0) / head_dim;
    return rows.view({heads, head_dim / 2, 2, rows.size(1)})
        .transpose(1, 2)
        .reshape({rows.size(0), rows.size(1)});
  }

  void Read(const std::string& name, const std::vector<int64_t>& shape,
            std::span<float> out) const {
    const std::string stored = model_.format == ModelFormat::kGguf ? GgufTensorName(name) : name;
    const io::TensorInfo* info = model_.tensors->Find(stored);
    if (info == nullptr) {
      Throw(Code::kInvalidArgument, "tensor ", stored, " is missing from ", model_.path);
    }
    if (info->shape != shape) {
      Throw(Code::kInvalidArgument, "tensor ", stored, " of ", model_.path, " has shape ",
            ShapeText(info->shape), ", the model's config wants ", ShapeText(shape));
    }
    model_.tensors->ReadF32(stored, out);
  }

  const BaseModel& model_;
  at::ScalarType type_;
  at::Device device_;
};

struct ModuleSize {
  int64_t in, out;
};

// Sizes of the linear modules in the order of lora::LinearModules().
std::vector<ModuleSize> LinearSizes(const ModelSpec& spec) {
  return {{spec.hidden, spec.query_width()},
          {spec.hidden, spec.kv_width()},
          {spec.hidden, spec.kv_width()},
          {spec.query_width(), spec.hidden},
          {spec.hidden, spec.ffn},
          {spec.hidden, spec.ffn},
          {spec.ffn, spec.hidden}};
}

BlockAdapters MakeAdapters(const ModelSpec& spec, int64_t block, const StageOptions& options) {
  BlockAdapters adapters;
  const std::vector<std::string>& names = lora::LinearModules();
  const std::vector<ModuleSize> sizes = LinearSizes(spec);
  const at::ScalarType type = options.compute_dtype == DType::kF64 ? at::kDouble : at::kFloat;
  for (size_t i = 0; i < names.size(); ++i) {
    for (const std::string& target : options.lora.target_modules) {
      if (target != names[i]) continue;
      adapters[i] = std::make_unique<lora::LowRank>(
          lora::FreshAdapter(ModuleName(block, names[i]), sizes[i].in, sizes[i].out, options.lora,
                             type, tensor::ParseDevice(options.device)));
    }
  }
  return adapters;
}

Block LoadBlock(const TensorReader& reader, const ModelSpec& spec, int64_t block,
                const StageOptions& options) {
  const auto name = [block](std::string_view leaf) { return ModuleName(block, leaf) + ".weight"; };
  BlockWeights weights;
  weights.input_norm = reader.Vector(name(kInputNorm), spec.hidden);
  weights.qkv = reader.Stacked({{name("q_proj"), spec.query_width(), spec.head_dim},
                                {name("k_proj"), spec.kv_width(), spec.head_dim},
                                {name("v_proj"), spec.kv_width(), 0}},
                               spec.hidden);
  weights.attention_out = reader.Matrix(name("o_proj"), spec.hidden, spec.query_width());
  weights.post_norm = reader.Vector(name(kPostNorm), spec.hidden);
  weights.gate_up = reader.Stacked(
      {{name("gate_proj"), spec.ffn, 0}, {name("up_proj"), spec.ffn, 0}}, spec.hidden);
  weights.down = reader.Matrix(name("down_proj"), spec.hidden, spec.ffn);
  return Block(spec, std::move(weights), MakeAdapters(spec, block, options));
}

}  // namespace

std::unique_ptr<Stage> LoadStage(const BaseModel& model, const StageRange& range,
                                 const StageOptions& options) {
  const ModelSpec& spec = model.spec;
  const TensorReader reader(model, options);
  StageWeights weights;
  at::Tensor embedding;
  const bool head_is_embedding = range.has_head && spec.tied_embeddings;
  if (range.has_embedding || head_is_embedding) {
    embedding = reader.Matrix(std::string(kEmbeddingName), spec.vocab, spec.hidden);
  }
  if (range.has_embedding) weights.embedding = embedding;
  weights.blocks.reserve(static_cast<size_t>(range.end_block - range.first_block));
  for (int64_t block = range.first_block; block < range.end_block; ++block) {
    weights.blocks.push_back(LoadBlock(reader, spec, block, options));
    model.tensors->DropPages();
  }
  if (range.has_head) {
    weights.head = HeadWeights{reader.Vector(std::string(kFinalNormName), spec.hidden),
                               head_is_embedding
                                   ? embedding
                                   : reader.Matrix(std::string(kHeadName), spec.vocab, spec.hidden),
                               spec.norm_eps};
  }
  model.tensors->DropPages();
  return std::make_unique<Stage>(spec, range, std::move(weights), options.memory);
}

uint64_t StageBytes(const ModelSpec& spec, const StageRange& range, DType compute_dtype) {
  int64_t block = 2 * spec.hidden;
  for (const ModuleSize& size : LinearSizes(spec)) block += size.in * size.out;
  int64_t elements = block * (range.end_block - range.first_block);
  const int64_t table = spec.vocab * spec.hidden;
  if (range.has_embedding) elements += table;
  if (range.has_head) {
    elements += spec.hidden;
    if (!(spec.tied_embeddings && range.has_embedding)) elements += table;
  }
  return static_cast<uint64_t>(elements) * SizeOf(compute_dtype);
}

Fingerprint FingerprintOf(const BaseModel& model, int64_t client_blocks) {
  Fingerprint fingerprint;
  fingerprint.config = CanonicalText(model.spec);
  DigestStream index;
  for (const io::TensorInfo& info : model.tensors->tensors()) {
    const std::string line = StrCat(info.name, ShapeText(info.shape), info.type, "\n");
    index.Update({reinterpret_cast<const uint8_t*>(line.data()), line.size()});
  }
  fingerprint.tensor_index = index.value();

  DigestStream boundary;
  for (const int64_t block : {client_blocks - 1, client_blocks}) {
    for (const std::string& leaf : lora::LinearModules()) {
      const std::string name = ModuleName(block, leaf) + ".weight";
      boundary.Update(model.tensors->StoredBytes(
          model.format == ModelFormat::kGguf ? GgufTensorName(name) : name));
    }
  }
  fingerprint.boundary = boundary.value();
  model.tensors->DropPages();
  return fingerprint;
}

}  // namespace amaq::models
