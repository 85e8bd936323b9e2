#include "io/npy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>

#include "core/bytes.h"
#include "tests/support/errors.h"
#include "tests/support/hostile_bytes.h"

namespace amaq::io {
namespace {

constexpr std::array<float, 6> kSix = {0, 1, 2, 3, 4, 5};

// A version 1.0 file with this header and so many zero bytes of data.
Bytes WithHeader(const std::string& header, size_t data_bytes) {
  const std::string magic("\x93NUMPY\x01\0", 8);
  Bytes out(magic.begin(), magic.end());
  AppendLittleEndian(&out, static_cast<uint16_t>(header.size()));
  out.insert(out.end(), header.begin(), header.end());
  out.resize(out.size() + data_bytes);
  return out;
}

void Parse(ByteSpan bytes) {
  const auto file = NpyFile::FromBytes(bytes, "x.npy");
  std::vector<float> out(file->tensors()[0].num_elements);
  file->ReadF32(kNpyTensor, out);
}

TEST(NpyTest, AWrittenArrayReadsBack) {
  const std::array<int64_t, 2> shape = {2, 3};
  const Bytes bytes = SerializeNpy(shape, kSix);

  const auto file = NpyFile::FromBytes(bytes, "x.npy");

  ASSERT_EQ(file->tensors().size(), 1u);
  EXPECT_THAT(file->Get(kNpyTensor).shape, ::testing::ElementsAre(2, 3));
  std::array<float, 6> six{};
  file->ReadF32(kNpyTensor, six);
  EXPECT_EQ(six, kSix);
}

// numpy.save(f, numpy.arange(6, dtype='<f4').reshape(2, 3)) of numpy 2.4 writes this header.
TEST(NpyTest, TheBytesAreThoseOfNumpy) {
  const std::array<int64_t, 2> shape = {2, 3};
  std::string header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }";
  header.resize(117, ' ');
  Bytes expected = WithHeader(header + "\n", 0);
  for (const float value : kSix) AppendLittleEndian(&expected, value);

  EXPECT_EQ(SerializeNpy(shape, kSix), expected);
}

TEST(NpyTest, AVectorHasATrailingComma) {
  const std::array<int64_t, 1> shape = {6};
  const Bytes bytes = SerializeNpy(shape, kSix);

  EXPECT_THAT(std::string(bytes.begin(), bytes.end()), ::testing::HasSubstr("'shape': (6,), }"));
  EXPECT_THAT(NpyFile::FromBytes(bytes, "x")->Get(kNpyTensor).shape, ::testing::ElementsAre(6));
}

TEST(NpyTest, HalfPrecisionIsWidened) {
  Bytes bytes = WithHeader("{'descr': '<f2', 'fortran_order': False, 'shape': (1,)}\n", 2);
  bytes.back() = 0x3c;

  const auto file = NpyFile::FromBytes(bytes, "x.npy");

  std::array<float, 1> one{};
  file->ReadF32(kNpyTensor, one);
  EXPECT_EQ(one[0], 1.0f);
}

TEST(NpyTest, VersionsWithALongLengthAreRead) {
  const std::string header = "{'shape': (), 'fortran_order': False, \"descr\": '<f4'}";
  for (const char major : {'\2', '\3'}) {
    const std::string magic = std::string("\x93NUMPY") + major + '\0';
    Bytes bytes(magic.begin(), magic.end());
    AppendLittleEndian(&bytes, static_cast<uint32_t>(header.size()));
    bytes.insert(bytes.end(), header.begin(), header.end());
    bytes.resize(bytes.size() + 4);

    EXPECT_EQ(NpyFile::FromBytes(bytes, "x")->tensors()[0].num_elements, 1u);
  }
}

TEST(NpyHostileTest, WhatIsNotUnderstoodIsRefused) {
  const auto refuse = [](const std::string& header, size_t data, Code code,
                         const std::string& text) {
    SCOPED_TRACE(header);
    EXPECT_THROWS(Parse(WithHeader(header, data)), code, text);
  };
  refuse("{'descr': '>f4', 'fortran_order': False, 'shape': (1,)}", 4, Code::kUnimplemented, ">f4");
  refuse("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", 4, Code::kUnimplemented, "|O");
  refuse("{'descr': '<f4', 'fortran_order': True, 'shape': (1,)}", 4, Code::kUnimplemented,
         "Fortran");
  refuse("{'descr': '<f4', 'shape': (1,)}", 4, Code::kInvalidArgument, "must have");
  refuse("{'descr': '<f4', 'fortran_order': 0, 'shape': (1,)}", 4, Code::kInvalidArgument, "True");
  refuse("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}", 4, Code::kInvalidArgument,
         "whole number");
  refuse("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,)}", 4,
         Code::kInvalidArgument, "whole number");
  refuse("{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296)}", 0,
         Code::kInvalidArgument, "overflows");
  refuse("{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904,)}", 0,
         Code::kInvalidArgument, "overflows");
  refuse("{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (1,)}", 4,
         Code::kInvalidArgument, "twice");
  refuse("{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'x': 'y'}", 4,
         Code::kInvalidArgument, "unknown key");
  refuse("{'descr': '<f4', 'fortran_order': False, 'shape': (1,)} x", 4, Code::kInvalidArgument,
         "follows");
  refuse("[]", 4, Code::kInvalidArgument, "expected");
  refuse("{'descr': '<f4", 4, Code::kInvalidArgument, "does not end");
}

TEST(NpyHostileTest, DataThatDoNotFillTheFileAreRefused) {
  const std::string header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}";
  EXPECT_THROWS(Parse(WithHeader(header, 7)), Code::kDataLoss, "8 bytes");
  EXPECT_THROWS(Parse(WithHeader(header, 9)), Code::kInvalidArgument, "8 bytes");
}

TEST(NpyHostileTest, AnotherMagicOrVersionIsRefused) {
  Bytes bytes = WithHeader("{}", 0);
  bytes[6] = 4;
  EXPECT_THROWS(Parse(bytes), Code::kUnimplemented, "version 4");
  bytes[1] = 'X';
  EXPECT_THROWS(Parse(bytes), Code::kInvalidArgument, "not an .npy file");
  EXPECT_THROWS(Parse({}), Code::kInvalidArgument, "not an .npy file");
}

TEST(NpyHostileTest, NoTruncationIsAcceptedAndNoCorruptionCrashes) {
  const std::array<int64_t, 2> shape = {2, 3};
  const Bytes valid = SerializeNpy(shape, kSix);

  EXPECT_EQ(test::AcceptedTruncations(Parse, valid), 0u);
  EXPECT_GT(test::RefusedCorruptions(Parse, valid, 1, 2000), 100u);
}

}  // namespace
}  // namespace amaq::io
