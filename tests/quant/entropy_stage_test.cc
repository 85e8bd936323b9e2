#include "quant/entropy_stage.h"

#include <gtest/gtest.h>

#include "quant/codec.h"
#include "tests/quant/samples.h"

namespace amaq::quant {
namespace {

// A coded message of a million symbols that took `ns` a symbol at the sender and saved a tenth of a
// byte each. At 5 ns a link of 10 MB/s gains as much time as the two parties spend.
void Measure(EntropyChoice* choice, double ns = 5) { choice->Measured(1e6, 1e5, 1e-3 * ns); }
constexpr double kEven = 1e7;

class EntropyChoiceTest : public ::testing::Test {
 protected:
  // Sends messages and measures those that are coded; how many of them were.
  int Send(int messages, std::optional<double> rate, double ns = 5) {
    int coded = 0;
    for (int i = 0; i < messages; ++i) {
      if (!choice_.CodesNext(rate)) continue;
      Measure(&choice_, ns);
      ++coded;
    }
    return coded;
  }
  EntropyChoice choice_;
};

TEST_F(EntropyChoiceTest, IsOffWithoutALink) {
  EXPECT_EQ(Send(1000, std::nullopt), 0);
  Measure(&choice_);
  EXPECT_EQ(Send(1000, std::nullopt), 0);
  EXPECT_FALSE(choice_.is_on());
}

TEST_F(EntropyChoiceTest, ASlowLinkTurnsItOnOnceCodingWasMeasured) {
  EXPECT_TRUE(choice_.CodesNext(kEven / 10));
  EXPECT_FALSE(choice_.is_on());
  Measure(&choice_);
  EXPECT_EQ(Send(1000, kEven / 10), 1000);
  EXPECT_TRUE(choice_.is_on());
}

TEST_F(EntropyChoiceTest, AFastLinkLeavesItOffApartFromProbes) {
  constexpr int kPeriod = EntropyChoice::kProbeEvery;
  EXPECT_EQ(Send(kPeriod, 100 * kEven), 2);
  EXPECT_EQ(Send(10 * kPeriod, 100 * kEven), 20);
  EXPECT_FALSE(choice_.is_on());
}

TEST_F(EntropyChoiceTest, BetweenTheTwoLimitsItStaysAsItIs) {
  Send(3, kEven);
  EXPECT_FALSE(choice_.is_on());
  Send(1, kEven / EntropyChoice::kBegin / 1.01);
  EXPECT_TRUE(choice_.is_on());
  Send(500, kEven);
  EXPECT_TRUE(choice_.is_on());
  Send(1, kEven / EntropyChoice::kStop * 0.99);
  EXPECT_TRUE(choice_.is_on());
  Send(1, kEven / EntropyChoice::kStop * 1.01);
  EXPECT_FALSE(choice_.is_on());
  Send(500, kEven);
  EXPECT_FALSE(choice_.is_on());
}

TEST_F(EntropyChoiceTest, FollowsALinkThatChanges) {
  Send(5, kEven / 10);
  EXPECT_TRUE(choice_.is_on());
  EXPECT_EQ(Send(50, kEven * 10), 0);
  EXPECT_FALSE(choice_.is_on());
  EXPECT_EQ(Send(50, kEven / 10), 50);
  Send(1, std::nullopt);
  EXPECT_FALSE(choice_.is_on());
}

TEST_F(EntropyChoiceTest, ProbesFindOutThatCodingBecameFaster) {
  EXPECT_EQ(Send(60, kEven / 2, 500), 2);  // the machine was busy
  EXPECT_FALSE(choice_.is_on());
  EXPECT_EQ(Send(4, kEven / 2, 5), 0);
  EXPECT_GT(Send(10, kEven / 2, 5), 8);
  EXPECT_TRUE(choice_.is_on());
}

TEST_F(EntropyChoiceTest, OneMessageThatMadeTablesDoesNotStopIt) {
  Send(5, kEven / 10);
  Measure(&choice_, 1000);
  EXPECT_EQ(Send(5, kEven / 10), 5);
}

TEST_F(EntropyChoiceTest, WhatDoesNotShrinkStopsIt) {
  Send(5, kEven / 10);
  for (int i = 0; i < 4; ++i) choice_.Measured(1e6, 0, 1e-3);
  EXPECT_FALSE(choice_.CodesNext(kEven / 10));
}

class EntropyStageTest : public ::testing::Test {
 protected:
  // Passes a message of its own seed; true when it was coded.
  bool Pass(EntropyMode mode, std::optional<double> rate) {
    constexpr int64_t kRows = 60;
    constexpr int64_t kChannels = 64;
    Matrix x{kRows, kChannels, std::vector<float>(kRows * kChannels)};
    Random random(++seed_);
    for (float& value : x.values) value = static_cast<float>(std::pow(random.Normal(), 3));
    const std::vector<uint8_t> widths(kChannels, 4);
    const std::vector<Section> message = Encode(x.view(), widths, {}, {});
    const CodesShape shape = {.widths = widths, .rows = kRows};
    std::vector<Section> sections = message;
    EntropyStage& sender = mode == EntropyMode::kAuto ? auto_sender_ : on_sender_;
    sender.Compress(shape, rate, &sections);
    const bool is_coded = FindSection(sections, SectionKind::kEntropyCodes) != nullptr;
    receiver_.Restore(shape, &sections);
    EXPECT_EQ(sections.size(), message.size());
    for (size_t i = 0; i < sections.size(); ++i) {
      EXPECT_TRUE(sections[i].bytes == message[i].bytes);
    }
    return is_coded;
  }

  // Slower and faster than any machine's coding.
  static constexpr double kSlow = 1;
  static constexpr double kFast = 1e18;
  uint64_t seed_ = 0;
  EntropyStage on_sender_{EntropyMode::kOn};
  EntropyStage auto_sender_{EntropyMode::kAuto};
  EntropyStage receiver_{EntropyMode::kAuto};
};

TEST_F(EntropyStageTest, AutoChangesBytesAndNeverWhatIsDecoded) {
  for (int i = 0; i < 2; ++i) EXPECT_FALSE(Pass(EntropyMode::kAuto, std::nullopt));
  for (int i = 0; i < 5; ++i) EXPECT_TRUE(Pass(EntropyMode::kAuto, kSlow));
  for (int i = 0; i < 5; ++i) EXPECT_FALSE(Pass(EntropyMode::kAuto, kFast));
  for (int i = 0; i < 5; ++i) EXPECT_TRUE(Pass(EntropyMode::kAuto, kSlow));
  EXPECT_FALSE(Pass(EntropyMode::kAuto, std::nullopt));
}

TEST_F(EntropyStageTest, OnAsksForNoLink) { EXPECT_TRUE(Pass(EntropyMode::kOn, std::nullopt)); }

TEST_F(EntropyStageTest, OffLeavesSectionsAlone) {
  EntropyStage off(EntropyMode::kOff);
  std::vector<Section> sections = {{SectionKind::kEntropyCodes, {1, 2}}};
  off.Restore({}, &sections);
  off.Compress({}, kSlow, &sections);
  EXPECT_EQ(sections[0].bytes, (Bytes{1, 2}));
  EXPECT_FALSE(off.is_used());
}

TEST(EntropyModeTest, NamesAreKnown) {
  EXPECT_EQ(ParseEntropyMode("off"), EntropyMode::kOff);
  EXPECT_EQ(ParseEntropyMode("on"), EntropyMode::kOn);
  EXPECT_EQ(ParseEntropyMode("auto"), EntropyMode::kAuto);
  EXPECT_FALSE(ParseEntropyMode("zip").has_value());
}

}  // namespace
}  // namespace amaq::quant
