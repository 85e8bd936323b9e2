#include "quant/sample_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "tests/quant/samples.h"
#include "tests/quant/vector_storage.h"

namespace amaq::quant {
namespace {

using ::testing::ElementsAre;

constexpr uint32_t kChannels = 2;
using Rows = std::vector<uint16_t>;

SampleCache NewCache(uint64_t max_bytes = 64) {
  return {std::make_unique<VectorStorage>(max_bytes), max_bytes, kChannels};
}

TEST(SampleCacheTest, HoldsTheLastRowsOfASample) {
  SampleCache cache = NewCache();
  EXPECT_FALSE(cache.Find(7, 2).has_value());

  cache.Put({0, 0, 0}, 7, Rows{1, 2, 3, 4});
  cache.Put({0, 0, 0}, 9, Rows{5, 6});
  cache.Put({1, 0, 0}, 7, Rows{7, 8, 9, 10});

  EXPECT_THAT(*cache.Find(7, 2), ElementsAre(7, 8, 9, 10));
  EXPECT_THAT(*cache.Find(9, 1), ElementsAre(5, 6));
  EXPECT_EQ(cache.used_bytes(), 12u);
}

TEST(SampleCacheTest, ASampleOfAnotherLengthIsAnError) {
  SampleCache cache = NewCache();
  cache.Put({0, 0, 0}, 7, Rows{1, 2, 3, 4});

  EXPECT_ERROR((void)cache.Find(7, 1), Code::kDataLoss, "cached with 2 rows");
  EXPECT_ERROR(cache.Put({0, 0, 0}, 7, Rows{1, 2}), Code::kDataLoss, "the message has 1");
}

TEST(SampleCacheTest, WhatDoesNotFitIsNeverStoredAndNothingIsEvicted) {
  SampleCache cache = NewCache(10);
  cache.Put({0, 0, 0}, 1, Rows{1, 2, 3, 4});
  cache.Put({0, 0, 0}, 2, Rows{1, 2, 3, 4});
  cache.Put({0, 0, 0}, 3, Rows{5});

  EXPECT_TRUE(cache.Find(1, 2).has_value());
  EXPECT_FALSE(cache.Find(2, 2).has_value());
  EXPECT_EQ(cache.used_bytes(), 10u);
}

TEST(SampleCacheTest, AStepThatIsTakenBackLeavesNoTrace) {
  SampleCache cache = NewCache();
  cache.Put({0, 0, 0}, 1, Rows{1, 2});
  cache.Put({0, 0, 1}, 2, Rows{3, 4});
  cache.Keep({1, 0, 0});
  const uint64_t before = cache.ContentDigest();

  cache.Put({1, 0, 0}, 1, Rows{5, 6});
  cache.Put({1, 0, 0}, 3, Rows{7, 8});
  cache.Put({1, 0, 1}, 1, Rows{9, 10});
  EXPECT_NE(cache.ContentDigest(), before);
  EXPECT_EQ(cache.undo_bytes(), 8u);
  cache.TakeBack({1, 0, 0});

  EXPECT_EQ(cache.ContentDigest(), before);
  EXPECT_EQ(cache.used_bytes(), 8u);
  EXPECT_EQ(cache.undo_bytes(), 0u);
  EXPECT_FALSE(cache.Find(3, 1).has_value());
}

TEST(SampleCacheTest, TakesBackFromAMicroBatchOn) {
  SampleCache cache = NewCache();
  cache.Put({4, 0, 0}, 1, Rows{1, 2});
  cache.Put({4, 0, 1}, 1, Rows{3, 4});
  cache.Put({4, 0, 2}, 1, Rows{5, 6});

  cache.TakeBack({4, 0, 1});

  EXPECT_THAT(*cache.Find(1, 1), ElementsAre(1, 2));
}

TEST(SampleCacheTest, WhatIsKeptIsNotTakenBack) {
  SampleCache cache = NewCache();
  cache.Put({0, 0, 0}, 1, Rows{1, 2});
  cache.Put({1, 0, 0}, 1, Rows{3, 4});
  cache.Keep({1, 0, 0});

  cache.TakeBack({0, 0, 0});

  EXPECT_THAT(*cache.Find(1, 1), ElementsAre(1, 2));
  cache.Keep({2, 0, 0});
  cache.TakeBack({0, 0, 0});
  EXPECT_THAT(*cache.Find(1, 1), ElementsAre(1, 2)) << "step 1 had been taken back";
}

TEST(SampleCacheTest, TheUndoLogIsBounded) {
  SampleCache cache = NewCache(8);
  cache.Put({0, 0, 0}, 1, Rows{1, 2, 3, 4});
  for (uint32_t i = 1; i <= 2; ++i) cache.Put({0, 0, i}, 1, Rows{1, 2, 3, 4});

  EXPECT_ERROR(cache.Put({0, 0, 3}, 1, Rows{5, 6, 7, 8}), Code::kResourceExhausted, "twice 8");
  EXPECT_THAT(*cache.Find(1, 2), ElementsAre(1, 2, 3, 4));
}

// Against a map that is copied before each step.
TEST(SampleCacheTest, RandomStepsEqualAMapOfCopies) {
  constexpr uint64_t kBytes = 160;
  Random random(5);
  SampleCache cache = NewCache(kBytes);
  std::map<uint64_t, Rows> model;
  uint64_t used = 0;
  for (uint64_t step = 0; step < 500; ++step) {
    const auto model_before = model;
    const uint64_t used_before = used;
    for (uint32_t micro_batch = 0; micro_batch < 3; ++micro_batch) {
      const uint64_t key = random.Below(12);
      Rows rows(kChannels * (1 + key % 5));  // a sample has one length
      for (uint16_t& value : rows) value = static_cast<uint16_t>(random.Below(65536));
      cache.Put({step, 0, micro_batch}, key, rows);
      if (model.contains(key) || used + rows.size() * 2 <= kBytes) {
        if (!model.contains(key)) used += rows.size() * 2;
        model[key] = rows;
      }
    }
    if (random.Below(3) == 0) {
      cache.TakeBack({step, 0, 0});
      model = model_before;
      used = used_before;
    } else {
      cache.Keep({step + 1, 0, 0});
    }
    ASSERT_EQ(cache.num_samples(), model.size());
    ASSERT_EQ(cache.used_bytes(), used);
    for (const auto& [key, rows] : model) {
      ASSERT_THAT(*cache.Find(key, 1 + key % 5), ::testing::ElementsAreArray(rows));
    }
  }
  EXPECT_GT(used, kBytes / 2) << "or the bound was never near";
}

}  // namespace
}  // namespace amaq::quant
