#include "core/check.h"

#include <gtest/gtest.h>

namespace amaq {
namespace {

TEST(CheckDeathTest, FailedCheckPrintsPlaceAndConditionAndAborts) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const int one = 1;
  EXPECT_DEATH(AMAQ_CHECK(one == 2), "check_test.cc:.*check failed: one == 2");
}

TEST(CheckTest, ConditionThatHoldsIsEvaluatedOnce) {
  int evaluations = 0;
  AMAQ_CHECK(++evaluations == 1);
  EXPECT_EQ(evaluations, 1);
}

}  // namespace
}  // namespace amaq
