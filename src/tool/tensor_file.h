#ifndef AMAQ_TOOL_TENSOR_FILE_H_
#define AMAQ_TOOL_TENSOR_FILE_H_

// One tensor of an .npy or .safetensors file as the matrix that the codec takes, and back to disk.
// The last dimension is the channels, all before it are rows; a vector [n] is n rows of one
// channel. Value type and pure functions.

#include <cstdint>
#include <string>
#include <vector>

#include "core/section.h"
#include "core/tensor_view.h"

namespace amaq::tool {

// What a tensor may hold at most: 2^28 elements (1 GiB as fp32).
inline constexpr uint64_t kMaxElements = uint64_t{1} << 28;

struct TensorMatrix {
  std::string name;
  std::vector<int64_t> shape;
  int64_t rows = 0;
  int64_t channels = 0;
  DType dtype = DType::kF32;
  Bytes data = {};  // row-major, aligned

  MatrixView view() const { return {data.data(), dtype, rows, channels}; }
  std::vector<float> ToFloats() const;
};

// ".npy" or ".safetensors", by the name alone.
bool IsTensorFile(const std::string& path);

// `name`: which tensor of the file; empty takes the only one.
// Errors: those of the readers; kInvalidArgument for an empty tensor, too many elements, or several
// tensors and no name (they are listed); kUnimplemented for a type other than F32, F16, BF16.
TensorMatrix ReadTensorFile(const std::string& path, const std::string& name);

// A file of values [rows, channels] for a path that IsTensorFile; `name` is used in safetensors.
Bytes SerializeTensorFile(const std::string& path, const std::string& name,
                          const std::vector<float>& values, int64_t rows, int64_t channels);

// A file of widths: numbers 0 to 8, separated by white space or commas; '#' begins a comment.
// Errors: kInvalidArgument naming the line; those of reading.
std::vector<uint8_t> ReadWidthsFile(const std::string& path);

}  // namespace amaq::tool

#endif  // AMAQ_TOOL_TENSOR_FILE_H_
