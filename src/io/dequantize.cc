#include "io/dequantize.h"

#include <array>
#include <cstring>
#include <utility>

#include "core/check.h"
#include "core/dtype.h"
#include "core/error.h"

namespace amaq::io {
namespace {

constexpr size_t kBlock = 32;

constexpr std::array<std::pair<StoredType, std::string_view>, 6> kNames = {
    {{StoredType::kF32, "F32"},
     {StoredType::kF16, "F16"},
     {StoredType::kBF16, "BF16"},
     {StoredType::kQ8_0, "Q8_0"},
     {StoredType::kQ4_0, "Q4_0"},
     {StoredType::kQ4_1, "Q4_1"}}};

uint16_t LoadU16(const uint8_t* bytes) {
  uint16_t value;
  std::memcpy(&value, bytes, sizeof(value));
  return value;
}

float LoadF16(const uint8_t* bytes) { return F16ToF32(LoadU16(bytes)); }

void DecodeQ8_0(const uint8_t* block, float* out) {
  const float d = LoadF16(block);
  for (size_t i = 0; i < kBlock; ++i) {
    out[i] = static_cast<float>(static_cast<int8_t>(block[2 + i])) * d;
  }
}

void DecodeQ4_0(const uint8_t* block, float* out) {
  const float d = LoadF16(block);
  for (size_t i = 0; i < kBlock / 2; ++i) {
    const int byte = block[2 + i];
    out[i] = static_cast<float>((byte & 0xf) - 8) * d;
    out[i + kBlock / 2] = static_cast<float>((byte >> 4) - 8) * d;
  }
}

void DecodeQ4_1(const uint8_t* block, float* out) {
  const float d = LoadF16(block);
  const float m = LoadF16(block + 2);
  for (size_t i = 0; i < kBlock / 2; ++i) {
    const int byte = block[4 + i];
    out[i] = static_cast<float>(byte & 0xf) * d + m;
    out[i + kBlock / 2] = static_cast<float>(byte >> 4) * d + m;
  }
}

template <typename DecodeBlock>
void DecodeBlocks(ByteSpan stored, std::span<float> out, size_t block_bytes, DecodeBlock decode) {
  const uint8_t* block = stored.data();
  for (size_t i = 0; i < out.size(); i += kBlock, block += block_bytes) decode(block, &out[i]);
}

}  // namespace

BlockFormat BlockFormatOf(StoredType type) {
  switch (type) {
    case StoredType::kF32:
      return {1, 4};
    case StoredType::kF16:
    case StoredType::kBF16:
      return {1, 2};
    case StoredType::kQ8_0:
      return {kBlock, 2 + kBlock};
    case StoredType::kQ4_0:
      return {kBlock, 2 + kBlock / 2};
    case StoredType::kQ4_1:
      return {kBlock, 4 + kBlock / 2};
  }
  AMAQ_CHECK(false);
}

std::string_view StoredTypeName(StoredType type) {
  for (const auto& [value, name] : kNames) {
    if (value == type) return name;
  }
  AMAQ_CHECK(false);
}

std::optional<StoredType> ParseStoredType(std::string_view name) {
  for (const auto& [value, known] : kNames) {
    if (known == name) return value;
  }
  return std::nullopt;
}

void Dequantize(StoredType type, ByteSpan stored, std::span<float> out) {
  const BlockFormat format = BlockFormatOf(type);
  if (out.size() % format.elements != 0 ||
      stored.size() != out.size() / format.elements * format.bytes) {
    Throw(Code::kInvalidArgument, stored.size(), " bytes of ", StoredTypeName(type),
          " do not hold exactly ", out.size(), " elements");
  }
  if (out.empty()) return;
  switch (type) {
    case StoredType::kF32:
      std::memcpy(out.data(), stored.data(), stored.size());
      return;
    case StoredType::kF16:
      for (size_t i = 0; i < out.size(); ++i) out[i] = LoadF16(&stored[2 * i]);
      return;
    case StoredType::kBF16:
      for (size_t i = 0; i < out.size(); ++i) out[i] = BF16ToF32(LoadU16(&stored[2 * i]));
      return;
    case StoredType::kQ8_0:
      DecodeBlocks(stored, out, format.bytes, DecodeQ8_0);
      return;
    case StoredType::kQ4_0:
      DecodeBlocks(stored, out, format.bytes, DecodeQ4_0);
      return;
    case StoredType::kQ4_1:
      DecodeBlocks(stored, out, format.bytes, DecodeQ4_1);
      return;
  }
}

}  // namespace amaq::io
