#ifndef AMAQ_IO_DEQUANTIZE_H_
#define AMAQ_IO_DEQUANTIZE_H_

// Stored element types of model files and their exact values in fp32. Block formats are those of
// ggml: 32 consecutive elements of a row share one fp16 scale d (and offset m).
//   Q8_0: d, 32 x int8        value = q * d
//   Q4_0: d, 16 bytes         value = (q - 8) * d      low nibbles are elements 0...15,
//   Q4_1: d, m, 16 bytes      value = q * d + m        high nibbles elements 16...31
// Thread-safety: pure functions.

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "core/section.h"

namespace amaq::io {

enum class StoredType { kF32, kF16, kBF16, kQ8_0, kQ4_0, kQ4_1 };

struct BlockFormat {
  uint32_t elements;  // of a block; rows are whole blocks
  uint32_t bytes;
};

BlockFormat BlockFormatOf(StoredType type);
std::string_view StoredTypeName(StoredType type);  // "F32", "Q4_1", ...
std::optional<StoredType> ParseStoredType(std::string_view name);

// Writes out.size() elements from exactly their stored bytes. Bit-exact with ggml's reference.
// Errors: kInvalidArgument if out is not whole blocks or the byte counts disagree.
void Dequantize(StoredType type, ByteSpan stored, std::span<float> out);

}  // namespace amaq::io

#endif  // AMAQ_IO_DEQUANTIZE_H_
