#include "tests/support/tensor_matchers.h"

#include <cmath>
#include <limits>

#include "tensor/bridge.h"

namespace amaq::test {
namespace {

at::Tensor Sample(at::ScalarType type) {
  return tensor::UniformTensor(3, 5, 1, 7, at::kCPU).to(type);
}

TEST(BitEqualTest, AcceptsACopyAndRefusesOneFlippedBit) {
  const at::Tensor x = Sample(at::kFloat);
  at::Tensor y = x.clone();
  EXPECT_TRUE(BitEqual(x, y));

  auto* data = y.mutable_data_ptr<float>();
  data[14] = std::nextafter(data[14], 2.0f);

  EXPECT_FALSE(BitEqual(x, y));
}

TEST(BitEqualTest, RefusesAnotherShapeTypeOrSignOfZero) {
  const at::Tensor x = Sample(at::kFloat);
  const at::Tensor zero = x * 0;

  EXPECT_FALSE(BitEqual(x, x.narrow(0, 0, 2)));
  EXPECT_FALSE(BitEqual(x, x.to(at::kDouble)));
  EXPECT_FALSE(BitEqual(zero.abs(), zero.abs().neg()));
  EXPECT_FALSE(BitEqual(x, at::Tensor()));
}

TEST(NearRelativeTest, RefusesTwiceTheToleranceAndAcceptsHalfOfIt) {
  const at::Tensor x = Sample(at::kDouble);
  const double greatest = x.abs().max().item<double>();
  const auto moved = [&](double by) {
    at::Tensor y = x.clone();
    y.mutable_data_ptr<double>()[0] += by * greatest;
    return y;
  };

  EXPECT_TRUE(NearRelative(moved(0.5e-6), x, 1e-6));
  EXPECT_FALSE(NearRelative(moved(2e-6), x, 1e-6));
}

TEST(NearRelativeTest, RefusesNanAnywhereAndAnythingButZeroForZeros) {
  const at::Tensor x = Sample(at::kFloat);
  at::Tensor broken = x.clone();
  broken.mutable_data_ptr<float>()[3] = std::numeric_limits<float>::quiet_NaN();
  const at::Tensor zeros = (x * 0).abs();

  EXPECT_FALSE(NearRelative(broken, x, 1));
  EXPECT_FALSE(NearRelative(x, broken, 1));
  EXPECT_TRUE(NearRelative(zeros, zeros, 1e-6));
  EXPECT_FALSE(NearRelative(zeros + 1e-30, zeros, 1));
}

TEST(CentralDifferenceTest, FindsACubicsDerivativeRestoresItsInputAndCatchesAWrongFactor) {
  const at::Tensor x = Sample(at::kDouble);
  const at::Tensor before = x.clone();

  const at::Tensor derivative = CentralDifference([&] { return x.pow(3).sum().item<double>(); }, x);

  EXPECT_TRUE(NearRelative(derivative, x.square() * 3, kDifferenceTolerance));
  EXPECT_FALSE(NearRelative(derivative, x.square() * 3.000001, kDifferenceTolerance));
  EXPECT_TRUE(BitEqual(x, before));
}

}  // namespace
}  // namespace amaq::test
