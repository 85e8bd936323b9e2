#include "quant/row_reader.h"

#include <cstring>
#include <limits>

#include "core/check.h"
#include "core/error.h"
#include "quant/codec.h"
#include "quant/uniform.h"

namespace amaq::quant {

RowReader::RowReader(const MatrixView& x) : x_(x) {
  if (x.dtype != DType::kF32 && x.dtype != DType::kBF16 && x.dtype != DType::kF16) {
    Throw(Code::kInvalidArgument, "a tensor to be coded must be fp32, bf16 or fp16, got ",
          DTypeName(x.dtype));
  }
  constexpr int64_t kLimit = std::numeric_limits<uint32_t>::max();
  if (x.rows < 0 || x.rows > kLimit || x.channels < 1 || x.channels > kLimit) {
    Throw(Code::kInvalidArgument, "a tensor to be coded must be [0...2^32-1, 1...2^32-1], got [",
          x.rows, ", ", x.channels, "]");
  }
  row_.resize(static_cast<size_t>(x.channels));
}

std::span<const float> RowReader::Row(int64_t row) {
  AMAQ_CHECK(row >= 0 && row < x_.rows);
  const size_t stride = row_.size() * SizeOf(x_.dtype);
  const auto* source = static_cast<const uint8_t*>(x_.data) + static_cast<size_t>(row) * stride;
  if (x_.dtype == DType::kF32) {
    std::memcpy(row_.data(), source, stride);
    return row_;
  }
  const bool is_bf16 = x_.dtype == DType::kBF16;
  for (size_t c = 0; c < row_.size(); ++c) {
    uint16_t bits;
    std::memcpy(&bits, source + c * sizeof(bits), sizeof(bits));
    row_[c] = is_bf16 ? BF16ToF32(bits) : F16ToF32(bits);
  }
  return row_;
}

std::span<const float> RowReader::FiniteRow(int64_t row) {
  Row(row);
  for (size_t c = 0; c < row_.size(); ++c) {
    if (!IsFinite(row_[c])) [[unlikely]] {
      throw NonFiniteError(static_cast<uint64_t>(row), static_cast<uint32_t>(c),
                           StrCat("row ", row, ", channel ", c, " is ", row_[c],
                                  "; only finite values can be coded"));
    }
  }
  return row_;
}

}  // namespace amaq::quant
