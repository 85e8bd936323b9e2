#include "core/queue.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

namespace amaq {
namespace {

using std::chrono::milliseconds;

TEST(QueueTest, ItemsComeOutInOrder) {
  BoundedQueue<int> queue(3);
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(queue.Push(i));
  EXPECT_EQ(queue.size(), 3u);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(queue.Pop(), i);
  EXPECT_EQ(queue.size(), 0u);
}

TEST(QueueTest, TryPushRefusesWhenFullAndWhenClosed) {
  BoundedQueue<int> queue(1);
  EXPECT_TRUE(queue.TryPush(1));
  EXPECT_FALSE(queue.TryPush(2));
  EXPECT_EQ(queue.Pop(), 1);
  EXPECT_TRUE(queue.TryPush(3));
  EXPECT_EQ(queue.Pop(), 3);
  queue.Close();
  EXPECT_FALSE(queue.TryPush(4));
}

TEST(QueueTest, ClosedQueueDrainsThenEnds) {
  BoundedQueue<int> queue(2);
  queue.Push(1);
  queue.Push(2);
  EXPECT_FALSE(queue.closed());
  queue.Close();
  EXPECT_TRUE(queue.closed());
  EXPECT_FALSE(queue.Push(3));
  EXPECT_EQ(queue.Pop(), 1);
  EXPECT_EQ(queue.PopFor(milliseconds(0)), 2);
  EXPECT_EQ(queue.Pop(), std::nullopt);
  EXPECT_EQ(queue.PopFor(milliseconds(1000000)), std::nullopt);
}

TEST(QueueTest, PopForGivesUpOnAnEmptyQueue) {
  BoundedQueue<int> queue(1);
  EXPECT_EQ(queue.PopFor(milliseconds(0)), std::nullopt);
  EXPECT_EQ(queue.PopFor(milliseconds(2)), std::nullopt);
  EXPECT_FALSE(queue.closed());
}

TEST(QueueTest, PopForWaitsForAnItem) {
  BoundedQueue<int> queue(1);
  std::thread producer([&] { queue.Push(7); });
  EXPECT_EQ(queue.PopFor(milliseconds(1000000)), 7);
  producer.join();
}

TEST(QueueTest, MoveOnlyItemsPass) {
  BoundedQueue<std::unique_ptr<int>> queue(1);
  queue.Push(std::make_unique<int>(5));
  EXPECT_EQ(**queue.Pop(), 5);
}

TEST(QueueTest, FullQueueHoldsTheProducerBack) {
  BoundedQueue<int> queue(2);
  std::thread producer([&] {
    for (int i = 0; i < 2000; ++i) queue.Push(i);
    queue.Close();
  });
  int expected = 0;
  while (const std::optional<int> item = queue.Pop()) {
    ASSERT_EQ(*item, expected++);
    ASSERT_LE(queue.size(), 2u);
  }
  EXPECT_EQ(expected, 2000);
  producer.join();
}

TEST(QueueTest, CloseReleasesWaitingProducersAndConsumers) {
  BoundedQueue<int> full(1);
  BoundedQueue<int> empty(1);
  full.Push(0);
  bool pushed = true;
  std::optional<int> popped = 1;
  std::thread producer([&] { pushed = full.Push(1); });
  std::thread consumer([&] { popped = empty.Pop(); });
  full.Close();
  empty.Close();
  producer.join();
  consumer.join();
  EXPECT_FALSE(pushed);
  EXPECT_EQ(popped, std::nullopt);
  EXPECT_EQ(full.size(), 1u);
}

TEST(QueueTest, ManyProducersAndConsumersLoseNothing) {
  constexpr int kThreads = 4;
  constexpr int kItems = 500;
  BoundedQueue<int> queue(3);
  std::atomic<long> sum{0};
  std::vector<std::thread> producers;
  std::vector<std::thread> consumers;
  for (int t = 0; t < kThreads; ++t) {
    producers.emplace_back([&] {
      for (int i = 1; i <= kItems; ++i) queue.Push(i);
    });
    consumers.emplace_back([&] {
      while (const std::optional<int> item = queue.Pop()) sum += *item;
    });
  }
  for (std::thread& producer : producers) producer.join();
  queue.Close();
  for (std::thread& consumer : consumers) consumer.join();
  EXPECT_EQ(sum, kThreads * kItems * (kItems + 1L) / 2);
}

}  // namespace
}  // namespace amaq
