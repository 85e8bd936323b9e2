#include "io/safetensors.h"

#include <algorithm>
#include <array>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "core/bytes.h"
#include "core/error.h"
#include "io/json.h"

namespace amaq::io {
namespace {

using nlohmann::json;

constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the limit of the reference reader
constexpr std::string_view kMetadataKey = "__metadata__";

constexpr std::array<std::pair<std::string_view, uint64_t>, 14> kElementBytes = {{{"BOOL", 1},
                                                                                  {"U8", 1},
                                                                                  {"I8", 1},
                                                                                  {"F8_E4M3", 1},
                                                                                  {"F8_E5M2", 1},
                                                                                  {"U16", 2},
                                                                                  {"I16", 2},
                                                                                  {"F16", 2},
                                                                                  {"BF16", 2},
                                                                                  {"U32", 4},
                                                                                  {"I32", 4},
                                                                                  {"F32", 4},
                                                                                  {"U64", 8},
                                                                                  {"I64", 8}}};

uint64_t ElementBytes(const TensorInfo& info, const std::string& path) {
  for (const auto& [name, bytes] : kElementBytes) {
    if (name == info.type) return bytes;
  }
  if (info.type == "F64") return 8;
  Throw(Code::kInvalidArgument, "tensor ", info.name, " in ", path, " has unknown type ",
        info.type);
}

// Product of the dimensions times the element size, checked against overflow.
void FillSizes(const json& shape, TensorInfo* info, const std::string& what,
               const std::string& path) {
  if (!shape.is_array()) Throw(Code::kInvalidArgument, what, ": 'shape' must be an array");
  uint64_t elements = 1;
  for (const json& dimension : shape) {
    if (!dimension.is_number_unsigned() ||
        dimension.get<uint64_t>() > uint64_t{std::numeric_limits<int64_t>::max()} ||
        __builtin_mul_overflow(elements, dimension.get<uint64_t>(), &elements)) {
      Throw(Code::kInvalidArgument, what, ": a dimension of its shape is no number that fits");
    }
    info->shape.push_back(static_cast<int64_t>(dimension.get<uint64_t>()));
  }
  info->num_elements = elements;
  if (__builtin_mul_overflow(elements, ElementBytes(*info, path), &info->num_bytes)) {
    Throw(Code::kInvalidArgument, what, ": its size overflows");
  }
}

// Offsets count from the end of the header.
TensorInfo ParseTensor(const std::string& name, const json& entry, const std::string& path) {
  const std::string what = StrCat("tensor ", name, " in ", path);
  TensorInfo info{.name = name, .shape = {}, .type = JsonString(entry, "dtype", what)};
  FillSizes(JsonMember(entry, "shape", what), &info, what, path);
  const json& offsets = JsonMember(entry, "data_offsets", what);
  if (!offsets.is_array() || offsets.size() != 2 || !offsets[0].is_number_unsigned() ||
      !offsets[1].is_number_unsigned()) {
    Throw(Code::kInvalidArgument, what, ": 'data_offsets' must be two whole numbers");
  }
  info.offset = offsets[0].get<uint64_t>();
  const auto end = offsets[1].get<uint64_t>();
  if (end < info.offset || end - info.offset != info.num_bytes) {
    Throw(Code::kInvalidArgument, what, ": data_offsets [", info.offset, ", ", end,
          "] are not the ", info.num_bytes, " bytes of its shape and type");
  }
  return info;
}

// The tensors must cover [0, data_bytes) exactly.
void CheckCoverage(std::vector<TensorInfo> tensors, uint64_t data_bytes, const std::string& path) {
  std::ranges::sort(tensors, [](const TensorInfo& a, const TensorInfo& b) {
    return std::pair(a.offset, a.num_bytes) < std::pair(b.offset, b.num_bytes);
  });
  uint64_t end = 0;
  for (const TensorInfo& info : tensors) {
    if (info.offset != end) {
      Throw(Code::kInvalidArgument, "tensor ", info.name, " in ", path, " begins at byte ",
            info.offset, " of the data, the one before ends at ", end);
    }
    if (info.num_bytes > data_bytes - end) {
      Throw(Code::kDataLoss, "tensor ", info.name, " in ", path, " needs ", info.num_bytes,
            " bytes, the file ends after ", data_bytes - end);
    }
    end += info.num_bytes;
  }
  if (end != data_bytes) {
    Throw(Code::kInvalidArgument, path, " has ", data_bytes - end, " bytes after its last tensor");
  }
}

}  // namespace

SafetensorsFile::SafetensorsFile(std::string name, std::unique_ptr<MappedFile> file, ByteSpan bytes)
    : TensorSource(std::move(name)), file_(std::move(file)), bytes_(bytes) {
  ByteReader reader(bytes_, path());
  const auto header_bytes = reader.Read<uint64_t>();
  if (header_bytes > kMaxHeaderBytes) {
    Throw(Code::kInvalidArgument, path(), ": a header of ", header_bytes, " bytes, at most ",
          kMaxHeaderBytes, " are allowed (is this a safetensors file?)");
  }
  const ByteSpan header = reader.Take(header_bytes);
  ParseHeader({reinterpret_cast<const char*>(header.data()), header.size()}, reader.position());
}

void SafetensorsFile::ParseHeader(std::string_view header, uint64_t data_begin) {
  const json root = ParseJson(header, StrCat(path(), ": header"));
  if (!root.is_object()) Throw(Code::kInvalidArgument, path(), ": header is not a JSON object");
  std::vector<TensorInfo> tensors;
  for (const auto& [name, entry] : root.items()) {
    if (name == kMetadataKey) {
      if (!entry.is_object()) {
        Throw(Code::kInvalidArgument, path(), ": __metadata__ must be an object of strings");
      }
      for (const auto& [key, value] : entry.items()) {
        metadata_[key] = JsonString(entry, key, StrCat(path(), ": __metadata__"));
      }
    } else {
      tensors.push_back(ParseTensor(name, entry, path()));
    }
  }
  CheckCoverage(tensors, bytes_.size() - data_begin, path());
  for (TensorInfo& info : tensors) info.offset += data_begin;
  SetTensors(std::move(tensors));
}

std::unique_ptr<SafetensorsFile> SafetensorsFile::Open(const std::string& path) {
  std::unique_ptr<MappedFile> file = MappedFile::Open(path);
  const ByteSpan bytes = file->bytes();
  return std::unique_ptr<SafetensorsFile>(new SafetensorsFile(path, std::move(file), bytes));
}

std::unique_ptr<SafetensorsFile> SafetensorsFile::FromBytes(ByteSpan bytes, std::string name) {
  return std::unique_ptr<SafetensorsFile>(new SafetensorsFile(std::move(name), nullptr, bytes));
}

ByteSpan SafetensorsFile::BytesOf(const TensorInfo& info) const {
  return bytes_.subspan(info.offset, info.num_bytes);
}

void SafetensorsFile::DropPages() const {
  if (file_ != nullptr) file_->DropPages();
}

Bytes SerializeSafetensors(std::vector<F32Tensor> tensors,
                           const std::map<std::string, std::string>& metadata) {
  std::ranges::sort(tensors, {}, &F32Tensor::name);
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header[kMetadataKey] = metadata;
  uint64_t offset = 0;
  for (const F32Tensor& tensor : tensors) {
    if (tensor.name == kMetadataKey || header.contains(tensor.name)) {
      Throw(Code::kInvalidArgument, "tensor name ", tensor.name, " is taken");
    }
    uint64_t elements = 1;
    for (const int64_t dimension : tensor.shape) elements *= static_cast<uint64_t>(dimension);
    if (elements != tensor.values.size()) {
      Throw(Code::kInvalidArgument, "tensor ", tensor.name, " has ", tensor.values.size(),
            " values, its shape says ", elements);
    }
    const uint64_t end = offset + tensor.values.size_bytes();
    header[tensor.name] = {
        {"dtype", "F32"}, {"shape", tensor.shape}, {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string text;
  try {
    text = header.dump();
  } catch (const nlohmann::json::exception&) {
    Throw(Code::kInvalidArgument, "a tensor name or metadata string is not UTF-8");
  }
  text.resize((text.size() + 7) / 8 * 8, ' ');

  Bytes out;
  out.reserve(8 + text.size() + offset);
  AppendLittleEndian(&out, uint64_t{text.size()});
  out.insert(out.end(), text.begin(), text.end());
  for (const F32Tensor& tensor : tensors) {
    const auto* values = reinterpret_cast<const uint8_t*>(tensor.values.data());
    out.insert(out.end(), values, values + tensor.values.size_bytes());
  }
  return out;
}

}  // namespace amaq::io
