#include "core/log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace amaq {
namespace {

using ::testing::HasSubstr;

class LogTest : public ::testing::Test {
 protected:
  ~LogTest() override { SetLogLevel(LogLevel::kInfo); }
};

TEST_F(LogTest, LevelDecidesWhatIsEnabled) {
  SetLogLevel(LogLevel::kWarning);
  EXPECT_FALSE(LogEnabled(LogLevel::kDebug));
  EXPECT_FALSE(LogEnabled(LogLevel::kInfo));
  EXPECT_TRUE(LogEnabled(LogLevel::kWarning));
  EXPECT_TRUE(LogEnabled(LogLevel::kError));
  SetLogLevel(LogLevel::kDebug);
  EXPECT_TRUE(LogEnabled(LogLevel::kDebug));
  SetLogLevel(LogLevel::kOff);
  EXPECT_FALSE(LogEnabled(LogLevel::kError));
}

TEST_F(LogTest, NamesOfLevelsAreParsed) {
  EXPECT_EQ(ParseLogLevel("debug"), LogLevel::kDebug);
  EXPECT_EQ(ParseLogLevel("info"), LogLevel::kInfo);
  EXPECT_EQ(ParseLogLevel("warning"), LogLevel::kWarning);
  EXPECT_EQ(ParseLogLevel("error"), LogLevel::kError);
  EXPECT_THROW(ParseLogLevel("loud"), Error);
}

TEST_F(LogTest, LineIsWrittenAsItIsToStandardError) {
  SetLogLevel(LogLevel::kInfo);
  testing::internal::CaptureStderr();
  AMAQ_LOG(kInfo, "step ", 3, " of {} %s {0}");
  EXPECT_THAT(testing::internal::GetCapturedStderr(), HasSubstr("I step 3 of {} %s {0}\n"));
}

TEST_F(LogTest, PartsOfADisabledLineAreNotEvaluated) {
  SetLogLevel(LogLevel::kError);
  int evaluations = 0;
  testing::internal::CaptureStderr();
  AMAQ_LOG(kInfo, ++evaluations);
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
  EXPECT_EQ(evaluations, 0);
}

}  // namespace
}  // namespace amaq
