#ifndef AMAQ_TESTS_SUPPORT_ERRORS_H_
#define AMAQ_TESTS_SUPPORT_ERRORS_H_

// EXPECT_THROWS(Parse(""), Code::kDataLoss, "ends early"): the statement throws amaq::Error with
// that code and a message that contains the text.

#include <gtest/gtest.h>

#include "core/error.h"

#define EXPECT_THROWS(statement, wanted_code, wanted_text)                                        \
  do {                                                                                            \
    bool did_throw = false;                                                                       \
    try {                                                                                         \
      statement;                                                                                  \
    } catch (const ::amaq::Error& caught) {                                                       \
      did_throw = true;                                                                           \
      EXPECT_EQ(::amaq::CodeName(caught.code()), ::amaq::CodeName(wanted_code)) << caught.what(); \
      EXPECT_NE(caught.message().find(wanted_text), std::string::npos) << caught.what();          \
    }                                                                                             \
    EXPECT_TRUE(did_throw) << "no amaq::Error from " #statement;                                  \
  } while (false)

#endif  // AMAQ_TESTS_SUPPORT_ERRORS_H_
