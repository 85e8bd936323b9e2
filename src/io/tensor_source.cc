#include "io/tensor_source.h"

#include <algorithm>
#include <utility>

#include "core/error.h"
#include "io/dequantize.h"

namespace amaq::io {
namespace {

StoredType ReadableType(const TensorInfo& info, const std::string& path) {
  const auto type = ParseStoredType(info.type);
  if (!type) {
    Throw(Code::kUnimplemented, "tensor ", info.name, " in ", path, " has type ", info.type,
          "; F32, F16, BF16, Q8_0, Q4_0 and Q4_1 can be read");
  }
  return *type;
}

}  // namespace

const TensorInfo* TensorSource::Find(std::string_view name) const {
  const auto found = std::ranges::lower_bound(tensors_, name, {}, &TensorInfo::name);
  return found == tensors_.end() || found->name != name ? nullptr : &*found;
}

const TensorInfo& TensorSource::Get(std::string_view name) const {
  const TensorInfo* info = Find(name);
  if (info == nullptr) Throw(Code::kNotFound, "there is no tensor ", name, " in ", path_);
  return *info;
}

void TensorSource::SetTensors(std::vector<TensorInfo> tensors) {
  std::ranges::sort(tensors, {}, &TensorInfo::name);
  const auto twice = std::ranges::adjacent_find(tensors, {}, &TensorInfo::name);
  if (twice != tensors.end()) {
    Throw(Code::kInvalidArgument, "tensor ", twice->name, " appears twice in ", path_);
  }
  tensors_ = std::move(tensors);
}

void TensorSource::ReadF32(std::string_view name, std::span<float> out) const {
  const TensorInfo& info = Get(name);
  const StoredType type = ReadableType(info, path_);
  if (out.size() != info.num_elements) {
    Throw(Code::kInvalidArgument, "tensor ", name, " in ", path_, " has ", info.num_elements,
          " elements, ", out.size(), " were expected");
  }
  Dequantize(type, BytesOf(info), out);
}

void TensorSource::ReadRowsF32(std::string_view name, uint64_t row_begin, uint64_t num_rows,
                               std::span<float> out) const {
  const TensorInfo& info = Get(name);
  const StoredType type = ReadableType(info, path_);
  if (info.shape.size() < 2) {
    Throw(Code::kInvalidArgument, "tensor ", name, " in ", path_, " has ", info.shape.size(),
          " dimensions; rows need two");
  }
  const auto rows = static_cast<uint64_t>(info.shape[0]);
  if (row_begin > rows || num_rows > rows - row_begin) {
    Throw(Code::kOutOfRange, "rows [", row_begin, ", ", row_begin, " + ", num_rows, ") of tensor ",
          name, " in ", path_, ", which has ", rows, " rows");
  }
  const uint64_t row_elements = rows == 0 ? 0 : info.num_elements / rows;
  const uint64_t row_bytes = rows == 0 ? 0 : info.num_bytes / rows;
  if (out.size() != num_rows * row_elements) {
    Throw(Code::kInvalidArgument, num_rows, " rows of tensor ", name, " in ", path_, " are ",
          num_rows * row_elements, " elements, ", out.size(), " were expected");
  }
  Dequantize(type, BytesOf(info).subspan(row_begin * row_bytes, num_rows * row_bytes), out);
}

}  // namespace amaq::io
