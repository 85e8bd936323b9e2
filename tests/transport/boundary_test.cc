#include "transport/boundary.h"

#include <gtest/gtest.h>

#include <new>
#include <stdexcept>

#include "core/log.h"

namespace amaq::transport {
namespace {

template <typename Exception>
Error Convert(Exception exception) {
  return ToError(std::make_exception_ptr(std::move(exception)), "FORWARD step 3.0 micro-batch 1");
}

class BoundaryTest : public ::testing::Test {
 protected:
  void SetUp() override { SetLogLevel(LogLevel::kOff); }
  void TearDown() override { SetLogLevel(LogLevel::kInfo); }
};

TEST_F(BoundaryTest, AnErrorOfOursPassesAsItIs) {
  const Error error = Convert(Error(Code::kOutOfRange, "too far"));

  EXPECT_EQ(error.code(), Code::kOutOfRange);
  EXPECT_EQ(error.message(), "too far");
}

TEST_F(BoundaryTest, OutOfMemoryNamesTheMessage) {
  const Error error = Convert(std::bad_alloc());

  EXPECT_EQ(error.code(), Code::kResourceExhausted);
  EXPECT_EQ(error.message(), "the server ran out of memory at FORWARD step 3.0 micro-batch 1");
}

TEST_F(BoundaryTest, NothingInternalLeaks) {
  const Error error = Convert(std::runtime_error("secret path"));

  EXPECT_EQ(error.code(), Code::kInternal);
  EXPECT_EQ(error.message().find("secret"), std::string::npos);
  EXPECT_EQ(Convert(42).code(), Code::kInternal);
}

}  // namespace
}  // namespace amaq::transport
