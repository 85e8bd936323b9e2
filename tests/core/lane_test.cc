#include "core/lane.h"

#include <gtest/gtest.h>
#include <pthread.h>

#include <future>
#include <vector>

#include "core/error.h"

namespace amaq {
namespace {

void NoError(std::exception_ptr) { ADD_FAILURE() << "no task threw"; }

TEST(LaneTest, TasksRunInOrderOnOneOtherThread) {
  std::vector<int> order;
  std::vector<std::thread::id> threads;
  {
    Lane lane("compute", 2, NoError);
    for (int i = 0; i < 100; ++i) {
      ASSERT_TRUE(lane.Post([&, i] {
        order.push_back(i);
        threads.push_back(std::this_thread::get_id());
      }));
    }
  }  // drains
  ASSERT_EQ(order.size(), 100u);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(order[static_cast<size_t>(i)], i);
  for (std::thread::id id : threads) EXPECT_EQ(id, threads[0]);
  EXPECT_NE(threads[0], std::this_thread::get_id());
}

TEST(LaneTest, FinishRunsWhatIsQueuedAndRefusesMore) {
  int ran = 0;
  Lane lane("compute", 10, NoError);
  for (int i = 0; i < 5; ++i) lane.Post([&] { ++ran; });
  lane.Finish();
  EXPECT_EQ(ran, 5);
  EXPECT_FALSE(lane.Post([&] { ++ran; }));
  lane.Finish();  // a second time does nothing
  EXPECT_EQ(ran, 5);
}

TEST(LaneTest, ThreadHasTheFirstFifteenCharactersOfTheName) {
  char name[32] = {};
  Lane lane("a-name-longer-than-fifteen", 1, NoError);
  lane.Post([&] { pthread_getname_np(pthread_self(), name, sizeof(name)); });
  lane.Finish();
  EXPECT_STREQ(name, "a-name-longer-t");
}

TEST(LaneTest, ExceptionIsHandedOverOnTheLaneAndEndsIt) {
  std::promise<std::pair<std::exception_ptr, std::thread::id>> reported;
  std::thread::id lane_thread;
  bool later_ran = false;
  Lane lane("compute", 10, [&](std::exception_ptr error) {
    reported.set_value({error, std::this_thread::get_id()});
  });
  lane.Post([&] {
    lane_thread = std::this_thread::get_id();
    Throw(Code::kAborted, "step 3");
  });
  lane.Post([&] { later_ran = true; });

  const auto [error, thread] = reported.get_future().get();

  EXPECT_EQ(thread, lane_thread);
  try {
    std::rethrow_exception(error);
  } catch (const Error& caught) {
    EXPECT_EQ(caught.code(), Code::kAborted);
    EXPECT_EQ(caught.message(), "step 3");
  }
  EXPECT_FALSE(lane.Post([&] { later_ran = true; }));
  lane.Finish();
  EXPECT_FALSE(later_ran);
}

TEST(LaneTest, EndOfTheLaneReleasesAWaitingPost) {
  std::promise<void> go;
  bool posted = true;
  Lane lane("compute", 1, [](std::exception_ptr) {});
  lane.Post([&] {
    go.get_future().wait();
    Throw(Code::kInternal, "over");
  });
  lane.Post([] {});
  std::thread poster([&] { posted = lane.Post([] {}); });
  go.set_value();
  poster.join();
  EXPECT_FALSE(posted);
}

TEST(LaneTest, TryPostRefusesInsteadOfWaiting) {
  std::promise<void> running;
  std::promise<void> go;
  Lane lane("compute", 1, NoError);
  EXPECT_TRUE(lane.TryPost([&] {
    running.set_value();
    go.get_future().wait();
  }));
  running.get_future().wait();

  EXPECT_TRUE(lane.TryPost([] {}));
  EXPECT_FALSE(lane.TryPost([] {}));

  go.set_value();
  lane.Finish();
  EXPECT_FALSE(lane.TryPost([] {}));
}

}  // namespace
}  // namespace amaq
