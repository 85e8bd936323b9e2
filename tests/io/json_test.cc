#include "io/json.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/support/errors.h"

namespace amaq::io {
namespace {

std::string Nested(int depth) {
  return std::string(static_cast<size_t>(depth), '[') +
         std::string(static_cast<size_t>(depth), ']');
}

TEST(JsonTest, AnErrorSaysFileLineAndColumn) {
  EXPECT_THROWS(ParseJson("{\n \"a\": 1,\n \"b\" 2}", "x.json"), Code::kInvalidArgument,
                "x.json:3:6: syntax error");
}

TEST(JsonTest, AnErrorInOneLineOfAFileSaysItsNumber) {
  EXPECT_THROWS(ParseJson("{\"a\" 2}", "x.jsonl", 12), Code::kInvalidArgument, "x.jsonl:12:6: ");
  EXPECT_THROWS(ParseJson("{\"a\":1,\"a\":2}", "x.jsonl", 12), Code::kInvalidArgument,
                "x.jsonl:12: key 'a'");
}

TEST(JsonTest, ARepeatedKeyIsRefusedAndTheSameKeyInAnotherObjectIsNot) {
  EXPECT_THROWS(ParseJson(R"({"a":{"b":1,"b":2}})", "x"), Code::kInvalidArgument, "'b'");
  EXPECT_EQ(ParseJson(R"({"a":{"b":1},"b":{"a":2}})", "x").size(), 2u);
}

TEST(JsonTest, DepthIsBounded) {
  EXPECT_NO_THROW(ParseJson(Nested(kMaxJsonDepth), "x"));
  EXPECT_THROWS(ParseJson(Nested(kMaxJsonDepth + 1), "x"), Code::kInvalidArgument, "deeper than");
  EXPECT_THROWS(ParseJson(std::string(1 << 20, '['), "x"), Code::kInvalidArgument, "deeper than");
}

TEST(JsonTest, BrokenInputIsAnError) {
  for (const char* text : {"", "{", "[1,]", "nul", "\"\xff\"", "\"\\ud800\"", "1e999", "{}x"}) {
    SCOPED_TRACE(text);
    EXPECT_THROWS(ParseJson(text, "x"), Code::kInvalidArgument, "x");
  }
}

TEST(JsonTest, MembersAreTypedAndNamed) {
  const auto root = ParseJson(R"({"s":"t","u":7,"n":-1.5,"b":true,"z":null})", "x");

  EXPECT_EQ(JsonString(root, "s", "x"), "t");
  EXPECT_EQ(JsonUint(root, "u", "x"), 7u);
  EXPECT_EQ(JsonNumber(root, "n", "x"), -1.5);
  EXPECT_TRUE(JsonBool(root, "b", "x"));
  EXPECT_EQ(FindJsonMember(root, "z"), nullptr);
  EXPECT_EQ(FindJsonMember(root, "none"), nullptr);
  EXPECT_THROWS(JsonString(root, "u", "x"), Code::kInvalidArgument,
                "x: 'u' must be a string, got number");
  EXPECT_THROWS(JsonUint(root, "n", "x"), Code::kInvalidArgument, "'n' must be a whole number");
  EXPECT_THROWS(JsonNumber(root, "none", "x"), Code::kInvalidArgument, "'none' is missing");
  EXPECT_THROWS(JsonBool(root["s"], "b", "x"), Code::kInvalidArgument, "must be a JSON object");
}

}  // namespace
}  // namespace amaq::io
