#include "io/tensor_source.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>

#include "io/safetensors.h"
#include "tests/support/errors.h"

namespace amaq::io {
namespace {

class TensorSourceTest : public ::testing::Test {
 protected:
  const std::array<float, 6> six_ = {1, 2, 3, 4, 5, 6};
  const Bytes bytes_ = SerializeSafetensors({{"m", {3, 2}, six_}, {"v", {6}, six_}}, {});
  const std::unique_ptr<TensorSource> source_ = SafetensorsFile::FromBytes(bytes_, "x");
};

TEST_F(TensorSourceTest, RowsAreThoseOfTheWholeTensor) {
  std::array<float, 4> rows{};

  source_->ReadRowsF32("m", 1, 2, rows);

  EXPECT_THAT(rows, ::testing::ElementsAre(3, 4, 5, 6));
}

TEST_F(TensorSourceTest, RowsPastTheEndAreRefused) {
  std::array<float, 4> rows{};

  EXPECT_THROWS(source_->ReadRowsF32("m", 2, 2, rows), Code::kOutOfRange, "3 rows");
  EXPECT_THROWS(source_->ReadRowsF32("m", ~uint64_t{0}, 2, rows), Code::kOutOfRange, "3 rows");
  EXPECT_THROWS(source_->ReadRowsF32("v", 0, 1, rows), Code::kInvalidArgument, "need two");
}

TEST_F(TensorSourceTest, AWrongNumberOfElementsIsRefused) {
  std::array<float, 5> five{};

  EXPECT_THROWS(source_->ReadF32("m", five), Code::kInvalidArgument,
                "tensor m in x has 6 elements, 5 were expected");
  EXPECT_THROWS(source_->ReadRowsF32("m", 0, 2, five), Code::kInvalidArgument, "4 elements");
}

TEST_F(TensorSourceTest, AMissingTensorIsNamed) {
  std::array<float, 1> out{};

  EXPECT_EQ(source_->Find("w"), nullptr);
  EXPECT_THROWS(source_->ReadF32("w", out), Code::kNotFound, "no tensor w in x");
}

}  // namespace
}  // namespace amaq::io
