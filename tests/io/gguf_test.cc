#include "io/gguf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <filesystem>

#include "core/dtype.h"
#include "tests/support/errors.h"
#include "tests/support/gguf_builder.h"
#include "tests/support/hostile_bytes.h"
#include "tests/support/shared_data.h"

namespace amaq::io {
namespace {

using test::GgufBuilder;

constexpr uint32_t kF32 = 0;
constexpr uint32_t kQ4_1 = 3;

Bytes Zeros(size_t count) { return Bytes(count, 0); }

Bytes Floats(const std::vector<float>& values) {
  Bytes bytes;
  for (const float value : values) AppendLittleEndian(&bytes, value);
  return bytes;
}

GgufBuilder SmallFile() {
  GgufBuilder file;
  file.String("general.architecture", "llama")
      .Uint("llama.block_count", 30)
      .Scalar("f", 6, 1.5f)
      .Scalar("i", 5, int32_t{-3})
      .Bool("flag", true)
      .Strings("words", {"", "two", "three"})
      .Array<int32_t>("types", 5, {1, -2})
      .Array<float>("floats", 6, {0.5f})
      .Tensor("w", {2, 3}, kF32, Floats({1, 2, 3, 4, 5, 6}))
      .Tensor("q", {32, 2}, kQ4_1, Zeros(40));
  return file;
}

void Parse(ByteSpan bytes) {
  const auto file = GgufFile::FromBytes(bytes, "x.gguf");
  for (const TensorInfo& info : file->tensors()) {
    std::vector<float> out(info.num_elements);
    file->ReadF32(info.name, out);
  }
}

TEST(GgufTest, MetadataReadsBack) {
  const Bytes bytes = SmallFile().Build();
  const auto file = GgufFile::FromBytes(bytes, "x.gguf");

  EXPECT_EQ(file->String("general.architecture"), "llama");
  EXPECT_EQ(file->Uint("llama.block_count"), 30u);
  EXPECT_EQ(file->Number("f"), 1.5);
  EXPECT_EQ(file->Number("i"), -3);
  EXPECT_TRUE(file->Bool("flag"));
  EXPECT_THAT(file->Strings("words"), ::testing::ElementsAre("", "two", "three"));
  EXPECT_THAT(file->Integers("types"), ::testing::ElementsAre(1, -2));
  EXPECT_EQ(std::get<std::vector<double>>(*file->FindValue("floats")).at(0), 0.5);
}

TEST(GgufTest, EveryScalarTypeIsWidened) {
  const Bytes bytes = GgufBuilder()
                          .Scalar("u8", 0, uint8_t{200})
                          .Scalar("i8", 1, int8_t{-100})
                          .Scalar("u16", 2, uint16_t{60000})
                          .Scalar("i16", 3, int16_t{-30000})
                          .Scalar("u64", 10, uint64_t{1} << 63)
                          .Scalar("i64", 11, int64_t{-1})
                          .Scalar("f64", 12, 0.1)
                          .Build();
  const auto file = GgufFile::FromBytes(bytes, "x.gguf");

  EXPECT_EQ(file->Uint("u8"), 200u);
  EXPECT_EQ(file->Number("i8"), -100);
  EXPECT_EQ(file->Uint("u16"), 60000u);
  EXPECT_EQ(file->Number("i16"), -30000);
  EXPECT_EQ(file->Uint("u64"), uint64_t{1} << 63);
  EXPECT_EQ(file->Number("i64"), -1);
  EXPECT_EQ(file->Number("f64"), 0.1);
}

TEST(GgufTest, ShapesAreOutermostFirstAndValuesRowMajor) {
  const Bytes bytes = SmallFile().Build();
  const auto file = GgufFile::FromBytes(bytes, "x.gguf");
  std::array<float, 2> row{};

  file->ReadRowsF32("w", 2, 1, row);

  EXPECT_THAT(file->Get("w").shape, ::testing::ElementsAre(3, 2));
  EXPECT_THAT(row, ::testing::ElementsAre(5, 6));
  EXPECT_EQ(file->Get("q").type, "Q4_1");
  EXPECT_EQ(file->StoredBytes("q").size(), 40u);
}

TEST(GgufTest, AnotherAlignmentIsFollowed) {
  GgufBuilder builder;
  builder.alignment = 64;
  builder.Uint("general.alignment", 64)
      .Tensor("a", {1}, kF32, Floats({7}))
      .Tensor("b", {1}, kF32, Floats({8}));
  const Bytes bytes = builder.Build();
  std::array<float, 1> out{};

  GgufFile::FromBytes(bytes, "x")->ReadF32("b", out);

  EXPECT_EQ(out[0], 8);
}

TEST(GgufTest, MissingAndMistypedKeysAreNamed) {
  const Bytes bytes = SmallFile().Build();
  const auto file = GgufFile::FromBytes(bytes, "x.gguf");

  EXPECT_THROWS(file->Uint("nothing"), Code::kNotFound, "x.gguf has no key nothing");
  EXPECT_THROWS(file->Uint("i"), Code::kInvalidArgument, "key i is not a whole number");
  EXPECT_THROWS(file->String("flag"), Code::kInvalidArgument, "key flag is not a string");
  EXPECT_THROWS(file->Integers("floats"), Code::kInvalidArgument, "floats");
}

TEST(GgufTest, EveryTruncationIsRefused) {
  EXPECT_EQ(test::AcceptedTruncations(Parse, SmallFile().Build()), 0u);
}

TEST(GgufTest, RandomCorruptionNeverCrashes) {
  EXPECT_GT(test::RefusedCorruptions(Parse, SmallFile().Build(), 2, 5000), 1000u);
}

TEST(GgufTest, AnUnknownTensorTypeNamesTensorAndType) {
  const auto with_type = [](uint32_t type) {
    return GgufBuilder().Tensor("blk.0.w", {256}, type, Zeros(144)).Build();
  };

  EXPECT_THROWS(Parse(with_type(12)), Code::kUnimplemented, "blk.0.w in x.gguf has type Q4_K (12)");
  EXPECT_THROWS(Parse(with_type(999)), Code::kUnimplemented, "unknown (999)");
}

TEST(GgufTest, AWrongVersionOrMagicIsRefused) {
  GgufBuilder builder = SmallFile();
  builder.version = 1;
  EXPECT_THROWS(Parse(builder.Build()), Code::kUnimplemented, "GGUF version 1");
  builder.version = 2;
  EXPECT_NO_THROW(Parse(builder.Build()));
  builder.magic = 0x46554748;
  EXPECT_THROWS(Parse(builder.Build()), Code::kInvalidArgument, "not a GGUF file");
}

TEST(GgufTest, RepeatedKeysAndTensorsAreRefused) {
  EXPECT_THROWS(Parse(GgufBuilder().Uint("k", 1).Uint("k", 1).Build()), Code::kInvalidArgument,
                "key k appears twice");
  EXPECT_THROWS(
      Parse(
          GgufBuilder().Tensor("t", {1}, kF32, Zeros(4)).Tensor("t", {1}, kF32, Zeros(4)).Build()),
      Code::kInvalidArgument, "tensor t appears twice");
}

TEST(GgufTest, TensorsMayNotOverlapOrBeMisalignedOrEndPastTheFile) {
  const auto two_at = [](uint64_t offset) {
    return GgufBuilder()
        .Tensor("a", {16}, kF32, Zeros(64))
        .TensorAt("b", {16}, kF32, offset, Zeros(64))
        .Build();
  };

  EXPECT_NO_THROW(Parse(two_at(64)));
  EXPECT_THROWS(Parse(two_at(32)), Code::kInvalidArgument, "overlaps");
  EXPECT_THROWS(Parse(two_at(68)), Code::kInvalidArgument, "not aligned");
  EXPECT_THROWS(Parse(two_at(96)), Code::kDataLoss, "cut off");
  EXPECT_THROWS(Parse(two_at(~uint64_t{31})), Code::kDataLoss, "cut off");
}

TEST(GgufTest, ImpossibleShapesAreRefused) {
  const auto with_shape = [](const std::vector<uint64_t>& shape, uint32_t type) {
    return GgufBuilder().Tensor("t", shape, type, Zeros(64)).Build();
  };

  EXPECT_THROWS(Parse(with_shape({}, kF32)), Code::kInvalidArgument, "0 dimensions");
  EXPECT_THROWS(Parse(with_shape({1, 1, 1, 1, 1}, kF32)), Code::kInvalidArgument, "5 dimensions");
  EXPECT_THROWS(Parse(with_shape({0}, kF32)), Code::kInvalidArgument, "dimension of 0");
  EXPECT_THROWS(Parse(with_shape({uint64_t{1} << 40, uint64_t{1} << 40}, kF32)),
                Code::kInvalidArgument, "does not fit");
  EXPECT_THROWS(Parse(with_shape({uint64_t{1} << 62}, kF32)), Code::kInvalidArgument, "overflows");
  EXPECT_THROWS(Parse(with_shape({31}, kQ4_1)), Code::kInvalidArgument, "blocks of 32");
}

TEST(GgufTest, CountsBeyondTheFileAreRefusedBeforeAnythingIsReserved) {
  Bytes bytes = GgufBuilder().Array<uint8_t>("k", 0, {1, 2, 3}).Build();
  const size_t count_at = bytes.size() - 3 - 8;
  bytes[count_at + 6] = 1;

  EXPECT_THROWS(Parse(bytes), Code::kDataLoss, "elements of key k");
}

TEST(GgufTest, ArraysOfArraysAndSplitFilesAreRefused) {
  EXPECT_THROWS(Parse(GgufBuilder().Array<uint64_t>("k", 9, {0, 0}).Build()), Code::kUnimplemented,
                "array of arrays");
  EXPECT_THROWS(Parse(GgufBuilder().Scalar("split.count", 2, uint16_t{2}).Build()),
                Code::kUnimplemented, "one of 2 parts");
}

TEST(GgufTest, AnAlignmentThatIsNoPowerOfTwoIsRefused) {
  EXPECT_THROWS(Parse(GgufBuilder().Uint("general.alignment", 0).Build()), Code::kInvalidArgument,
                "power of two, got 0");
  EXPECT_THROWS(Parse(GgufBuilder().Uint("general.alignment", 48).Build()), Code::kInvalidArgument,
                "got 48");
}

TEST(GgufTest, TheRealModelHasItsTensorsAndNamesStayAsStored) {
  const std::string path = test::RealModelPath();
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "needs " << path << ", which is not here";
  const auto file = GgufFile::Open(path);

  EXPECT_EQ(file->tensors().size(), 272u);
  EXPECT_EQ(file->Uint("llama.embedding_length"), 576u);
  EXPECT_EQ(file->Get("blk.0.attn_q.weight").type, "Q4_1");
  EXPECT_EQ(file->Get("token_embd.weight").type, "Q8_0");
  EXPECT_THAT(file->Get("token_embd.weight").shape, ::testing::ElementsAre(49152, 576));
  std::vector<float> rows(2 * 576);
  file->ReadRowsF32("token_embd.weight", 49150, 2, rows);
  double squares = 0;
  for (const float value : rows) squares += double{value} * double{value};
  EXPECT_GT(squares, 0.1);
  EXPECT_LT(squares, 1000);
  file->DropPages();
}

}  // namespace
}  // namespace amaq::io
