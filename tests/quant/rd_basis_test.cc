#include "quant/rd_basis.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "quant/rd.h"
#include "tests/quant/samples.h"

namespace amaq::quant {
namespace {

constexpr size_t kChannels = 40;

RdBasis SomeBasis(size_t reflectors) {
  RdBasis basis{Transform::kEigen,
                {std::vector<float>(kChannels, -1.5f), std::vector<float>(kChannels, 4096)},
                {}};
  Random random(3);
  for (size_t k = 0; k < reflectors; ++k) {
    basis.reflectors.weights.push_back(static_cast<int8_t>(40 - 2 * static_cast<int>(k)));
    const double limit = RdBasisWeight(basis.reflectors.weights.back());
    for (size_t i = k + 1; i < kChannels; ++i) {
      basis.reflectors.coefficients.push_back(
          static_cast<float>(std::rint(limit * (2 * random.Uniform() - 1))));
    }
  }
  return basis;
}

TEST(RdBasisTest, WhatWasWrittenIsRead) {
  for (const size_t reflectors : {size_t{0}, size_t{1}, size_t{17}, kChannels - 1}) {
    const RdBasis basis = SomeBasis(reflectors);
    const RdBasis read = ReadRdBasis(WriteRdBasis(basis), kChannels);
    EXPECT_EQ(read.transform, basis.transform);
    EXPECT_EQ(read.means.rows, basis.means.rows);
    EXPECT_EQ(read.means.sinks, basis.means.sinks);
    EXPECT_EQ(read.reflectors.weights, basis.reflectors.weights);
    EXPECT_EQ(read.reflectors.coefficients, basis.reflectors.coefficients);
  }
}

TEST(RdBasisTest, AHeadOfMoreChannelsThanItsSectionHoldsIsRefusedBeforeTheyAreAllocated) {
  std::vector<Section> sections = WriteRdBasis(SomeBasis(0));
  EXPECT_EQ(ReadRdBasisHead(sections).means.sinks.size(), kChannels);
  for (size_t i = 2; i < 6; ++i) sections[0].bytes[i] = 0xff;  // 16 GiB of means
  EXPECT_ERROR(ReadRdBasisHead(sections), Code::kDataLoss, "belong to 4294967295 channels");
}

TEST(RdBasisTest, CoefficientsInRowsOfKindsAreRefused) {
  const RdBasis basis = SomeBasis(17);
  std::vector<Section> sections = WriteRdBasis(basis);
  std::vector<float> packed = basis.reflectors.coefficients;
  packed.resize((packed.size() + 127) / 128 * 128, 0);
  RdOptions options;
  options.dead_zone = 0;
  options.kinds = RdKinds::kLearn;
  const RdEncoded coded = RdEncode(packed, options, RdModel(128), {}).value();
  ASSERT_FALSE(coded.counts.kinds.empty());
  sections.resize(1);
  sections.insert(sections.end(), coded.sections.begin(), coded.sections.end());
  EXPECT_ERROR(ReadRdBasis(sections, kChannels), Code::kDataLoss, "without a memory are of kinds");
}

TEST(RdBasisTest, WeightsAreQuarterOctaves) {
  EXPECT_EQ(RdBasisWeight(0), 1);
  EXPECT_EQ(RdBasisWeight(-8), 0.25);
  EXPECT_FLOAT_EQ(static_cast<float>(RdBasisWeight(2)), std::sqrt(2.0f));
  EXPECT_EQ(RdBasisWeight(kLargestBasisWeight), 1 << 18);
}

TEST(RdBasisTest, WhatNoUnitVectorHasIsRefused) {
  RdBasis basis = SomeBasis(5);
  EXPECT_NO_THROW(CheckRdBasis(basis.means, basis.reflectors));
  basis.reflectors.coefficients[7] = 2 + static_cast<float>(RdBasisWeight(40));
  EXPECT_ERROR(CheckRdBasis(basis.means, basis.reflectors), Code::kDataLoss, "of reflector 0");
  basis = SomeBasis(5);
  basis.reflectors.weights[4] = -73;
  EXPECT_ERROR(CheckRdBasis(basis.means, basis.reflectors), Code::kDataLoss, "weight -73");
  basis = SomeBasis(5);
  basis.reflectors.coefficients.pop_back();
  EXPECT_ERROR(CheckRdBasis(basis.means, basis.reflectors), Code::kDataLoss, "5 reflectors");
  basis = SomeBasis(0);
  for (std::vector<float>* mean : {&basis.means.rows, &basis.means.sinks}) {
    (*mean)[3] = std::numeric_limits<float>::infinity();
    EXPECT_ERROR(CheckRdBasis(basis.means, basis.reflectors), Code::kDataLoss, "not finite");
    (*mean)[3] = 0;
  }
  basis.means.sinks.pop_back();
  EXPECT_ERROR(CheckRdBasis(basis.means, basis.reflectors), Code::kDataLoss, "40 and of 39");
}

}  // namespace
}  // namespace amaq::quant
