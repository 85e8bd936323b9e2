#include "io/dequantize.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "core/bytes.h"
#include "core/dtype.h"
#include "tests/support/errors.h"

namespace amaq::io {
namespace {

// A block of 4-bit codes 0, 1, 2, ... 15, 15, 14, ... 0 after the given fp16 numbers.
Bytes RampBlock(const std::vector<float>& halves) {
  Bytes block;
  for (const float half : halves) AppendLittleEndian(&block, F32ToF16(half));
  for (int i = 0; i < 16; ++i) block.push_back(static_cast<uint8_t>(i | (15 - i) << 4));
  return block;
}

std::vector<float> Decode(StoredType type, const Bytes& stored, size_t count) {
  std::vector<float> out(count);
  Dequantize(type, stored, out);
  return out;
}

TEST(DequantizeTest, Q4_1IsScaleTimesCodePlusOffset) {
  const auto out = Decode(StoredType::kQ4_1, RampBlock({0.5f, -3.0f}), 32);

  for (size_t i = 0; i < 16; ++i) {
    EXPECT_EQ(out[i], 0.5f * static_cast<float>(i) - 3.0f);
    EXPECT_EQ(out[16 + i], 0.5f * static_cast<float>(15 - i) - 3.0f);
  }
}

TEST(DequantizeTest, Q4_0CodesAreCentredOnEight) {
  const auto out = Decode(StoredType::kQ4_0, RampBlock({-0.25f}), 32);

  for (size_t i = 0; i < 16; ++i) {
    EXPECT_EQ(out[i], -0.25f * (static_cast<float>(i) - 8.0f));
    EXPECT_EQ(out[16 + i], -0.25f * (7.0f - static_cast<float>(i)));
  }
}

TEST(DequantizeTest, Q8_0CodesAreSignedBytes) {
  Bytes block;
  AppendLittleEndian(&block, F32ToF16(0.125f));
  for (int i = 0; i < 32; ++i) block.push_back(static_cast<uint8_t>(i * 8));

  const auto out = Decode(StoredType::kQ8_0, block, 32);

  EXPECT_EQ(out[1], 1.0f);
  EXPECT_EQ(out[15], 15.0f);
  EXPECT_EQ(out[16], -16.0f);
  EXPECT_EQ(out[31], -1.0f);
}

TEST(DequantizeTest, TheSecondBlockHasItsOwnScale) {
  Bytes two = RampBlock({1.0f});
  const Bytes second = RampBlock({2.0f});
  two.insert(two.end(), second.begin(), second.end());

  const auto out = Decode(StoredType::kQ4_0, two, 64);

  EXPECT_EQ(out[0], -8.0f);
  EXPECT_EQ(out[32], -16.0f);
}

TEST(DequantizeTest, PlainTypesWidenExactly) {
  Bytes f32, f16, bf16;
  for (const float value : {0.0f, -1.5f, 1024.0f}) {
    AppendLittleEndian(&f32, value);
    AppendLittleEndian(&f16, F32ToF16(value));
    AppendLittleEndian(&bf16, F32ToBF16(value));
  }

  const auto expected = ::testing::ElementsAre(0.0f, -1.5f, 1024.0f);

  EXPECT_THAT(Decode(StoredType::kF32, f32, 3), expected);
  EXPECT_THAT(Decode(StoredType::kF16, f16, 3), expected);
  EXPECT_THAT(Decode(StoredType::kBF16, bf16, 3), expected);
}

TEST(DequantizeTest, ByteCountsMustAgree) {
  std::vector<float> out(32);
  const Bytes block = RampBlock({1.0f});

  EXPECT_THROWS(Dequantize(StoredType::kQ4_1, block, out), Code::kInvalidArgument, "Q4_1");
  EXPECT_THROWS(Dequantize(StoredType::kQ4_0, block, std::span(out).first(31)),
                Code::kInvalidArgument, "31 elements");
  EXPECT_THROWS(Dequantize(StoredType::kF32, block, std::span(out).first(4)),
                Code::kInvalidArgument, "F32");
}

TEST(DequantizeTest, NamesReadBack) {
  for (const char* name : {"F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1"}) {
    EXPECT_EQ(StoredTypeName(ParseStoredType(name).value()), name);
  }
  EXPECT_FALSE(ParseStoredType("Q4_K").has_value());
}

}  // namespace
}  // namespace amaq::io
