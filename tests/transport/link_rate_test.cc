#include "transport/link_rate.h"

#include <gtest/gtest.h>

namespace amaq::transport {
namespace {

using std::chrono::milliseconds;

constexpr uint64_t kMegabyte = 1'000'000;

class LinkRateTest : public ::testing::Test {
 protected:
  static LinkRate::Clock::time_point At(int64_t ms) {
    return LinkRate::Clock::time_point(milliseconds(ms));
  }
  double rate() const { return rate_.bytes_per_second().value_or(-1); }

  LinkRate rate_;
};

TEST_F(LinkRateTest, NothingIsKnownBeforeALargeMessageIsAcknowledged) {
  EXPECT_FALSE(rate_.bytes_per_second().has_value());
  rate_.Sent(1, 100, At(0));
  rate_.Sent(2, kMegabyte, At(1));
  EXPECT_FALSE(rate_.bytes_per_second().has_value());
  rate_.Acknowledged(1, At(5));
  EXPECT_FALSE(rate_.bytes_per_second().has_value());
}

TEST_F(LinkRateTest, IsTheBytesOverTheTimeUntilTheAcknowledgement) {
  rate_.Sent(1, kMegabyte, At(1000));
  rate_.Acknowledged(1, At(1500));
  EXPECT_NEAR(rate(), 2e6, 1);
}

TEST_F(LinkRateTest, LatencyIsKnownFromSmallMessagesAndTakenOff) {
  rate_.Sent(1, 100, At(0));
  rate_.Acknowledged(1, At(70));
  rate_.Sent(2, 100, At(100));
  rate_.Acknowledged(2, At(150));
  rate_.Sent(3, kMegabyte, At(200));
  rate_.Acknowledged(3, At(350));  // 50 of latency
  EXPECT_NEAR(rate(), 1e7, 10);
}

TEST_F(LinkRateTest, LatencyNeverTakesTheWholeTime) {
  rate_.Sent(1, 100, At(0));
  rate_.Acknowledged(1, At(500));
  rate_.Sent(2, kMegabyte, At(600));
  rate_.Acknowledged(2, At(700));
  EXPECT_NEAR(rate(), 4e7, 10);
}

// Two messages of a second each on a link of 1 MB/s, whose acknowledgements come together.
TEST_F(LinkRateTest, AcknowledgementsInABunchDoNotMakeTheLinkFast) {
  rate_.Sent(1, kMegabyte, At(0));
  rate_.Sent(2, kMegabyte, At(10));
  rate_.Acknowledged(1, At(2000));
  rate_.Acknowledged(2, At(2001));
  EXPECT_NEAR(rate(), 1e6, 1e4);
}

TEST_F(LinkRateTest, OneAcknowledgementMayStandForSeveral) {
  rate_.Sent(1, kMegabyte, At(0));
  rate_.Sent(2, kMegabyte, At(10));
  rate_.Acknowledged(2, At(2000));
  rate_.Acknowledged(2, At(9000));  // repeated: nothing new
  EXPECT_NEAR(rate(), 1e6, 1);
}

TEST_F(LinkRateTest, ASlowMessageAmongFastOnesIsTheMachinesFault) {
  for (uint64_t i = 1; i <= 4; ++i) {
    const auto begin = static_cast<int64_t>(i) * 10000;
    rate_.Sent(i, kMegabyte, At(begin));
    rate_.Acknowledged(i, At(begin + (i == 2 ? 100 : 5000)));
  }
  EXPECT_NEAR(rate(), 1e7, 10);
}

TEST_F(LinkRateTest, ALinkThatBecameSlowerIsSlowerAfterAFewMessages) {
  for (uint64_t i = 1; i <= 9; ++i) {
    const auto begin = static_cast<int64_t>(i) * 10000;
    rate_.Sent(i, kMegabyte, At(begin));
    rate_.Acknowledged(i, At(begin + (i == 1 ? 10 : 1000)));
  }
  EXPECT_NEAR(rate(), 1e6, 1);
}

TEST_F(LinkRateTest, APeerThatAcknowledgesNothingCostsNoMemory) {
  for (uint64_t i = 1; i <= 100'000; ++i) rate_.Sent(i, kMegabyte, At(0));
  rate_.Acknowledged(100'000, At(1'000'000));
  EXPECT_GT(rate(), 0);
}

}  // namespace
}  // namespace amaq::transport
