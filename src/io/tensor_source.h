#ifndef AMAQ_IO_TENSOR_SOURCE_H_
#define AMAQ_IO_TENSOR_SOURCE_H_

// Named tensors on disk, whatever holds them: a GGUF file (gguf.h), a safetensors file
// (safetensors.h) or a Hugging Face model folder (OpenHfDirectory). Names are those of the file;
// mapping between naming schemes is the models module's. Thread-safety: immutable after opening.

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/section.h"

namespace amaq::io {

struct TensorInfo {
  std::string name;
  std::vector<int64_t> shape;  // row-major, outermost first
  std::string type;            // as stored: "F32", "BF16", "Q4_1", "I64", ...
  uint64_t num_elements = 0;
  uint64_t offset = 0;  // of the stored bytes from the start of the file that holds them
  uint64_t num_bytes = 0;

  bool operator==(const TensorInfo&) const = default;
};

class TensorSource {
 public:
  virtual ~TensorSource() = default;
  TensorSource(const TensorSource&) = delete;
  TensorSource& operator=(const TensorSource&) = delete;

  // The file or folder, for errors.
  const std::string& path() const { return path_; }
  // Sorted by name.
  const std::vector<TensorInfo>& tensors() const { return tensors_; }
  // nullptr if there is no such tensor.
  const TensorInfo* Find(std::string_view name) const;
  // Errors: kNotFound naming the tensor and the source.
  const TensorInfo& Get(std::string_view name) const;

  // As stored; valid for the life of the source.
  ByteSpan StoredBytes(std::string_view name) const { return BytesOf(Get(name)); }

  // Exact values in fp32. Types F32, F16, BF16, Q8_0, Q4_0, Q4_1.
  // Errors: kNotFound; kUnimplemented for another stored type; kInvalidArgument if out.size() is
  // not the number of elements.
  void ReadF32(std::string_view name, std::span<float> out) const;

  // Rows [row_begin, row_begin + num_rows) of a tensor with at least two dimensions, a row being
  // everything below the outermost one. out [num_rows * elements of a row].
  // Errors: as above, and kOutOfRange.
  void ReadRowsF32(std::string_view name, uint64_t row_begin, uint64_t num_rows,
                   std::span<float> out) const;

  // What was read leaves the resident set (MappedFile::DropPages); nothing if not mapped.
  virtual void DropPages() const = 0;

 protected:
  explicit TensorSource(std::string path) : path_(std::move(path)) {}

  // `info` is an element of tensors().
  virtual ByteSpan BytesOf(const TensorInfo& info) const = 0;
  // Sorts. Errors: kInvalidArgument if a name appears twice.
  void SetTensors(std::vector<TensorInfo> tensors);

 private:
  std::string path_;
  std::vector<TensorInfo> tensors_;
};

// A folder with config.json and model.safetensors, or model.safetensors.index.json and the shards
// it names. Errors: kNotFound (what is missing), kInvalidArgument (bad index or file).
std::unique_ptr<TensorSource> OpenHfDirectory(const std::string& path);

}  // namespace amaq::io

#endif  // AMAQ_IO_TENSOR_SOURCE_H_
