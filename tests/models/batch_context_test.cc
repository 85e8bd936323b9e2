#include "models/batch_context.h"

#include <gmock/gmock.h>

#include "core/error.h"
#include "tests/support/tensor_matchers.h"
#include "tests/support/tiny_model.h"

namespace amaq::models {
namespace {

using test::BitEqual;
using ::testing::HasSubstr;

BatchContext ContextOf(const std::vector<uint32_t>& segments) {
  return MakeBatchContext(test::TinySpec(), segments, {}, at::kFloat, at::kCPU);
}

std::string ContextRefusal(const std::vector<uint32_t>& segments) {
  try {
    ContextOf(segments);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::kInvalidArgument);
    return error.message();
  }
  return "accepted";
}

TEST(BatchContextTest, RestartsThePositionsInEachSegment) {
  const BatchContext context = ContextOf({0, 3, 4, 6});

  const BatchContext alone = ContextOf({0, 3});
  EXPECT_EQ(context.num_rows(), 6);
  EXPECT_TRUE(BitEqual(context.rotary.sin.narrow(0, 0, 3), alone.rotary.sin));
  EXPECT_TRUE(BitEqual(context.rotary.sin.narrow(0, 3, 1), alone.rotary.sin.narrow(0, 0, 1)));
  EXPECT_TRUE(BitEqual(context.rotary.cos.narrow(0, 4, 2), alone.rotary.cos.narrow(0, 0, 2)));
}

TEST(BatchContextTest, RefusesSegmentsThatDoNotStartAtRowZero) {
  EXPECT_THAT(ContextRefusal({}), HasSubstr("start at row 0"));
  EXPECT_THAT(ContextRefusal({0}), HasSubstr("start at row 0"));
  EXPECT_THAT(ContextRefusal({1, 3}), HasSubstr("start at row 0"));
}

TEST(BatchContextTest, RefusesASegmentThatIsEmptyOrGoesBackByItsNumber) {
  EXPECT_THAT(ContextRefusal({0, 3, 3}), HasSubstr("segment 1"));
  EXPECT_THAT(ContextRefusal({0, 3, 2}), HasSubstr("segment 1"));
}

TEST(BatchContextTest, RefusesASequenceLongerThanTheContextAndAcceptsOneThatFills) {
  EXPECT_EQ(ContextRefusal({0, 128}), "accepted");
  const std::string message = ContextRefusal({0, 1, 130});

  EXPECT_THAT(message, HasSubstr("129 tokens"));
  EXPECT_THAT(message, HasSubstr("128"));
}

}  // namespace
}  // namespace amaq::models
