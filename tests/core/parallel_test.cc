#include "core/parallel.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <numeric>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "core/error.h"
#include "core/mutex.h"

namespace amaq {
namespace {

TEST(ParallelForTest, RunsEveryTurnOnceOnAnyNumberOfThreads) {
  for (const size_t count : {0u, 1u, 2u, 7u, 1000u}) {
    for (const size_t threads : {0u, 1u, 2u, 5u, 64u}) {
      std::vector<std::atomic<int>> ran(count);
      ParallelFor(count, threads, [&](size_t i) { ++ran[i]; });
      for (const std::atomic<int>& times : ran) ASSERT_EQ(times, 1) << count << ", " << threads;
    }
  }
}

// Two turns that wait for each other need two threads, and the caller's must be one of them.
TEST(ParallelForTest, RunsTurnsAtTheSameTimeTheCallerAmongThem) {
  std::atomic<int> arrived{0};
  std::vector<std::thread::id> ids(2);
  ParallelFor(2, 2, [&](size_t i) {
    ids[i] = std::this_thread::get_id();
    ++arrived;
    while (arrived < 2) std::this_thread::yield();
  });
  EXPECT_NE(ids[0], ids[1]);
  EXPECT_EQ(std::count(ids.begin(), ids.end(), std::this_thread::get_id()), 1);
}

TEST(ParallelForTest, OneThreadIsTheCallersInAscendingOrder) {
  std::vector<size_t> order;
  ParallelFor(9, 1, [&](size_t i) { order.push_back(i); });
  std::vector<size_t> expected(9);
  std::iota(expected.begin(), expected.end(), size_t{0});
  EXPECT_EQ(order, expected);
}

TEST(ParallelForTest, UsesNoMoreThreadsThanItMay) {
  Mutex mutex;
  std::set<std::thread::id> ids;
  ParallelFor(200, 3, [&](size_t /*turn*/) {
    MutexLock lock(mutex);
    ids.insert(std::this_thread::get_id());
  });
  EXPECT_LE(ids.size(), 3u);
}

TEST(ParallelForTest, TheErrorOfTheLowestTurnWinsAndThoseBelowItWereRun) {
  for (const size_t threads : {1u, 2u, 5u}) {
    for (int repeat = 0; repeat < 50; ++repeat) {
      std::vector<std::atomic<int>> ran(40);
      const auto body = [&](size_t i) {
        ++ran[i];
        if (i == 11 || i == 12 || i == 30) Throw(Code::kDataLoss, "turn ", i);
      };
      try {
        ParallelFor(ran.size(), threads, body);
        FAIL() << "nothing was thrown";
      } catch (const Error& error) {
        EXPECT_EQ(error.message(), "turn 11");
      }
      for (size_t i = 0; i <= 11; ++i) ASSERT_EQ(ran[i], 1);
      for (size_t i = 12; i < ran.size(); ++i) ASSERT_LE(ran[i], 1);
    }
  }
}

}  // namespace
}  // namespace amaq
