#include "tool/tensor_file.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <memory>

#include "core/error.h"
#include "io/file.h"
#include "io/npy.h"
#include "io/safetensors.h"

namespace amaq::tool {
namespace {

constexpr uint8_t kLargestWidth = 8;
constexpr size_t kMaxWidthsFileBytes = 16 << 20;
constexpr size_t kMaxListedNames = 8;

bool IsNpy(const std::string& path) { return path.ends_with(".npy"); }

std::unique_ptr<io::TensorSource> OpenTensorFile(const std::string& path) {
  if (IsNpy(path)) return io::NpyFile::Open(path);
  return io::SafetensorsFile::Open(path);
}

const io::TensorInfo& ChooseTensor(const io::TensorSource& source, const std::string& name) {
  const std::vector<io::TensorInfo>& tensors = source.tensors();
  if (!name.empty()) return source.Get(name);
  if (tensors.empty()) Throw(Code::kInvalidArgument, source.path(), " holds no tensor");
  if (tensors.size() == 1) return tensors[0];
  std::string names;
  for (size_t i = 0; i < tensors.size() && i < kMaxListedNames; ++i) {
    names += StrCat(i == 0 ? "" : ", ", tensors[i].name);
  }
  Throw(Code::kInvalidArgument, source.path(), " holds ", tensors.size(),
        " tensors; choose one with --tensor: ", names,
        tensors.size() > kMaxListedNames ? ", ..." : "");
}

DType DTypeOf(const io::TensorInfo& info, const std::string& path) {
  if (info.type == "F32") return DType::kF32;
  if (info.type == "BF16") return DType::kBF16;
  if (info.type == "F16") return DType::kF16;
  Throw(Code::kUnimplemented, "tensor ", info.name, " in ", path, " has type ", info.type,
        "; F32, BF16 and F16 can be coded");
}

}  // namespace

std::vector<float> TensorMatrix::ToFloats() const {
  std::vector<float> values(static_cast<size_t>(rows * channels));
  if (dtype == DType::kF32) {
    std::memcpy(values.data(), data.data(), data.size());
    return values;
  }
  for (size_t i = 0; i < values.size(); ++i) {
    uint16_t bits;
    std::memcpy(&bits, data.data() + i * sizeof(bits), sizeof(bits));
    values[i] = dtype == DType::kBF16 ? BF16ToF32(bits) : F16ToF32(bits);
  }
  return values;
}

bool IsTensorFile(const std::string& path) { return IsNpy(path) || path.ends_with(".safetensors"); }

TensorMatrix ReadTensorFile(const std::string& path, const std::string& name) {
  const std::unique_ptr<io::TensorSource> source = OpenTensorFile(path);
  const io::TensorInfo& info = ChooseTensor(*source, name);
  if (info.num_elements == 0) {
    Throw(Code::kInvalidArgument, "tensor ", info.name, " in ", path, " has no elements");
  }
  if (info.num_elements > kMaxElements) {
    Throw(Code::kInvalidArgument, "tensor ", info.name, " in ", path, " has ", info.num_elements,
          " elements, at most ", kMaxElements, " are allowed");
  }
  TensorMatrix matrix{.name = info.name, .shape = info.shape, .dtype = DTypeOf(info, path)};
  matrix.channels = info.shape.size() < 2 ? 1 : info.shape.back();
  matrix.rows = static_cast<int64_t>(info.num_elements) / matrix.channels;
  const ByteSpan stored = source->StoredBytes(info.name);
  matrix.data.assign(stored.begin(), stored.end());
  return matrix;
}

Bytes SerializeTensorFile(const std::string& path, const std::string& name,
                          const std::vector<float>& values, int64_t rows, int64_t channels) {
  const std::array<int64_t, 2> shape = {rows, channels};
  if (IsNpy(path)) return io::SerializeNpy(shape, values);
  return io::SerializeSafetensors({{name, {rows, channels}, values}}, {});
}

std::vector<uint8_t> ReadWidthsFile(const std::string& path) {
  const std::string text = io::ReadTextFile(path, kMaxWidthsFileBytes);
  std::vector<uint8_t> widths;
  size_t line = 1;
  for (size_t i = 0; i < text.size();) {
    if (text[i] == '#') {
      i = std::min(text.find('\n', i), text.size());
    } else if (std::string_view(" \t\r\n,").find(text[i]) != std::string_view::npos) {
      if (text[i++] == '\n') ++line;
    } else {
      const size_t end = std::min(text.find_first_of(" \t\r\n,#", i), text.size());
      uint32_t width = 0;
      const auto [stop, error] = std::from_chars(text.data() + i, text.data() + end, width);
      if (error != std::errc() || stop != text.data() + end || width > kLargestWidth) {
        Throw(Code::kInvalidArgument, path, ":", line, ": a width must be a number in [0, 8], got ",
              std::string_view(text).substr(i, std::min<size_t>(end - i, 20)));
      }
      widths.push_back(static_cast<uint8_t>(width));
      i = end;
    }
  }
  return widths;
}

}  // namespace amaq::tool
