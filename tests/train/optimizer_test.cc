#include "train/optimizer.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>

#include "tests/support/tensor_matchers.h"
#include "tests/support/tiny_model.h"

namespace amaq::train {
namespace {

using test::BitEqual;
using test::NamedTensor;
using test::NearRelative;
using ::testing::ElementsAre;

constexpr int kSteps = 10;
constexpr double kLearningRate = 0.02;
// Far from the defaults and so large that the place of each shows in ten steps.
constexpr AdamWOptions kOptions = {0.8, 0.95, 1e-2, 0.3};

lora::LowRank MakeAdapter(const std::string& name, at::ScalarType type) {
  return lora::LowRank(name, NamedTensor(name + "A", 2, 7, 1, type),
                       NamedTensor(name + "B", 5, 2, 1, type), 2);
}

at::Tensor GradientOfStep(const at::Tensor& like, const std::string& name, int step) {
  return NamedTensor(name + " gradient " + std::to_string(step), like.size(0), like.size(1), 0.1,
                     like.scalar_type());
}

void SetGradients(lora::LowRank* adapter, int step) {
  adapter->grad_a().copy_(GradientOfStep(adapter->a(), adapter->name() + "A", step));
  adapter->grad_b().copy_(GradientOfStep(adapter->b(), adapter->name() + "B", step));
}

enum class Mistake { kNone, kNoBiasCorrection, kCoupledDecay, kEpsInsideTheRoot };

// Algorithm 2 of the paper, one element after the other, in double.
at::Tensor ReferenceAdamW(const at::Tensor& start, const std::string& name, double clip_scale,
                          Mistake mistake = Mistake::kNone) {
  at::Tensor weights = start.to(at::kDouble).clone().contiguous();
  auto* w = weights.mutable_data_ptr<double>();
  std::vector<double> m(static_cast<size_t>(weights.numel()), 0);
  std::vector<double> v = m;
  for (int step = 1; step <= kSteps; ++step) {
    const at::Tensor gradient = GradientOfStep(start, name, step).to(at::kDouble);
    const auto* g = gradient.const_data_ptr<double>();
    const bool corrects = mistake != Mistake::kNoBiasCorrection;
    const double correction1 = corrects ? 1 - std::pow(kOptions.beta1, step) : 1;
    const double correction2 = corrects ? 1 - std::pow(kOptions.beta2, step) : 1;
    for (size_t i = 0; i < m.size(); ++i) {
      double gi = g[i] * clip_scale;
      if (mistake == Mistake::kCoupledDecay) {
        gi += kOptions.weight_decay * w[i];
      } else {
        w[i] -= kLearningRate * kOptions.weight_decay * w[i];
      }
      m[i] = kOptions.beta1 * m[i] + (1 - kOptions.beta1) * gi;
      v[i] = kOptions.beta2 * v[i] + (1 - kOptions.beta2) * gi * gi;
      const double v_hat = v[i] / correction2;
      const double root = mistake == Mistake::kEpsInsideTheRoot ? std::sqrt(v_hat + kOptions.eps)
                                                                : std::sqrt(v_hat) + kOptions.eps;
      w[i] -= kLearningRate * (m[i] / correction1) / root;
    }
  }
  return weights;
}

struct TrainedPair {
  at::Tensor start_a, a, b;
};

TrainedPair TrainOne(at::ScalarType type, double clip_scale) {
  lora::LowRank adapter = MakeAdapter("m", type);
  const at::Tensor start = adapter.a().clone();
  AdamW optimizer({&adapter}, kOptions);
  for (int step = 1; step <= kSteps; ++step) {
    SetGradients(&adapter, step);
    optimizer.Step(clip_scale, kLearningRate);
  }
  return {start, adapter.a(), adapter.b()};
}

TEST(AdamWTest, TenStepsInFp64AreTheReferenceLoops) {
  const TrainedPair trained = TrainOne(at::kDouble, 1);

  EXPECT_TRUE(NearRelative(trained.a, ReferenceAdamW(trained.start_a, "mA", 1), 1e-12));
  EXPECT_TRUE(
      NearRelative(trained.b, ReferenceAdamW(MakeAdapter("m", at::kDouble).b(), "mB", 1), 1e-12));
}

TEST(AdamWTest, TenStepsInFp32AreTheReferenceLoops) {
  const TrainedPair trained = TrainOne(at::kFloat, 1);

  // Ten roundings of a weight to 24 bits: 10 * 2^-24.
  EXPECT_TRUE(NearRelative(trained.a, ReferenceAdamW(trained.start_a, "mA", 1), 1e-6));
}

TEST(AdamWTest, TheClipScaleMultipliesTheGradientsOfItsStep) {
  const TrainedPair trained = TrainOne(at::kDouble, 0.25);

  EXPECT_TRUE(NearRelative(trained.a, ReferenceAdamW(trained.start_a, "mA", 0.25), 1e-12));
  EXPECT_FALSE(NearRelative(trained.a, ReferenceAdamW(trained.start_a, "mA", 1), 1e-4));
}

TEST(AdamWTest, AMissingBiasCorrectionCoupledDecayOrMisplacedEpsWouldBeCaught) {
  const TrainedPair trained = TrainOne(at::kFloat, 1);

  for (const Mistake mistake :
       {Mistake::kNoBiasCorrection, Mistake::kCoupledDecay, Mistake::kEpsInsideTheRoot}) {
    EXPECT_FALSE(NearRelative(trained.a, ReferenceAdamW(trained.start_a, "mA", 1, mistake), 1e-3))
        << static_cast<int>(mistake);
  }
}

TEST(AdamWTest, AStepLeavesTheGradientsAtZero) {
  lora::LowRank adapter = MakeAdapter("m", at::kFloat);
  AdamW optimizer({&adapter}, kOptions);
  SetGradients(&adapter, 1);

  optimizer.Step(1, kLearningRate);

  EXPECT_EQ(adapter.grad_a().abs().max().item<float>(), 0);
  EXPECT_EQ(adapter.grad_b().abs().max().item<float>(), 0);
}

TEST(AdamWTest, TwoPartiesWithHalfTheAdaptersGetTheBitsOfOneWithAll) {
  std::vector<lora::LowRank> whole, halves;
  for (const char* name : {"x", "y", "z"}) {
    whole.push_back(MakeAdapter(name, at::kFloat));
    halves.push_back(MakeAdapter(name, at::kFloat));
  }
  AdamW one({&whole[0], &whole[1], &whole[2]}, kOptions);
  AdamW client({&halves[0]}, kOptions);
  AdamW server({&halves[1], &halves[2]}, kOptions);

  for (int step = 1; step <= kSteps; ++step) {
    for (lora::LowRank& adapter : whole) SetGradients(&adapter, step);
    for (lora::LowRank& adapter : halves) SetGradients(&adapter, step);
    one.Step(0.7, kLearningRate);
    client.Step(0.7, kLearningRate);
    server.Step(0.7, kLearningRate);
  }

  for (size_t i = 0; i < whole.size(); ++i) {
    EXPECT_TRUE(BitEqual(halves[i].a(), whole[i].a())) << i;
    EXPECT_TRUE(BitEqual(halves[i].b(), whole[i].b())) << i;
  }
}

TEST(AdamWTest, CountsItsParameters) {
  lora::LowRank x = MakeAdapter("x", at::kFloat);
  lora::LowRank y = MakeAdapter("y", at::kFloat);

  EXPECT_EQ(AdamW({&x, &y}, kOptions).num_parameters(), 2u * (14 + 10));
}

TEST(SquaredNormsTest, AreSortedByTensorNameAndSummedInDouble) {
  lora::LowRank second = MakeAdapter("model.layers.2.self_attn.q_proj", at::kFloat);
  lora::LowRank tenth = MakeAdapter("model.layers.10.self_attn.q_proj", at::kFloat);
  second.grad_a().fill_(2);
  tenth.grad_b().fill_(1e25);  // its square does not fit fp32
  const AdamW optimizer({&second, &tenth}, kOptions);

  const std::vector<TensorNorm> norms = optimizer.SquaredNorms();

  std::vector<std::string> names;
  for (const TensorNorm& norm : norms) names.push_back(norm.name);
  EXPECT_THAT(names, ElementsAre("model.layers.10.self_attn.q_proj.lora_A.weight",
                                 "model.layers.10.self_attn.q_proj.lora_B.weight",
                                 "model.layers.2.self_attn.q_proj.lora_A.weight",
                                 "model.layers.2.self_attn.q_proj.lora_B.weight"));
  EXPECT_NEAR(norms[1].squared, 10e50, 1e-6 * 10e50);  // 1e25 as fp32 has 24 bits
  EXPECT_EQ(norms[2].squared, 14 * 4);
  EXPECT_EQ(norms[3].squared, 0);
}

TEST(DecideClipTest, ScalesToTheLimitAndNeverUp) {
  const std::vector<TensorNorm> norms = {{"a", 9}, {"b", 16}};

  EXPECT_EQ(DecideClip(norms, 1).total_norm, 5);
  EXPECT_DOUBLE_EQ(DecideClip(norms, 1).scale, 1 / 5.000001);  // as torch: limit / (norm + 1e-6)
  EXPECT_EQ(DecideClip(norms, 6).scale, 1);
  EXPECT_EQ(DecideClip(norms, 0).scale, 1) << "0 means no clipping";
  EXPECT_TRUE(DecideClip(norms, 1).finite);
}

TEST(DecideClipTest, GivesTheSameBitsInWhateverOrderThePartiesReport) {
  // 1e16 + 1 rounds back to 1e16: the sum depends on its order unless that is fixed.
  std::vector<TensorNorm> norms = {{"a", 1}, {"b", 1}, {"c", 1e16}, {"d", 1}, {"e", 1}};
  const double expected = DecideClip(norms, 1).total_norm;
  double forward_sum = 0;
  double other_sum = 0;
  for (const double x : {1., 1., 1., 1., 1e16}) forward_sum += x;
  for (const double x : {1e16, 1., 1., 1., 1.}) other_sum += x;
  ASSERT_NE(forward_sum, other_sum) << "the control: these numbers can show an order";

  do {
    EXPECT_EQ(DecideClip(norms, 1).total_norm, expected);
  } while (std::next_permutation(
      norms.begin(), norms.end(),
      [](const TensorNorm& x, const TensorNorm& y) { return x.name < y.name; }));
}

TEST(DecideClipTest, SaysWhenTheNormIsNotFinite) {
  const double infinity = std::numeric_limits<double>::infinity();
  const double greatest = std::numeric_limits<double>::max();

  EXPECT_FALSE(DecideClip({{"a", 1}, {"b", infinity}}, 1).finite);
  EXPECT_FALSE(DecideClip({{"a", std::nan("")}, {"b", 1}}, 1).finite);
  EXPECT_FALSE(DecideClip({{"a", greatest}, {"b", greatest}}, 1).finite);
  EXPECT_TRUE(DecideClip({{"a", greatest}, {"b", 1}}, 1).finite);
}

TEST(DecideClipTest, OfNothingIsZero) {
  EXPECT_EQ(DecideClip({}, 1).total_norm, 0);
  EXPECT_EQ(DecideClip({}, 1).scale, 1);
}

// Learning rates of steps 0, 1, ... as transformers 5's get_scheduler sets them for 10 steps.
void ExpectSchedule(const LrSchedule& schedule, const std::vector<double>& expected) {
  for (size_t step = 0; step < expected.size(); ++step) {
    EXPECT_NEAR(LearningRate(schedule, step), expected[step], 1e-18) << "step " << step;
  }
}

TEST(LearningRateTest, LinearIsTransformersLinear) {
  ExpectSchedule({LrScheduleKind::kLinear, 4e-4, 0, 3, 10},
                 {0.0, 0.00013333333333333334, 0.0002666666666666667, 0.0004,
                  0.00034285714285714285, 0.00028571428571428574, 0.00022857142857142857,
                  0.00017142857142857143, 0.00011428571428571428, 5.714285714285714e-05, 0.0, 0.0});
}

TEST(LearningRateTest, LinearWithoutWarmUpStartsAtTheTop) {
  ExpectSchedule({LrScheduleKind::kLinear, 4e-4, 0, 0, 4},
                 {0.0004, 0.00030000000000000003, 0.0002, 0.0001, 0.0});
}

TEST(LearningRateTest, LinearEndsAtItsShareOfTheTop) {
  ExpectSchedule({LrScheduleKind::kLinear, 4e-4, 0.1, 0, 4},
                 {4e-4, 3.1e-4, 2.2e-4, 1.3e-4, 4e-5, 4e-5});
}

TEST(LearningRateTest, CosineIsTransformersCosine) {
  ExpectSchedule({LrScheduleKind::kCosine, 4e-4, 0, 3, 10},
                 {0.0, 0.00013333333333333334, 0.0002666666666666667, 0.0004, 0.0003801937735804838,
                  0.00032469796037174674, 0.0002445041867912629, 0.00015549581320873715,
                  7.530203962825331e-05, 1.9806226419516192e-05, 0.0});
}

TEST(LearningRateTest, CosineWithAnEndIsTransformersCosineWithMinLr) {
  ExpectSchedule({LrScheduleKind::kCosine, 4e-4, 0.1, 3, 10},
                 {0.0, 0.00013333333333333334, 0.0002666666666666667, 0.0004,
                  0.00038217439622243544, 0.00033222816433457205, 0.00026005376811213656,
                  0.00017994623188786343, 0.00010777183566542799, 5.782560377756458e-05, 4e-05});
}

TEST(LearningRateTest, CosineStaysAtItsEndBeyondTheLastStep) {
  EXPECT_EQ(LearningRate({LrScheduleKind::kCosine, 4e-4, 0.25, 3, 10}, 25), 1e-4);
}

TEST(LearningRateTest, ConstantWarmsUpAndStays) {
  ExpectSchedule({LrScheduleKind::kConstant, 4e-4, 0.5, 3, 10},
                 {0.0, 0.00013333333333333334, 0.0002666666666666667, 0.0004, 0.0004, 0.0004,
                  0.0004, 0.0004, 0.0004, 0.0004, 0.0004});
}

TEST(LearningRateTest, AWarmUpLongerThanTheRunStillRises) {
  EXPECT_EQ(LearningRate({LrScheduleKind::kLinear, 1, 0, 20, 10}, 5), 0.25);
}

}  // namespace
}  // namespace amaq::train
