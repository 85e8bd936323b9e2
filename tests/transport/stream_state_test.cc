#include "transport/stream_state.h"

#include <gtest/gtest.h>

#include <string>
#include <thread>

namespace amaq::transport {
namespace {

using State = StreamState<std::string>;
using Next = State::Next;

TEST(StreamStateTest, WritesOneAfterTheOther) {
  State state;

  EXPECT_EQ(state.Offer("a"), Next::kWrite);
  EXPECT_EQ(state.Offer("b"), Next::kNothing);
  EXPECT_EQ(*state.current(), "a");
  EXPECT_EQ(state.Written(true), Next::kWrite);
  EXPECT_EQ(*state.current(), "b");
  EXPECT_EQ(state.Written(true), Next::kNothing);
}

TEST(StreamStateTest, AThirdBufferWaitsForRoom) {
  State state;
  state.Offer("a");
  state.Offer("b");
  std::thread producer([&] { EXPECT_EQ(state.Offer("c"), Next::kNothing); });

  EXPECT_EQ(state.Written(true), Next::kWrite);
  producer.join();

  EXPECT_EQ(state.Written(true), Next::kWrite);
  EXPECT_EQ(*state.current(), "c");
}

TEST(StreamStateTest, FinishComesAfterWhatWasAccepted) {
  State state;
  state.Offer("a");
  state.Offer("b");

  EXPECT_EQ(state.Finish(), Next::kNothing);
  EXPECT_EQ(state.Offer("late"), Next::kNothing);
  EXPECT_EQ(state.Written(true), Next::kWrite);
  EXPECT_EQ(state.Written(true), Next::kFinish);
}

TEST(StreamStateTest, AbandonDropsWhatWaits) {
  State state;
  state.Offer("a");
  state.Offer("b");

  EXPECT_EQ(state.Abandon(), Next::kNothing);
  EXPECT_EQ(state.Written(true), Next::kFinish);
}

TEST(StreamStateTest, FinishIsSaidOnce) {
  State state;

  EXPECT_EQ(state.Finish(), Next::kFinish);
  EXPECT_EQ(state.Finish(), Next::kNothing);
  EXPECT_EQ(state.Abandon(), Next::kNothing);
}

TEST(StreamStateTest, NothingIsStartedAfterTheEnd) {
  State state;
  ASSERT_TRUE(state.BeginStart());

  EXPECT_EQ(state.Finish(), Next::kNothing);  // an operation is being started
  EXPECT_EQ(state.EndStart(), Next::kFinish);
  EXPECT_FALSE(state.BeginStart());
}

TEST(StreamStateTest, ABrokenConnectionFreesTheProducer) {
  State state;
  state.Offer("a");
  state.Offer("b");
  std::thread producer([&] { EXPECT_EQ(state.Offer("c"), Next::kNothing); });

  EXPECT_EQ(state.Written(false), Next::kNothing);
  producer.join();

  EXPECT_EQ(state.Offer("d"), Next::kNothing);
  EXPECT_EQ(state.Abandon(), Next::kFinish);
}

TEST(StreamStateTest, WaitingForTheWriteEndsWithIt) {
  State state;
  state.WaitUntilWritten();
  state.Offer("a");
  EXPECT_TRUE(state.is_writing());
  std::thread waiter([&] { state.WaitUntilWritten(); });

  state.Written(true);
  waiter.join();

  EXPECT_FALSE(state.is_writing());
}

}  // namespace
}  // namespace amaq::transport
