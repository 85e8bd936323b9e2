#include "client/progress.h"

#include <gtest/gtest.h>

namespace amaq::client {
namespace {

using ::testing::internal::CaptureStdout;
using ::testing::internal::GetCapturedStdout;

ProgressState SomeState(uint64_t step) {
  ProgressState state;
  state.step = step;
  state.max_steps = 60;
  state.loss = 1.412;
  state.tokens_per_second = 312.4;
  state.mean_bits = 7.4;
  state.bytes_up = 3'200'000;
  state.bytes_down = 2'949'000;
  state.seconds = 12;
  return state;
}

TEST(ProgressTest, ALineSaysWhereTheRunStands) {
  EXPECT_EQ(ProgressLine(SomeState(12)),
            "step 12/60  loss 1.4120  312 tok/s  7.40 bits  up 3.2 MB  down 2.9 MB  ETA 0:48");
}

TEST(ProgressTest, BeforeTheFirstStepNothingIsForeseen) {
  EXPECT_TRUE(ProgressLine(SomeState(0)).ends_with("ETA 0:00"));
}

TEST(ProgressTest, AClockHasHoursOnlyWhenThereAreAny) {
  EXPECT_EQ(Clock(0), "0:00");
  EXPECT_EQ(Clock(-5), "0:00");
  EXPECT_EQ(Clock(42.4), "0:42");
  EXPECT_EQ(Clock(59.6), "1:00");
  EXPECT_EQ(Clock(3599), "59:59");
  EXPECT_EQ(Clock(3723), "1:02:03");
  EXPECT_EQ(Clock(100 * 3600), "100:00:00");
}

TEST(ProgressTest, StylesHaveTheirNames) {
  EXPECT_EQ(ParseProgressStyle("none"), ProgressStyle::kNone);
  EXPECT_EQ(ParseProgressStyle("plain"), ProgressStyle::kPlain);
  EXPECT_EQ(ParseProgressStyle("bar"), ProgressStyle::kBar);
}

TEST(ProgressTest, PlainLinesComeEverySoManyStepsAndAtTheEnd) {
  Progress progress(ProgressStyle::kPlain, 25);
  CaptureStdout();
  for (uint64_t step = 1; step <= 60; ++step) progress.Show(SomeState(step));
  const std::string out = GetCapturedStdout();

  EXPECT_EQ(out, ProgressLine(SomeState(25)) + "\n" + ProgressLine(SomeState(50)) + "\n" +
                     ProgressLine(SomeState(60)) + "\n");
}

TEST(ProgressTest, ABarRewritesItsLineAndMakesRoomForOthers) {
  Progress progress(ProgressStyle::kBar, 1);
  const std::string bar = ProgressLine(SomeState(1));
  const std::string cleared = "\r" + std::string(bar.size(), ' ') + "\r";
  CaptureStdout();
  progress.Show(SomeState(1));
  progress.Say("hello");
  progress.Show(SomeState(60));
  const std::string out = GetCapturedStdout();

  EXPECT_EQ(out, bar + cleared + "hello\n" + ProgressLine(SomeState(60)) + "\n");
}

TEST(ProgressTest, NoneSaysNothing) {
  Progress progress(ProgressStyle::kNone, 1);
  CaptureStdout();
  progress.Show(SomeState(60));
  progress.Say("hello");

  EXPECT_EQ(GetCapturedStdout(), "");
}

}  // namespace
}  // namespace amaq::client
