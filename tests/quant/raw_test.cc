// EncodeRaw and DecodeRaw: tensors as they are.

#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "quant/codec.h"
#include "tests/quant/samples.h"

namespace amaq::quant {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;

TEST(RawTest, FP32IsExact) {
  const Matrix x = Activations(31, 5, 7);
  std::vector<float> back(35);

  const std::vector<Section> sections = EncodeRaw(x.view(), DType::kF32);
  DecodeRaw(sections, DType::kF32, 5, 7, back);

  EXPECT_EQ(sections[0].bytes.size(), 140u);
  EXPECT_EQ(back, x.values);
}

TEST(RawTest, HalfPrecisionIsRoundedOnce) {
  const Matrix x = Activations(32, 5, 7);
  for (const DType dtype : {DType::kBF16, DType::kF16}) {
    std::vector<float> back(35);

    const std::vector<Section> sections = EncodeRaw(x.view(), dtype);
    DecodeRaw(sections, dtype, 5, 7, back);

    EXPECT_EQ(sections[0].bytes.size(), 70u);
    for (size_t i = 0; i < back.size(); ++i) {
      EXPECT_EQ(back[i], dtype == DType::kBF16 ? BF16ToF32(F32ToBF16(x.values[i]))
                                               : F16ToF32(F32ToF16(x.values[i])));
    }
  }
}

TEST(RawTest, ABF16TensorSurvivesItsOwnDType) {
  const std::vector<uint16_t> bits = {0x3f80, 0xbf81, 0x0001, 0x8000, 0x7f7f, 0x4049};
  std::vector<float> back(6);

  const auto sections = EncodeRaw({bits.data(), DType::kBF16, 2, 3}, DType::kBF16);
  DecodeRaw(sections, DType::kBF16, 2, 3, back);

  for (size_t i = 0; i < 6; ++i) EXPECT_EQ(F32ToBF16(back[i]), bits[i]);
}

TEST(RawTest, ValuesBeyondTheWireDTypeSaturate) {
  Matrix x{1, 4, {1e6f, -1e6f, 65520, 3.4e38f}};
  std::vector<float> back(4);

  DecodeRaw(EncodeRaw(x.view(), DType::kF16), DType::kF16, 1, 4, back);
  EXPECT_THAT(back, ElementsAre(65504, -65504, 65504, 65504));

  DecodeRaw(EncodeRaw(x.view(), DType::kBF16), DType::kBF16, 1, 4, back);
  EXPECT_EQ(back[3], BF16ToF32(0x7f7f));
}

TEST(RawTest, NonFiniteInputNamesRowAndChannel) {
  Matrix x = Activations(33, 3, 4);
  x.at(2, 1) = std::numeric_limits<float>::quiet_NaN();

  EXPECT_ERROR(EncodeRaw(x.view(), DType::kF32), Code::kInvalidArgument, "row 2, channel 1");
}

TEST(RawTest, HostileBytesAreRefusedBeforeAnythingIsWritten) {
  const Matrix x = Activations(34, 3, 4);
  const std::vector<Section> sections = EncodeRaw(x.view(), DType::kBF16);
  std::vector<float> out(12, -777);

  std::vector<Section> short_one = sections;
  short_one[0].bytes.pop_back();
  EXPECT_ERROR(DecodeRaw(short_one, DType::kBF16, 3, 4, out), Code::kDataLoss, "24 bytes, has 23");
  std::vector<Section> infinite = sections;
  infinite[0].bytes[22] = 0x80;
  infinite[0].bytes[23] = 0x7f;
  EXPECT_ERROR(DecodeRaw(infinite, DType::kBF16, 3, 4, out), Code::kDataLoss, "row 2");
  EXPECT_ERROR(DecodeRaw({}, DType::kBF16, 3, 4, out), Code::kDataLoss, "no raw section");
  EXPECT_ERROR(DecodeRaw(sections, DType::kF64, 3, 4, out), Code::kInvalidArgument, "fp64");
  EXPECT_THAT(out, Each(-777));
}

}  // namespace
}  // namespace amaq::quant
