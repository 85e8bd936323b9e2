#include "data/batch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace amaq::data {
namespace {

using ::testing::ElementsAre;

TEST(BatchTest, SequencesAreJoinedAndTargetsShifted) {
  const Example first{.tokens = {10, 11, 12}, .supervised = {0, 0, 1}};
  const Example second{.tokens = {20, 21, 22, 23}, .supervised = {0, 1, 0, 1}};

  const Batch batch = Collate({&first, &second});

  EXPECT_THAT(batch.tokens, ElementsAre(10, 11, 12, 20, 21, 22, 23));
  EXPECT_THAT(batch.positions, ElementsAre(0, 1, 2, 0, 1, 2, 3));
  EXPECT_THAT(batch.segments, ElementsAre(0, 3, 7));
  EXPECT_THAT(batch.target_rows, ElementsAre(1, 3, 5));
  EXPECT_THAT(batch.targets, ElementsAre(12, 21, 23));
  EXPECT_EQ(batch.num_tokens(), 7u);
  EXPECT_EQ(batch.num_supervised(), 3u);
}

TEST(BatchTest, NoSequencesAreAnEmptyBatch) { EXPECT_THAT(Collate({}).segments, ElementsAre(0)); }

TEST(BatchDeathTest, AFirstTokenCannotBePredicted) {
  const Example bad{.tokens = {10}, .supervised = {1}};

  EXPECT_DEATH(Collate({&bad}), "supervised");
}

}  // namespace
}  // namespace amaq::data
