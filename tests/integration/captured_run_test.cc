// What crosses the wire in runs of each method, read back from wire.capture_dir.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <set>
#include <string>

#include "io/safetensors.h"
#include "quant/codec.h"
#include "tests/support/tiny_run.h"
#include "train/cut.h"
#include "train/supervision.h"
#include "transport/capture.h"

namespace amaq {
namespace {

using test::TinyRun;
using transport::GatePhase;
using transport::Message;
using transport::Phase;
using transport::Way;

constexpr int64_t kVocab = 272;

class CapturedRunTest : public ::testing::Test {
 protected:
  CapturedRunTest() : run_("captured"), config_(run_.client) {
    config_.wire.dtype = "bf16";
    config_.wire.capture_dir = run_.Path("capture");
    config_.train.max_steps = 8;
    config_.quant.adapt_steps = 5;
  }

  void RunMethod(const std::string& method) {
    config_.quant.method = method;
    test::RunInproc(config_);
  }

  Message Read(uint64_t step, uint32_t attempt, uint32_t micro_batch, Phase phase, Way way) const {
    transport::MessageKey key;
    key.step = step;
    key.attempt = attempt;
    key.micro_batch = micro_batch;
    key.phase = phase;
    return transport::ReadCapture(PathOf(key, way));
  }
  Message Forward(uint64_t step, uint32_t micro_batch, uint32_t attempt = 0) const {
    return Read(step, attempt, micro_batch, Phase::kForward, Way::kUp);
  }
  Message Backward(uint64_t step, uint32_t micro_batch, uint32_t attempt = 0) const {
    return Read(step, attempt, micro_batch, Phase::kBackward, Way::kDown);
  }
  std::string PathOf(const transport::MessageKey& key, Way way) const {
    return config_.wire.capture_dir + "/" + transport::CaptureName(key, way);
  }

  // The widths of each step's forward tensor, following the versions as a receiver does. Checks
  // that widths cross when their version is new and never else.
  std::vector<std::vector<uint8_t>> WidthsBySteps(uint32_t attempt_of_step_0 = 0) const {
    std::vector<std::vector<uint8_t>> by_step;
    uint64_t version = 0;
    for (uint64_t step = 0; step < config_.train.max_steps; ++step) {
      const uint32_t attempt = step == 0 ? attempt_of_step_0 : 0;
      for (uint32_t mb = 0; mb < config_.train.gradient_accumulation_steps; ++mb) {
        const Message message = Forward(step, mb, attempt);
        EXPECT_GE(message.gate.version, version);
        const Bytes* widths = FindSection(message.sections, SectionKind::kWidths);
        EXPECT_EQ(widths != nullptr, message.gate.version != version) << ToString(message.key);
        if (widths != nullptr) {
          EXPECT_TRUE(by_step.empty() || *widths != by_step.back())
              << "a new version of the same widths at step " << step;
          by_step.resize(step, by_step.empty() ? std::vector<uint8_t>{} : by_step.back());
          by_step.push_back(*widths);
        }
        version = message.gate.version;
      }
      if (by_step.size() <= step) by_step.push_back(by_step.back());
    }
    return by_step;
  }

  TinyRun run_;
  config::ClientConfig config_;
};

double Mean(const std::vector<uint8_t>& widths) {
  return std::accumulate(widths.begin(), widths.end(), 0.0) / static_cast<double>(widths.size());
}

uint64_t SizeOfSection(const Message& message, SectionKind kind) {
  const Bytes* bytes = FindSection(message.sections, kind);
  return bytes == nullptr ? 0 : bytes->size();
}

TEST_F(CapturedRunTest, AmaqsWidthsFallFrom8AndFreezeAtTheTarget) {
  RunMethod("amaq");
  const std::vector<std::vector<uint8_t>> widths = WidthsBySteps();

  EXPECT_EQ(Mean(widths[0]), 8);
  for (size_t step = 1; step < widths.size(); ++step) {
    EXPECT_LE(Mean(widths[step]), Mean(widths[step - 1])) << step;
  }
  EXPECT_LE(Mean(widths.back()), 3);
  EXPECT_GT(std::set<uint8_t>(widths.back().begin(), widths.back().end()).size(), 1u)
      << "the frozen widths are uniform";
  EXPECT_EQ(widths[7], widths[5]);
}

TEST_F(CapturedRunTest, AmaqsHeadersTellTheScheduleTheVersionAndItsEcho) {
  RunMethod("amaq");
  double target = 8;
  for (uint64_t step = 0; step < 8; ++step) {
    const Message forward = Forward(step, 0);
    EXPECT_EQ(forward.gate.phase, step < 5 ? GatePhase::kAdapting : GatePhase::kFrozen) << step;
    EXPECT_LE(forward.gate.target_bits, target);
    target = forward.gate.target_bits;
    EXPECT_GT(forward.gate.version, 0u);
    const Message backward = Backward(step, 0);
    EXPECT_EQ(backward.gate.version, forward.gate.version);
    EXPECT_EQ(backward.gate.decoded_version, forward.gate.version);
    EXPECT_EQ(FindSection(backward.sections, SectionKind::kWidths), nullptr);
  }
  EXPECT_EQ(target, 3);
  // The client echoes what it decoded the last gradient with.
  EXPECT_EQ(Forward(0, 0).gate.decoded_version, 0u);
  EXPECT_EQ(Forward(1, 0).gate.decoded_version, Backward(0, 1).gate.version);
}

TEST_F(CapturedRunTest, PayloadBytesAreThoseOfTheFormula) {
  RunMethod("amaq");
  const std::vector<std::vector<uint8_t>> widths = WidthsBySteps();
  for (uint64_t step = 0; step < 8; ++step) {
    const Message forward = Forward(step, 1);
    const Message backward = Backward(step, 1);
    const train::Supervision supervision =
        train::ParseSupervision(forward.sections, forward.tensor->tokens, kVocab);
    const uint64_t sinks = supervision.segments.size() - 1;
    const train::GradientRows plan =
        train::PlanGradientRows(supervision.segments, supervision.target_rows, 1);

    EXPECT_EQ(forward.tensor->tokens, supervision.segments.back());
    EXPECT_EQ(SizeOfSection(forward, SectionKind::kCodes),
              quant::CodesBytes(forward.tensor->tokens - sinks, widths[step]));
    EXPECT_EQ(SizeOfSection(forward, SectionKind::kSinkRows), sinks * 32 * 2);
    EXPECT_EQ(SizeOfSection(backward, SectionKind::kCodes),
              quant::CodesBytes(plan.rows.size() - plan.sink_rows.size(), widths[step]));
    EXPECT_LT(plan.rows.size(), forward.tensor->tokens);
  }
}

TEST_F(CapturedRunTest, GradientsTakeTheirOwnWidthsWhereTheConfigSaysSo) {
  config_.quant.gradient.bits = "5";
  RunMethod("amaq");
  const Message backward = Backward(7, 0);
  const Message forward = Forward(7, 0);
  const train::Supervision supervision =
      train::ParseSupervision(forward.sections, forward.tensor->tokens, kVocab);
  const train::GradientRows plan =
      train::PlanGradientRows(supervision.segments, supervision.target_rows, 1);

  EXPECT_EQ(SizeOfSection(backward, SectionKind::kCodes),
            quant::CodesBytes(plan.rows.size() - plan.sink_rows.size(),
                              std::vector<uint8_t>(32, uint8_t{5})));
}

TEST_F(CapturedRunTest, TheGradientsOwnGateFallsToItsTargetUnderItsOwnVersions) {
  config_.quant.gradient.bits = "own";
  config_.quant.gradient.target_bits = 2.5;
  RunMethod("amaq");
  uint64_t version = 0;
  std::vector<uint8_t> widths;
  for (uint64_t step = 0; step < 8; ++step) {
    for (uint32_t mb = 0; mb < config_.train.gradient_accumulation_steps; ++mb) {
      const Message forward = Forward(step, mb);
      const Message backward = Backward(step, mb);
      EXPECT_EQ(backward.gate.decoded_version, forward.gate.version);
      const Bytes* sent = FindSection(backward.sections, SectionKind::kWidths);
      EXPECT_EQ(sent != nullptr, backward.gate.version != version) << ToString(backward.key);
      if (sent != nullptr) widths = *sent;
      version = backward.gate.version;
      const train::Supervision supervision =
          train::ParseSupervision(forward.sections, forward.tensor->tokens, kVocab);
      const train::GradientRows plan =
          train::PlanGradientRows(supervision.segments, supervision.target_rows, 1);
      EXPECT_EQ(SizeOfSection(backward, SectionKind::kCodes),
                quant::CodesBytes(plan.rows.size() - plan.sink_rows.size(), widths));
    }
    if (step == 0) {
      EXPECT_NEAR(Mean(widths), 7.7, 0.1);
    }
  }
  EXPECT_EQ(Mean(widths), 2.5);
  EXPECT_NE(widths, WidthsBySteps().back());
  EXPECT_EQ(Forward(7, 1).gate.decoded_version, version) << "the client echoes it";
}

TEST_F(CapturedRunTest, RangesThatClipTrainToo) {
  for (const char* range : {"percentile", "mae"}) {
    config_.quant.range = range;
    config_.quant.range_percentile = 90;
    config_.output.dir = run_.Path(range);
    config_.wire.capture_dir = run_.Path(StrCat("capture-", range));
    RunMethod("amaq");
    EXPECT_NE(FindSection(Backward(7, 0).sections, SectionKind::kRanges), nullptr);
  }
}

TEST_F(CapturedRunTest, TheGateFileHoldsTheFrozenWidthsThatCrossed) {
  RunMethod("amaq");
  const auto file = io::SafetensorsFile::Open(config_.output.dir + "/amaq_gate.safetensors");
  std::vector<float> stored(32);

  file->ReadF32("widths", stored);

  const std::vector<uint8_t> sent = WidthsBySteps().back();
  EXPECT_TRUE(std::equal(stored.begin(), stored.end(), sent.begin(), sent.end(),
                         [](float a, uint8_t b) { return a == static_cast<float>(b); }));
  EXPECT_NE(file->Find("Q"), nullptr);
}

TEST_F(CapturedRunTest, FixedWidthsCrossOnce) {
  config_.quant.bits = 3;
  RunMethod("fixed");

  for (const std::vector<uint8_t>& widths : WidthsBySteps()) {
    EXPECT_EQ(widths, std::vector<uint8_t>(32, uint8_t{3}));
  }
  EXPECT_EQ(Forward(7, 0).gate.version, Forward(0, 0).gate.version);
}

TEST_F(CapturedRunTest, LinearWidthsAreUniformAndFallByAStep) {
  RunMethod("linear");
  std::vector<double> means;
  for (const std::vector<uint8_t>& widths : WidthsBySteps()) {
    EXPECT_EQ(std::set<uint8_t>(widths.begin(), widths.end()).size(), 1u);
    means.push_back(Mean(widths));
  }

  EXPECT_THAT(means, ::testing::ElementsAre(8, 7, 6, 5, 4, 3, 3, 3));
}

TEST_F(CapturedRunTest, WaterfillMeasuresInAttempt0AndTrainsInAttempt1) {
  RunMethod("waterfill");
  for (const uint32_t mb : {0u, 1u}) {
    EXPECT_EQ(Forward(0, mb, 0).gate.phase, GatePhase::kCalibrating);
    EXPECT_EQ(Forward(0, mb, 0).gate.version, 0u);
    EXPECT_EQ(Forward(0, mb, 1).gate.phase, GatePhase::kFrozen);
    // Training begins with the records that were measured: the same activations.
    EXPECT_EQ(Forward(0, mb, 0).tensor->tokens, Forward(0, mb, 1).tensor->tokens);
  }
  EXPECT_EQ(Read(0, 0, 0, Phase::kAbort, Way::kUp).item.index(),
            transport::Item(transport::AbortInfo{}).index());
  transport::MessageKey commit;
  commit.phase = Phase::kCommit;
  EXPECT_FALSE(test::Exists(PathOf(commit, Way::kUp)));
  commit.attempt = 1;
  EXPECT_TRUE(test::Exists(PathOf(commit, Way::kUp)));

  const std::vector<std::vector<uint8_t>> widths = WidthsBySteps(/*attempt_of_step_0=*/1);
  EXPECT_EQ(widths.back(), widths.front());
  EXPECT_LE(Mean(widths.front()), 3);
  EXPECT_GT(std::set<uint8_t>(widths[0].begin(), widths[0].end()).size(), 1u);
}

TEST_F(CapturedRunTest, RawTensorsHaveTheirDtypeAndNoGate) {
  config_.wire.dtype = "fp16";
  RunMethod("none");
  const Message forward = Forward(3, 0);

  EXPECT_EQ(forward.tensor->dtype, DType::kF16);
  EXPECT_EQ(forward.gate.version, 0u);
  EXPECT_EQ(forward.gate.phase, GatePhase::kNone);
  EXPECT_EQ(SizeOfSection(forward, SectionKind::kRaw), forward.tensor->tokens * 32 * 2);
  EXPECT_EQ(FindSection(forward.sections, SectionKind::kCodes), nullptr);
}

// What a server must never see: the token numbers of a prompt.
TEST_F(CapturedRunTest, OnlyTargetsOfTheAnswerCross) {
  RunMethod("none");
  std::set<SectionKind> kinds;
  for (const Section& section : Forward(0, 0).sections) kinds.insert(section.kind);

  EXPECT_EQ(kinds, (std::set<SectionKind>{SectionKind::kRaw, SectionKind::kSegments,
                                          SectionKind::kSpans, SectionKind::kTargets}));
  EXPECT_LT(SizeOfSection(Forward(0, 0), SectionKind::kTargets) / 4, Forward(0, 0).tensor->tokens);
}

TEST_F(CapturedRunTest, EveryMicroBatchOfAStepNamesTheSupervisedTokensOfAllOfThem) {
  RunMethod("none");
  uint64_t targets = 0;
  for (const uint32_t mb : {0u, 1u}) {
    targets += SizeOfSection(Forward(2, mb), SectionKind::kTargets) / 4;
  }

  EXPECT_EQ(Forward(2, 0).loss_tokens, targets);
  EXPECT_EQ(Forward(2, 1).loss_tokens, targets);
  EXPECT_EQ(Forward(2, 1).micro_batches, 2u);
}

}  // namespace
}  // namespace amaq
