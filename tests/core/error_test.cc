#include "core/error.h"

#include <gtest/gtest.h>

namespace amaq {
namespace {

// The canonical names of the RPC codes 0 to 16.
TEST(ErrorTest, CodesHaveTheNumbersAndNamesOfRpc) {
  const std::pair<Code, std::string_view> expected[] = {
      {Code::kOk, "OK"},
      {Code::kCancelled, "CANCELLED"},
      {Code::kUnknown, "UNKNOWN"},
      {Code::kInvalidArgument, "INVALID_ARGUMENT"},
      {Code::kDeadlineExceeded, "DEADLINE_EXCEEDED"},
      {Code::kNotFound, "NOT_FOUND"},
      {Code::kAlreadyExists, "ALREADY_EXISTS"},
      {Code::kPermissionDenied, "PERMISSION_DENIED"},
      {Code::kResourceExhausted, "RESOURCE_EXHAUSTED"},
      {Code::kFailedPrecondition, "FAILED_PRECONDITION"},
      {Code::kAborted, "ABORTED"},
      {Code::kOutOfRange, "OUT_OF_RANGE"},
      {Code::kUnimplemented, "UNIMPLEMENTED"},
      {Code::kInternal, "INTERNAL"},
      {Code::kUnavailable, "UNAVAILABLE"},
      {Code::kDataLoss, "DATA_LOSS"},
      {Code::kUnauthenticated, "UNAUTHENTICATED"}};
  int number = 0;
  for (const auto& [code, name] : expected) {
    EXPECT_EQ(static_cast<int>(code), number++);
    EXPECT_EQ(CodeName(code), name);
  }
  EXPECT_EQ(number, 17);
}

TEST(ErrorTest, CodeOutsideTheTableHasANameToo) {
  EXPECT_EQ(CodeName(static_cast<Code>(17)), "CODE_OUTSIDE_TABLE");
  EXPECT_EQ(CodeName(static_cast<Code>(-1)), "CODE_OUTSIDE_TABLE");
}

TEST(ErrorTest, ThrowJoinsItsParts) {
  try {
    Throw(Code::kOutOfRange, "lora.r must be in [1, ", 1024, "], got ", 0.5, '!');
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::kOutOfRange);
    EXPECT_EQ(error.message(), "lora.r must be in [1, 1024], got 0.5!");
    EXPECT_STREQ(error.what(), error.message().c_str());
  }
}

TEST(ErrorTest, ErrorIsAStandardException) {
  EXPECT_THROW(Throw(Code::kInternal, "x"), std::exception);
}

}  // namespace
}  // namespace amaq
