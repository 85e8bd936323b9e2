#include "data/sampler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "tests/support/errors.h"

namespace amaq::data {
namespace {

using ::testing::ElementsAre;

TEST(SamplerTest, FileOrderIsCutIntoMicroBatchesAndTheLastIsSmaller) {
  Sampler sampler({.num_records = 5, .batch_size = 2});

  EXPECT_EQ(sampler.batches_per_epoch(), 3u);
  EXPECT_THAT(sampler.Next(), ElementsAre(0, 1));
  EXPECT_THAT(sampler.Next(), ElementsAre(2, 3));
  EXPECT_THAT(sampler.Next(), ElementsAre(4));
  EXPECT_EQ(sampler.position(), (SamplerPosition{1, 0}));
  EXPECT_THAT(sampler.Next(), ElementsAre(0, 1));
}

TEST(SamplerTest, AShuffleIsAPermutationThatDependsOnSeedAndEpoch) {
  const SamplerOptions options{.num_records = 100, .batch_size = 1, .shuffle = true, .seed = 3};
  const SamplerOptions other{.num_records = 100, .batch_size = 1, .shuffle = true, .seed = 4};
  std::vector<uint32_t> sorted = EpochOrder(options, 0);
  std::ranges::sort(sorted);

  for (uint32_t i = 0; i < 100; ++i) EXPECT_EQ(sorted[i], i);
  EXPECT_EQ(EpochOrder(options, 0), EpochOrder(options, 0));
  EXPECT_NE(EpochOrder(options, 0), EpochOrder(options, 1));
  EXPECT_NE(EpochOrder(options, 0), EpochOrder(other, 0));
}

TEST(SamplerTest, EachOrderOfThreeIsAboutAsFrequent) {
  std::map<std::vector<uint32_t>, int> counts;
  for (uint64_t epoch = 0; epoch < 6000; ++epoch) {
    ++counts[EpochOrder({.num_records = 3, .batch_size = 1, .shuffle = true, .seed = 5}, epoch)];
  }

  EXPECT_EQ(counts.size(), 6u);
  for (const auto& [order, count] : counts) EXPECT_NEAR(count, 1000, 130);  // 4.5 sigma
}

TEST(SamplerTest, ASavedPositionContinuesTheSameOrder) {
  const SamplerOptions options{.num_records = 7, .batch_size = 3, .shuffle = true, .seed = 9};
  Sampler whole(options);
  for (int i = 0; i < 4; ++i) whole.Next();
  Sampler resumed(options);

  resumed.Seek(whole.position());

  for (int i = 0; i < 6; ++i) EXPECT_EQ(resumed.Next(), whole.Next());
}

TEST(SamplerTest, WrongOptionsAndPositionsAreRefused) {
  Sampler sampler({.num_records = 2, .batch_size = 1});

  EXPECT_THROWS(sampler.Seek({0, 2}), Code::kOutOfRange, "position 2 of epoch 0");
  EXPECT_THROWS(Sampler({.num_records = 0}), Code::kInvalidArgument, "no records");
  EXPECT_THROWS(Sampler({.num_records = 1, .batch_size = 0}), Code::kInvalidArgument, "got 0");
}

}  // namespace
}  // namespace amaq::data
