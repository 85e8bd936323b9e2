// Method amaq-rd through the driver and a server's half: what each message may change, and when.

#include <gtest/gtest.h>

#include <limits>

#include "tests/support/driven.h"
#include "tests/support/errors.h"

namespace amaq::client {
namespace {

using test::DirectLink;
using test::Driven;
using transport::Message;
using transport::Phase;

class RdDriverTest : public test::DrivenTest {
 protected:
  RdDriverTest() {
    config_.quant.method = "amaq-rd";
    config_.quant.target_bits = 2;
    config_.quant.schedule = "constant";
    config_.train.max_grad_norm = 0;
  }

  void Fit(const Driven& driven) const {
    driven.driver->FitTransform(Batches(6, 2), quant::Transform::kEigen, 1000);
  }
  Driven DriveFitted() const {
    Driven driven = Drive();
    Fit(driven);
    return driven;
  }

  static std::vector<Bytes> CodesOf(const Message& message) {
    std::vector<Bytes> codes;
    for (const Section& section : message.sections) codes.push_back(section.bytes);
    return codes;
  }
  static const Message& Forward(const Driven& driven, size_t index) {
    return *DirectLink::Of(driven.link.sent, Phase::kForward).at(index);
  }
};

TEST_F(RdDriverTest, ActivationsCrossAsCodesOfAStepSize) {
  Driven driven = DriveFitted();
  const StepResult result = driven.driver->RunStep(Batches(2, 2), 1e-2);

  EXPECT_NE(FindSection(driven.link.sent.at(0).sections, SectionKind::kRdBasis), nullptr);
  for (const Message* message : DirectLink::Of(driven.link.sent, Phase::kForward)) {
    EXPECT_NE(FindSection(message->sections, SectionKind::kRdCodes), nullptr);
    EXPECT_EQ(FindSection(message->sections, SectionKind::kSinkRows), nullptr);
    EXPECT_EQ(FindSection(message->sections, SectionKind::kWidths), nullptr);
    EXPECT_EQ(FindSection(message->sections, SectionKind::kRaw), nullptr);
  }
  EXPECT_GT(result.activation_bits, 0);
}

TEST_F(RdDriverTest, TheWindowDoesNotChangeTheRun) {
  std::vector<Bytes> adapters;
  for (const uint32_t window : {1u, 2u, 4u}) {
    config_.train.in_flight = window;
    Driven driven = DriveFitted();
    for (int step = 0; step < 3; ++step) driven.driver->RunStep(Batches(4, 2), 1e-2);
    driven.driver->Drain();
    adapters.push_back(driven.ClientAdapter());
    adapters.push_back(driven.link.FetchAdapter());
  }
  for (size_t i = 2; i < adapters.size(); ++i) EXPECT_EQ(adapters[i], adapters[i % 2]);
}

TEST_F(RdDriverTest, AnAbortedAttemptLeavesNoTrace) {
  std::vector<Bytes> adapters;
  std::vector<std::vector<Bytes>> codes;
  for (const bool aborts : {false, true}) {
    Driven driven = DriveFitted();
    if (aborts) driven.driver->Calibrate(Batches(3, 3));
    for (int step = 0; step < 3; ++step) driven.driver->RunStep(Batches(2, 2), 1e-2);
    driven.driver->Drain();
    codes.push_back(CodesOf(*DirectLink::Of(driven.link.sent, Phase::kForward).back()));
    adapters.push_back(driven.ClientAdapter());
    adapters.push_back(driven.link.FetchAdapter());
  }
  EXPECT_EQ(adapters[2], adapters[0]);
  EXPECT_EQ(adapters[3], adapters[1]);
  EXPECT_EQ(codes[1], codes[0]);  // the tables say what was remembered
}

TEST_F(RdDriverTest, ASkippedStepLeavesNoTrace) {
  Driven plain = DriveFitted();
  for (int step = 0; step < 2; ++step) plain.driver->RunStep(Batches(2, 2), 0);
  Driven skipping = DriveFitted();
  skipping.link.change_down = [](Message& message) {
    if (message.key.step == 0 && message.key.phase == Phase::kNorm) {
      message.item = transport::NormInfo{false};
    }
  };
  const StepResult skipped = skipping.driver->RunStep(Batches(3, 3), 1e-2);
  EXPECT_TRUE(skipped.skipped);
  EXPECT_EQ(skipped.activation_bits, 0);  // no step was kept
  for (int step = 0; step < 2; ++step) skipping.driver->RunStep(Batches(2, 2), 0);

  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(CodesOf(Forward(skipping, 3 + i)), CodesOf(Forward(plain, i)));
  }
  // A kept step does leave one: the control.
  EXPECT_NE(CodesOf(Forward(plain, 2)), CodesOf(Forward(plain, 0)));
}

TEST_F(RdDriverTest, EvaluationAndGenerationLeaveNoTrace) {
  std::vector<Bytes> adapters;
  for (const bool evaluates : {false, true}) {
    Driven driven = DriveFitted();
    for (int step = 0; step < 2; ++step) {
      if (evaluates) {
        driven.driver->Evaluate(Batches(3, 2));
        driven.driver->Generate({5, 6, 7}, 3, -1);
      }
      driven.driver->RunStep(Batches(2, 2), 1e-2);
    }
    driven.driver->Drain();
    adapters.push_back(driven.ClientAdapter());
    adapters.push_back(driven.link.FetchAdapter());
  }
  EXPECT_EQ(adapters[2], adapters[0]);
  EXPECT_EQ(adapters[3], adapters[1]);
}

TEST_F(RdDriverTest, AnActivationThatIsNotFiniteIsNamedAndChangesNothing) {
  Driven driven = DriveFitted();
  lora::LowRank& adapter = *driven.stage->adapters().front();
  adapter.b().fill_(std::numeric_limits<float>::infinity());
  const StepResult result = driven.driver->RunStep(Batches(1, 2), 1e-2);
  EXPECT_TRUE(result.skipped);
  EXPECT_EQ(
      result.skip_reason,
      "the activation of BACKWARD step 0.0 micro-batch 0 is not finite at token 0, channel 0");
  EXPECT_TRUE(Forward(driven, 0).sections.empty());
}

TEST_F(RdDriverTest, ABasisComesOnceAndFirst) {
  {
    Driven driven = DriveFitted();
    EXPECT_THROWS(Fit(driven), Code::kFailedPrecondition, "is the second of its run");
  }
  {
    Driven driven = DriveFitted();
    driven.driver->RunStep(Batches(1, 2), 1e-2);
    driven.driver->Drain();
    EXPECT_THROWS(Fit(driven), Code::kFailedPrecondition, "after the first FORWARD");
  }
  {
    Driven driven = Drive();
    EXPECT_THROWS(driven.driver->RunStep(Batches(1, 2), 1e-2), Code::kFailedPrecondition,
                  "before its basis");
  }
}

TEST_F(RdDriverTest, AServerOfAnotherMethodRefusesABasis) {
  Driven rd = DriveFitted();
  Message basis = rd.link.sent.at(0);
  config_.quant.method = "amaq";
  config_.quant.target_bits = 3;
  Driven driven = Drive();
  EXPECT_THROWS(driven.link.Send(basis), Code::kInvalidArgument, "quant.method amaq");
}

TEST_F(RdDriverTest, ADamagedBasisIsRefused) {
  Driven driven = Drive();
  driven.link.change_up = [](Message& message) { message.sections.at(0).bytes.pop_back(); };
  EXPECT_THROWS(Fit(driven), Code::kDataLoss, "basis section");
}

TEST_F(RdDriverTest, TheStateHoldsTheBasisAndTheStep) {
  Driven driven = DriveFitted();
  driven.driver->RunStep(Batches(2, 2), 1e-2);
  const auto state = driven.driver->TransformState();
  EXPECT_EQ(state.at("rd.mean").size(), 32u);
  EXPECT_NE(state.at("rd.sink_mean"), state.at("rd.mean"));
  EXPECT_EQ(state.at("rd.transform"), std::vector<float>{2});
  EXPECT_EQ(state.at("rd.classes").size(), 32u);
  EXPECT_EQ(state.at("rd.log2_step").size(), 1u);
  EXPECT_GT(state.at("rd.coefficients").size(), state.at("rd.weights").size());
}

}  // namespace
}  // namespace amaq::client
