#include "io/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>

#include "core/bytes.h"
#include "tests/support/errors.h"
#include "tests/support/hostile_bytes.h"

namespace amaq::io {
namespace {

constexpr std::array<float, 6> kSix = {1, 2, 3, 4, 5, 6};
constexpr std::array<float, 2> kTwo = {-1, -2};

Bytes TwoTensors() {
  return SerializeSafetensors({{"b.weight", {2, 3}, kSix}, {"a.weight", {2}, kTwo}},
                              {{"format", "pt"}});
}

// A file with this header and so many zero bytes of data.
Bytes WithHeader(const std::string& header, size_t data_bytes) {
  Bytes out;
  AppendLittleEndian(&out, uint64_t{header.size()});
  out.insert(out.end(), header.begin(), header.end());
  out.resize(out.size() + data_bytes);
  return out;
}

void Parse(ByteSpan bytes) {
  const auto file = SafetensorsFile::FromBytes(bytes, "x.safetensors");
  for (const TensorInfo& info : file->tensors()) {
    std::vector<float> out(info.num_elements);
    file->ReadF32(info.name, out);
  }
}

TEST(SafetensorsTest, WrittenTensorsReadBack) {
  const Bytes bytes = TwoTensors();

  const auto file = SafetensorsFile::FromBytes(bytes, "x");

  ASSERT_EQ(file->tensors().size(), 2u);
  EXPECT_EQ(file->tensors()[0].name, "a.weight");
  EXPECT_THAT(file->Get("b.weight").shape, ::testing::ElementsAre(2, 3));
  EXPECT_EQ(file->Get("b.weight").type, "F32");
  std::array<float, 6> six{};
  file->ReadF32("b.weight", six);
  EXPECT_EQ(six, kSix);
  EXPECT_THAT(file->metadata(), ::testing::ElementsAre(::testing::Pair("format", "pt")));
}

// Made by safetensors 0.8 in Python: save({"b.weight": ..., "a.weight": ...}, {"format": "pt"}).
TEST(SafetensorsTest, TheBytesAreThoseOfTheReferenceWriter) {
  const std::string header =
      R"({"__metadata__":{"format":"pt"},"a.weight":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
      R"("b.weight":{"dtype":"F32","shape":[2,3],"data_offsets":[8,32]}})";
  std::string padded = header;
  padded.resize((padded.size() + 7) / 8 * 8, ' ');
  Bytes expected = WithHeader(padded, 0);
  for (const float value : {-1.f, -2.f, 1.f, 2.f, 3.f, 4.f, 5.f, 6.f}) {
    AppendLittleEndian(&expected, value);
  }

  EXPECT_EQ(TwoTensors(), expected);
}

TEST(SafetensorsTest, AFileWithoutTensorsIsValid) {
  const Bytes bytes = SerializeSafetensors({}, {});

  EXPECT_TRUE(SafetensorsFile::FromBytes(bytes, "x")->tensors().empty());
}

TEST(SafetensorsTest, AnEmptyTensorIsValid) {
  const Bytes bytes =
      SerializeSafetensors({{"e", {0, 3}, {}}, {"s", {}, std::span(kTwo).first(1)}}, {});

  const auto file = SafetensorsFile::FromBytes(bytes, "x");

  EXPECT_EQ(file->Get("e").num_bytes, 0u);
  EXPECT_EQ(file->Get("s").num_elements, 1u);
}

TEST(SafetensorsTest, EveryTruncationIsRefused) {
  EXPECT_EQ(test::AcceptedTruncations(Parse, TwoTensors()), 0u);
}

TEST(SafetensorsTest, RandomCorruptionNeverCrashes) {
  EXPECT_GT(test::RefusedCorruptions(Parse, TwoTensors(), 1, 3000), 1000u);
}

TEST(SafetensorsTest, TheWriterRefusesAWrongShapeAndARepeatedName) {
  EXPECT_THROWS(SerializeSafetensors({{"a", {3}, kTwo}}, {}), Code::kInvalidArgument,
                "tensor a has 2 values");
  EXPECT_THROWS(SerializeSafetensors({{"a", {2}, kTwo}, {"a", {2}, kTwo}}, {}),
                Code::kInvalidArgument, "name a");
}

struct BadHeader {
  const char* header;
  Code code;
  const char* text;
};

class BadHeaderTest : public ::testing::TestWithParam<BadHeader> {};

TEST_P(BadHeaderTest, IsRefusedWithTheReason) {
  const BadHeader& bad = GetParam();

  EXPECT_THROWS(Parse(WithHeader(bad.header, 8)), bad.code, bad.text);
}

INSTANTIATE_TEST_SUITE_P(
    SafetensorsTest, BadHeaderTest,
    ::testing::Values(
        BadHeader{R"([])", Code::kInvalidArgument, "not a JSON object"},
        BadHeader{R"({"a":)", Code::kInvalidArgument, "header:1:6"},
        BadHeader{R"({"a":1})", Code::kInvalidArgument, "tensor a in x.safetensors must be"},
        BadHeader{R"({"a":{"dtype":"F32","shape":[2]}})", Code::kInvalidArgument, "data_offsets"},
        BadHeader{R"({"a":{"dtype":"F33","shape":[2],"data_offsets":[0,8]}})",
                  Code::kInvalidArgument, "unknown type F33"},
        BadHeader{R"({"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}})",
                  Code::kInvalidArgument, "shape"},
        BadHeader{R"({"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})",
                  Code::kInvalidArgument, "are not the 12 bytes"},
        BadHeader{R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}})",
                  Code::kInvalidArgument, "are not the 8 bytes"},
        BadHeader{R"({"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8]}})",
                  Code::kInvalidArgument, "shape"},
        BadHeader{R"({"a":{"dtype":"F64","shape":[9223372036854775807],"data_offsets":[0,8]}})",
                  Code::kInvalidArgument, "overflows"},
        BadHeader{R"({"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}})", Code::kDataLoss,
                  "tensor a in x.safetensors needs 16 bytes, the file ends after 8"},
        BadHeader{R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})",
                  Code::kInvalidArgument, "4 bytes after its last tensor"},
        BadHeader{R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
                  Code::kInvalidArgument, "begins at byte 4"},
        BadHeader{R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
                  R"("b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
                  Code::kInvalidArgument, "tensor b"},
        BadHeader{R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
                  R"("a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
                  Code::kInvalidArgument, "'a' appears twice"},
        BadHeader{
            R"({"__metadata__":{"k":1},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})",
            Code::kInvalidArgument, "'k' must be a string"}));

TEST(SafetensorsTest, AnImplausibleHeaderLengthIsRefused) {
  Bytes bytes = TwoTensors();
  bytes[7] = 0x7f;

  EXPECT_THROWS(Parse(bytes), Code::kInvalidArgument, "is this a safetensors file?");
}

TEST(SafetensorsTest, ATypeWeCannotWidenIsListedButNotRead) {
  const Bytes bytes = WithHeader(R"({"a":{"dtype":"I64","shape":[1],"data_offsets":[0,8]}})", 8);
  const auto file = SafetensorsFile::FromBytes(bytes, "x");
  std::array<float, 1> out{};

  EXPECT_EQ(file->Get("a").type, "I64");
  EXPECT_EQ(file->StoredBytes("a").size(), 8u);
  EXPECT_THROWS(file->ReadF32("a", out), Code::kUnimplemented, "tensor a in x has type I64");
}

}  // namespace
}  // namespace amaq::io
