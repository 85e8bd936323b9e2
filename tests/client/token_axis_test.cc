// quant.axis: token in training: widths by position cross, both parties read them alike, and what
// lies beyond data.max_length has the last position's.

#include <gtest/gtest.h>

#include <cmath>

#include "quant/codec.h"
#include "quant/token_axis.h"
#include "tests/support/driven.h"

namespace amaq::client {
namespace {

using test::DirectLink;
using test::Driven;
using transport::Message;
using transport::Phase;

class TokenAxisTest : public test::DrivenTest {
 protected:
  TokenAxisTest() {
    config_.quant.axis = "token";
    config_.quant.adapt_steps = 3;
    config_.quant.target_bits = 4;
  }
};

TEST_F(TokenAxisTest, EveryMethodOfTokensTrainsWithAWidthForEachPosition) {
  for (const char* method : {"fixed", "linear", "waterfill", "amaq"}) {
    SCOPED_TRACE(method);
    config_.quant.method = method;
    Driven driven = Drive();
    if (driven.widths->calibration_micro_batches() > 0) driven.driver->Calibrate(Batches(2, 2));

    for (int step = 0; step < 5; ++step) {
      const StepResult result = driven.driver->RunStep(Batches(2, 3), 1e-2);
      EXPECT_FALSE(result.skipped);
      EXPECT_GT(result.gradient_bits, 2);
    }
    driven.driver->Drain();

    const auto forward = DirectLink::Of(driven.link.sent, Phase::kForward);
    std::vector<uint8_t> widths;
    for (const Message* message : forward) {
      const Bytes* sent = FindSection(message->sections, SectionKind::kWidths);
      if (sent != nullptr) widths = *sent;
      if (message->gate.version == 0) continue;
      EXPECT_EQ(widths.size(), config_.data.max_length);
      const std::vector<uint32_t> segments =
          quant::ParseSegments(message->sections, message->tensor->tokens);
      std::vector<uint8_t> of_rows;
      const auto positions = quant::PositionsOfRows(segments);
      for (const uint32_t position : positions) {
        if (position > 0) of_rows.push_back(widths[position]);  // sinks are apart
      }
      EXPECT_EQ(FindSection(message->sections, SectionKind::kCodes)->size(),
                quant::CodesBytes(message->tensor->channels, of_rows));
    }
    EXPECT_EQ(driven.widths->phase(), quant::PolicyPhase::kFrozen);
    if (method == std::string("amaq")) {
      const quant::WidthReport report = driven.widths->Report();
      EXPECT_LE(report.mean_bits, 4);
      EXPECT_GT(report.mean_bits, 3.7);
      EXPECT_GT(report.widths_spread, 0.1) << "a gate that learned nothing has none";
      EXPECT_GT(report.widths_correlation, 0.6);
    }
  }
}

TEST_F(TokenAxisTest, AtEightBitsTrainingIsNearlyThatOfMethodNone) {
  const auto loss = [this](const char* method) {
    config_.quant.method = method;
    config_.quant.axis = method == std::string("none") ? "channel" : "token";
    config_.quant.bits = 8;
    Driven driven = Drive();
    for (int step = 0; step < 4; ++step) driven.driver->RunStep(Batches(2, 3), 1e-2);
    return driven.driver->Evaluate(Batches(2, 3)).MeanLoss();
  };

  EXPECT_NEAR(loss("fixed"), loss("none"), 0.01);
}

TEST_F(TokenAxisTest, AdamWithItsStraightThroughGradientTrainsToo) {
  config_.quant.method = "amaq";
  config_.quant.gate.update = "adam";
  config_.quant.gate.grad = "ste";
  Driven driven = Drive();

  for (int step = 0; step < 4; ++step) {
    EXPECT_FALSE(driven.driver->RunStep(Batches(2, 3), 1e-2).skipped);
  }
  EXPECT_EQ(driven.widths->phase(), quant::PolicyPhase::kFrozen);
}

TEST_F(TokenAxisTest, TheWindowDoesNotMatter) {
  config_.quant.method = "amaq";
  std::vector<Bytes> adapters;
  for (const uint32_t window : {1u, 3u}) {
    config_.train.in_flight = window;
    Driven driven = Drive();
    for (int step = 0; step < 3; ++step) driven.driver->RunStep(Batches(3, 2), 1e-2);
    driven.driver->Drain();
    adapters.push_back(driven.ClientAdapter());
    adapters.push_back(driven.link.FetchAdapter());
  }

  EXPECT_EQ(adapters[2], adapters[0]);
  EXPECT_EQ(adapters[3], adapters[1]);
}

// The records have up to max_length tokens; a generated answer may be longer.
TEST_F(TokenAxisTest, SequencesBeyondMaxLengthCrossAtTheLastPositionsWidth) {
  config_.quant.method = "fixed";
  config_.data.max_length = 9;
  Driven driven = Drive();
  std::vector<int32_t> prompt(12, 104);

  driven.driver->Generate(prompt, 2, -1);

  const Message& first = driven.link.sent.front();
  EXPECT_EQ(FindSection(first.sections, SectionKind::kWidths)->size(), 9u);
  EXPECT_EQ(FindSection(first.sections, SectionKind::kCodes)->size(),
            quant::CodesBytes(32, std::vector<uint8_t>(11, uint8_t{4})));
}

}  // namespace
}  // namespace amaq::client
