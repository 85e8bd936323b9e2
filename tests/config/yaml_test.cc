#include "config/yaml.h"

#include <gmock/gmock.h>

#include "core/rng.h"
#include "tests/config/support.h"

namespace amaq::config {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

std::string YamlError(const std::string& text) {
  return ErrorOf([&] { ParseYaml(text, "x.yaml"); });
}

TEST(YamlTest, LeavesComeWithKeyAndLine) {
  const std::vector<Entry> entries = ParseYaml(
      "# head\n"
      "model:\n"
      "  hub_name: 'a b'\n"
      "quant:\n"
      "  gate: {alpha: 2}\n"
      "  bits: 4\n"
      "lora:\n"
      "  target_modules:\n"
      "    - q_proj\n"
      "    - v_proj\n"
      "device: cpu\n",
      "x.yaml");

  ASSERT_EQ(entries.size(), 5u);
  EXPECT_EQ(entries[0].key, "model.hub_name");
  EXPECT_EQ(entries[0].line, 3);
  EXPECT_TRUE(entries[0].value.is_quoted);
  EXPECT_THAT(entries[0].value.items, ElementsAre("a b"));
  EXPECT_EQ(entries[1].key, "quant.gate.alpha");
  EXPECT_EQ(entries[1].line, 5);
  EXPECT_EQ(entries[2].key, "quant.bits");
  EXPECT_FALSE(entries[2].value.is_quoted);
  EXPECT_EQ(entries[3].key, "lora.target_modules");
  EXPECT_EQ(entries[3].line, 8);
  EXPECT_TRUE(entries[3].value.is_list);
  EXPECT_THAT(entries[3].value.items, ElementsAre("q_proj", "v_proj"));
  EXPECT_EQ(entries[4].key, "device");
  EXPECT_EQ(entries[4].line, 11);
}

TEST(YamlTest, EmptyTextAndCommentsHaveNoEntries) {
  EXPECT_TRUE(ParseYaml("", "x").empty());
  EXPECT_TRUE(ParseYaml("# only a comment\n", "x").empty());
  EXPECT_TRUE(ParseYaml("---\n", "x").empty());
}

TEST(YamlTest, EmptyListAndNullAreDistinct) {
  const std::vector<Entry> entries = ParseYaml("a: []\nb:\nc: ~\n", "x");
  ASSERT_EQ(entries.size(), 3u);
  EXPECT_TRUE(entries[0].value.is_list);
  EXPECT_FALSE(entries[0].value.is_null());
  EXPECT_TRUE(entries[1].value.is_null());
  EXPECT_TRUE(entries[2].value.is_null());
}

TEST(YamlTest, SyntaxErrorNamesFileAndLine) {
  EXPECT_THAT(YamlError("a: 1\nb: [1, 2\n"), StartsWith("x.yaml:"));
  EXPECT_THAT(YamlError("a: 1\n  b: 2\n"), StartsWith("x.yaml:2: "));
  EXPECT_THAT(YamlError("\ta: 1\n"), StartsWith("x.yaml:1: "));
}

TEST(YamlTest, TextThatEndsInsideAQuoteOrBracketIsRefused) {
  EXPECT_EQ(YamlError("a: \"open\nb: 1\n"), "x.yaml:3: the text ends inside a quote or a bracket");
  EXPECT_THAT(YamlError("a: 'open"), StartsWith("x.yaml:1: the text ends inside a quote"));
  EXPECT_THAT(YamlError("a: {b: 1\n"), StartsWith("x.yaml:"));
  EXPECT_THAT(YamlError("a: [1, 2\n"), HasSubstr("is not closed"));
  EXPECT_NO_THROW(ParseYaml("a: \"closed\"", "x"));
  EXPECT_NO_THROW(ParseYaml("a: |\n  block", "x"));
  EXPECT_NO_THROW(ParseYaml("a: 1\n...\n", "x"));
}

TEST(YamlTest, KeyThatAppearsTwiceIsRefused) {
  EXPECT_EQ(YamlError("train:\n  seed: 1\n  seed: 2\n"),
            "x.yaml:3: the key train.seed appears twice, first in line 2");
  EXPECT_EQ(YamlError("train:\n  seed: 1\nlora: {}\ntrain:\n  threads: 2\n"),
            "x.yaml:4: the key train appears twice, first in line 1");
}

TEST(YamlTest, AliasIsRefused) {
  EXPECT_THAT(YamlError("a: &x 1\nb: *x\n"), StartsWith("x.yaml:2: aliases"));
  EXPECT_THAT(YamlError("a: &x [1]\nb: [*x, *x]\n"), StartsWith("x.yaml:2: aliases"));
}

TEST(YamlTest, AliasBombEndsAtItsFirstAlias) {
  std::string bomb = "a0: &a0 [x, x]\n";
  for (int i = 1; i < 100; ++i) {
    bomb += StrCat("a", i, ": &a", i, " [*a", i - 1, ", *a", i - 1, "]\n");
  }
  EXPECT_THAT(YamlError(bomb), StartsWith("x.yaml:2: aliases"));
}

TEST(YamlTest, DeepNestingIsRefused) {
  std::string flow = "a: ";
  for (int i = 0; i < 100000; ++i) flow += "{b: ";
  EXPECT_EQ(YamlError(flow), "x.yaml:1: nested deeper than 8 levels");
  EXPECT_THAT(YamlError("a: " + std::string(100000, '[')),
              HasSubstr("the list a holds more than plain words"));
  EXPECT_NO_THROW(ParseYaml("a: {b: {c: {d: {e: {f: {g: 1}}}}}}", "x"));
}

TEST(YamlTest, TextBeyondTheSizeLimitIsRefused) {
  const std::string full(kMaxFileBytes, '#');
  EXPECT_NO_THROW(ParseYaml(full, "x"));
  EXPECT_THAT(YamlError(full + "#"), HasSubstr("1048577 bytes"));
}

TEST(YamlTest, WhatIsNoMappingIsRefused) {
  EXPECT_THAT(YamlError("just text\n"), HasSubstr("mapping of sections"));
  EXPECT_THAT(YamlError("- a\n- b\n"), HasSubstr("mapping of sections"));
  EXPECT_THAT(YamlError("a:\n  - b: 1\n"), HasSubstr("the list a holds more than plain words"));
  EXPECT_THAT(YamlError("a: [[1]]\n"), HasSubstr("the list a holds more than plain words"));
  EXPECT_THAT(YamlError("[a, b]: 1\n"), HasSubstr("a key must be a word"));
  EXPECT_THAT(YamlError("? {a: 1}\n: 1\n"), HasSubstr("a key must be a word"));
  EXPECT_THAT(YamlError("a: [x, ]\nb: [~]\n"), HasSubstr("an item of b is empty"));
  EXPECT_THAT(YamlError("\"\": 1\n"), HasSubstr("a key is empty"));
  EXPECT_THAT(YamlError("~: 1\n"), HasSubstr("not of the form key: value"));
}

TEST(YamlTest, SecondDocumentIsRefused) {
  EXPECT_THAT(YamlError("a: 1\n---\nb: 2\n"), HasSubstr("second document"));
  EXPECT_THAT(YamlError("a: 1\n---\n"), HasSubstr("second document"));
}

TEST(YamlTest, BytesThatAreNotTextAreRefused) {
  EXPECT_THAT(YamlError(std::string("a: 1\0b", 6)), HasSubstr("zero byte"));
}

// Cuts, flips and repeats pieces of a real file: what is no config must be an amaq::Error.
TEST(YamlTest, DamagedFilesGiveAnErrorAndNothingElse) {
  const std::string good = ReadText(AMAQ_SOURCE_DIR "/configs/quickstart-client.yaml");
  const std::string special = "\"'[]{}:,-#&*!|>%@`~\n\t \\\x01\xff?0";
  int refused = 0;
  uint64_t counter = 0;
  const auto draw = [&counter](size_t below) { return PhiloxWord(20260101, counter++) % below; };
  for (int round = 0; round < 2000; ++round) {
    std::string text = good;
    for (size_t edits = 1 + draw(4); edits > 0; --edits) {
      const size_t at = draw(text.size());
      switch (draw(3)) {
        case 0:
          text[at] = special[draw(special.size())];
          break;
        case 1:
          text.insert(at, text.substr(draw(text.size()), draw(20)));
          break;
        default:
          text.erase(at, draw(40));
      }
    }
    try {
      ReadYaml<ClientConfig>(text);
    } catch (const Error& error) {
      ASSERT_EQ(error.code(), Code::kInvalidArgument);
      ++refused;
    }
  }
  EXPECT_GT(refused, 1000);  // the damage is real
}

}  // namespace
}  // namespace amaq::config
