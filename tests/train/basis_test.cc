#include "train/basis.h"

#include <ATen/ops/eye.h>
#include <ATen/ops/linalg_eigh.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include "core/rng.h"
#include "tensor/bridge.h"
#include "tests/support/errors.h"

namespace amaq::train {
namespace {

using ::testing::Each;

constexpr int64_t kWide = 48;
constexpr uint64_t kLongRun = 1'000'000;

// Rows whose covariance has falling variances along directions that are no channels. Sums of twelve
// uniform numbers, so that they are nearly Gaussian.
at::Tensor Correlated(int64_t rows, uint64_t key, int64_t channels = kWide) {
  at::Tensor x = at::eye(rows, channels, at::kDouble) * 0.0;
  for (uint64_t i = 0; i < 12; ++i) {
    x += tensor::UniformTensor(rows, channels, 0.5, key * 100 + i, at::kCPU);
  }
  const double decay = std::pow(0.95, static_cast<double>(kWide) / static_cast<double>(channels));
  for (int64_t c = 0; c < channels; ++c) x.select(1, c) *= 20 * std::pow(decay, c);
  const at::Tensor mixed = tensor::UniformTensor(channels, channels, 1, 5, at::kCPU);
  const auto [values, rotation] = at::linalg_eigh((mixed + mixed.t()).to(at::kDouble));
  return (x.mm(rotation) + 3.0).to(at::kFloat);
}

Moments MomentsOf(const at::Tensor& x) {
  Moments moments(x.size(1));
  moments.Add(x, {});
  return moments;
}

Basis FittedBasis(uint64_t expected_rows = kLongRun) {
  return FitBasis(Transform::kEigen, MomentsOf(Correlated(4000, 1)), expected_rows);
}

// log2 of arithmetic over geometric mean of the components' variances: twice the bits that a
// component saves on average.
double CodingGain(const Basis& basis, const at::Tensor& x) {
  const at::Tensor y = basis.Analyse(x, {}).to(at::kDouble);
  const at::Tensor variances = y.var(0, false);
  return std::log2(variances.mean().item<double>()) - variances.log2().mean().item<double>();
}

double DistanceFromOrthonormal(const Basis& basis) {
  const at::Tensor b = basis.Matrix().to(at::kDouble);
  return (b.mm(b.t()) - at::eye(b.size(0), at::kDouble)).abs().max().item<double>();
}

TEST(BasisTest, EigenPacksTheEnergyOfNewRowsAndNoneDoesNot) {
  const at::Tensor fresh = Correlated(4000, 2);
  const at::Tensor covariance = MomentsOf(fresh).Covariance();
  const at::Tensor variances = std::get<0>(at::linalg_eigh(covariance));
  const double ideal =
      std::log2(variances.mean().item<double>()) - variances.log2().mean().item<double>();
  EXPECT_GT(CodingGain(FittedBasis(), fresh), 0.97 * ideal);
  const Basis none = FitBasis(Transform::kNone, MomentsOf(Correlated(4000, 1)), kLongRun);
  EXPECT_LT(CodingGain(none, fresh), 0.4 * ideal);
  const Basis hadamard = FitBasis(Transform::kHadamard, MomentsOf(Correlated(4000, 1)), kLongRun);
  EXPECT_LT(CodingGain(hadamard, fresh), 0.4 * ideal);
}

TEST(BasisTest, ManyRowsToComeMakeTheComponentsUncorrelated) {
  const at::Tensor x = Correlated(4000, 1);
  const auto correlation = [&](uint64_t expected_rows) {
    const Basis basis = FitBasis(Transform::kEigen, MomentsOf(x), expected_rows);
    const at::Tensor covariance = MomentsOf(basis.Analyse(x, {})).Covariance();
    const at::Tensor scale = covariance.diagonal().rsqrt();
    const at::Tensor unit = covariance * scale.unsqueeze(0) * scale.unsqueeze(1);
    return (unit - at::eye(kWide, at::kDouble)).abs().max().item<double>();
  };
  const auto bytes = [&](uint64_t expected_rows) {
    size_t total = 0;
    for (const Section& section :
         WriteBasis(FitBasis(Transform::kEigen, MomentsOf(x), expected_rows))) {
      total += section.bytes.size();
    }
    return total;
  };
  EXPECT_LT(correlation(1'000'000'000), 0.1);  // what the shrinking of the fit leaves
  EXPECT_GT(correlation(100), 0.2);
  EXPECT_LT(bytes(1000), bytes(100'000));
  EXPECT_LT(bytes(100'000), bytes(100'000'000));
}

// Directions of several blocks of reflections.
TEST(BasisTest, ComponentsOfManyChannelsAreUncorrelated) {
  constexpr int64_t kMany = 150;
  const at::Tensor x = Correlated(60 * kMany, 1, kMany);
  const Basis basis = FitBasis(Transform::kEigen, MomentsOf(x), 1'000'000'000);
  const at::Tensor covariance = MomentsOf(basis.Analyse(x, {})).Covariance();
  const at::Tensor scale = covariance.diagonal().rsqrt();
  const at::Tensor unit = covariance * scale.unsqueeze(0) * scale.unsqueeze(1);
  EXPECT_LT((unit - at::eye(kMany, at::kDouble)).abs().max().item<double>(), 0.1);
  const at::Tensor variances = covariance.diagonal();
  EXPECT_GT(variances[0].item<double>(), 50 * variances[kMany - 1].item<double>());
}

// By the definition, one after the other, in double.
std::vector<double> ProductOfReflections(size_t channels, const Reflectors& reflectors) {
  std::vector<double> matrix(channels * channels, 0);
  for (size_t i = 0; i < channels; ++i) matrix[i * channels + i] = 1;
  size_t at = 0;
  for (size_t k = 0; k < reflectors.weights.size(); ++k) {
    std::vector<double> v(channels, 0);
    double squared = v[k] = 1;
    for (size_t i = k + 1; i < channels; ++i) {
      v[i] = reflectors.coefficients[at++] / std::exp2(reflectors.weights[k] / 4.0);
      squared += v[i] * v[i];
    }
    for (size_t c = 0; c < channels; ++c) {
      double dot = 0;
      for (size_t i = 0; i < channels; ++i) dot += v[i] * matrix[i * channels + c];
      for (size_t i = 0; i < channels; ++i) matrix[i * channels + c] -= 2 / squared * dot * v[i];
    }
  }
  return matrix;
}

TEST(BasisTest, TheMatrixIsTheProductOfItsReflections) {
  std::mt19937 random(17);
  for (const size_t channels : {2u, 5u, 64u, 65u, 66u, 130u, 150u}) {
    for (const size_t left_out : {1u, 2u, 4u}) {
      if (left_out >= channels) continue;
      Reflectors reflectors;
      for (size_t k = 0; k + left_out < channels; ++k) {
        reflectors.weights.push_back(static_cast<int8_t>(random() % 20));
        for (size_t i = k + 1; i < channels; ++i) {
          reflectors.coefficients.push_back(static_cast<float>(random() % 3) - 1);
        }
      }
      const std::vector<double> expected = ProductOfReflections(channels, reflectors);
      const std::vector<float> zeros(channels, 0);
      const at::Tensor matrix =
          Basis(Transform::kEigen, {zeros, zeros}, std::move(reflectors)).Matrix();
      const std::span<const float> values = tensor::Floats(matrix);
      for (size_t i = 0; i < values.size(); ++i) {
        ASSERT_NEAR(values[i], expected[i], 2e-7) << channels << " channels, element " << i;
      }
    }
  }
}

TEST(BasisTest, WhatWasAnalysedComesBack) {
  const at::Tensor x = Correlated(100, 3);
  for (const Transform transform : {Transform::kNone, Transform::kEigen, Transform::kHadamard}) {
    const Basis basis = FitBasis(transform, MomentsOf(Correlated(4000, 1)), 1000);
    EXPECT_EQ(basis.transform(), transform);
    EXPECT_LT(DistanceFromOrthonormal(basis), 1e-6);
    EXPECT_TRUE(basis.Synthesise(basis.Analyse(x, {}), {}).allclose(x, 1e-5, 1e-4));
  }
}

TEST(BasisTest, TheReceiverHasTheSendersMatrixBitForBit) {
  for (const Transform transform : {Transform::kNone, Transform::kEigen, Transform::kHadamard}) {
    const Basis sent = FitBasis(transform, MomentsOf(Correlated(4000, 1)), 20'000);
    const Basis received = ReadBasis(WriteBasis(sent), kWide);
    EXPECT_EQ(received.transform(), transform);
    EXPECT_EQ(received.means().rows, sent.means().rows);
    EXPECT_EQ(received.means().sinks, sent.means().sinks);
    EXPECT_TRUE(received.Matrix().equal(sent.Matrix()));
  }
}

TEST(BasisTest, SinkRowsAreTakenAboutAMeanOfTheirOwn) {
  at::Tensor x = Correlated(4000, 1);
  const std::vector<uint32_t> sinks = {0, 1000, 2000};
  for (const uint32_t row : sinks) x.select(0, row).fill_(4096);
  Moments moments(kWide);
  moments.Add(x, sinks);
  const Basis basis = FitBasis(Transform::kEigen, moments, kLongRun);
  EXPECT_THAT(basis.means().sinks, Each(4096));
  const at::Tensor few = x.narrow(0, 999, 5);  // one sink row
  const std::vector<uint32_t> sink = {1};
  const at::Tensor y = basis.Analyse(few, sink);
  EXPECT_EQ(y.select(0, 1).abs().max().item<float>(), 0);
  EXPECT_GT(y.select(0, 2).abs().max().item<float>(), 1);
  EXPECT_GT(basis.Analyse(few, {}).select(0, 1).abs().max().item<float>(), 4000);
  EXPECT_TRUE(basis.Synthesise(y, sink).allclose(few, 1e-5, 1e-4));
}

TEST(BasisTest, OneChannelAndTwoHaveABasis) {
  for (const int64_t channels : {1, 2}) {
    const Basis basis =
        FitBasis(Transform::kEigen, MomentsOf(Correlated(100, 1, channels)), kLongRun);
    EXPECT_EQ(ReadBasis(WriteBasis(basis), channels).means().rows, basis.means().rows);
    EXPECT_LT(DistanceFromOrthonormal(basis), 1e-6);
  }
}

TEST(BasisTest, HadamardIsOfTheLargestPowerOfTwoThatDivides) {
  const Basis basis = FitBasis(Transform::kHadamard, MomentsOf(Correlated(100, 1)), 1);
  const at::Tensor b = basis.Matrix();
  EXPECT_EQ((b.abs() == 0.25).sum().item<int64_t>(), kWide * 16);  // 48 = 3 blocks of 16
  EXPECT_EQ((b == 0).sum().item<int64_t>(), kWide * 32);
}

TEST(BasisTest, TooFewRowsOrValuesThatAreNotFiniteFallBackToNone) {
  const Basis few = FitBasis(Transform::kEigen, MomentsOf(Correlated(kWide - 1, 1)), kLongRun);
  EXPECT_EQ(few.transform(), Transform::kNone);
  EXPECT_NE(few.means().rows[0], 0);
  at::Tensor x = Correlated(200, 1);
  x.narrow(0, 7, 1).fill_(std::numeric_limits<float>::quiet_NaN());
  const Basis broken = FitBasis(Transform::kEigen, MomentsOf(x), kLongRun);
  EXPECT_EQ(broken.transform(), Transform::kNone);
  EXPECT_EQ(broken.means().rows, std::vector<float>(kWide, 0));
  EXPECT_EQ(FitBasis(Transform::kEigen, MomentsOf(Correlated(kWide, 1)), kLongRun).transform(),
            Transform::kEigen);
}

TEST(BasisTest, ChannelsThatNeverChangeAreNoTrouble) {
  at::Tensor x = Correlated(400, 1);
  x.narrow(1, 0, 20).fill_(2);
  const Basis basis = FitBasis(Transform::kEigen, MomentsOf(x), kLongRun);
  EXPECT_LT(DistanceFromOrthonormal(basis), 1e-6);
  EXPECT_TRUE(basis.Synthesise(basis.Analyse(x, {}), {}).allclose(x, 1e-5, 1e-4));
  const at::Tensor still = x * 0.0;
  EXPECT_LT(DistanceFromOrthonormal(FitBasis(Transform::kEigen, MomentsOf(still), 10)), 1e-6);
}

class HostileBasisTest : public ::testing::Test {
 protected:
  // One byte of the head replaced.
  std::vector<Section> With(size_t offset, uint8_t value) const {
    std::vector<Section> sections = sections_;
    sections[0].bytes.at(offset) = value;
    return sections;
  }
  const std::vector<Section> sections_ = WriteBasis(FittedBasis(20'000));
  static constexpr size_t kMean = 10;
  static constexpr size_t kWeights = kMean + 4 * kWide;
};

TEST_F(HostileBasisTest, WhatIsNoBasisIsRefused) {
  EXPECT_THROWS(ReadBasis({}, kWide), Code::kDataLoss, "without its section");
  EXPECT_THROWS(ReadBasis(With(0, 1), kWide), Code::kDataLoss, "version 1");
  EXPECT_THROWS(ReadBasis(With(1, 9), kWide), Code::kDataLoss, "unknown transform 9");
  EXPECT_THROWS(ReadBasis(sections_, kWide + 1), Code::kDataLoss,
                "of 48 channels, the tensor of 49");
  EXPECT_THROWS(ReadBasis(With(6, 48), kWide), Code::kDataLoss, "48 reflectors");
  EXPECT_THROWS(ReadBasis(With(9, 0x7f), kWide), Code::kDataLoss, "reflectors");
  EXPECT_THROWS(ReadBasis(With(1, 3), kWide), Code::kDataLoss, "reflectors");
  std::vector<Section> infinite = With(kMean, 0x80);
  infinite[0].bytes[kMean + 1] = 0x7f;
  EXPECT_THROWS(ReadBasis(infinite, kWide), Code::kDataLoss, "not finite");
  EXPECT_THROWS(ReadBasis(With(kWeights, 73), kWide), Code::kDataLoss, "weight 73");
  // Smaller weights mean larger coefficients than a unit vector has.
  EXPECT_THROWS(ReadBasis(With(kWeights, 0x100 - 72), kWide), Code::kDataLoss,
                "of reflector 0 of the basis is above");
  EXPECT_THROWS(ReadBasis({sections_[0]}, kWide), Code::kDataLoss, "");
}

TEST_F(HostileBasisTest, EveryPrefixAndEveryLongerHeadIsRefused) {
  for (size_t length = 0; length < sections_[0].bytes.size(); ++length) {
    std::vector<Section> sections = sections_;
    sections[0].bytes.resize(length);
    EXPECT_THROWS(ReadBasis(sections, kWide), Code::kDataLoss, "");
  }
  std::vector<Section> sections = sections_;
  sections[0].bytes.push_back(0);
  EXPECT_THROWS(ReadBasis(sections, kWide), Code::kDataLoss, "239 belong to 48 channels");
}

TEST_F(HostileBasisTest, DamageIsRefusedOrLeavesAnOrthonormalMatrix) {
  uint64_t accepted = 0;
  for (uint32_t i = 0; i < 1500; ++i) {
    std::vector<Section> sections = sections_;
    for (uint32_t change = 0; change <= i % 3; ++change) {
      const auto words = Philox4x32(17, {i, change, 0, 0});
      Bytes& bytes = sections[words[0] % sections.size()].bytes;
      const size_t place = words[1] % bytes.size();
      const auto at = bytes.begin() + static_cast<ptrdiff_t>(place);
      switch (words[3] % 8) {
        case 0:
          bytes.insert(at, static_cast<uint8_t>(words[2]));
          break;
        case 1:
          bytes.erase(at);
          break;
        case 2:
          bytes.resize(place + 1);
          break;
        default:
          bytes[place] = static_cast<uint8_t>(words[2]);
      }
    }
    try {
      const Basis basis = ReadBasis(sections, kWide);
      EXPECT_LT(DistanceFromOrthonormal(basis), 1e-6);
      ++accepted;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::kDataLoss);
    }
  }
  EXPECT_GT(accepted, 0u);  // the mean and small coefficients may be anything
}

}  // namespace
}  // namespace amaq::train
