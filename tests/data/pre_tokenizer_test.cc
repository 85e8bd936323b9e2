#include "data/pre_tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "core/rng.h"

namespace amaq::data {
namespace {

using ::testing::ElementsAre;

std::vector<std::string_view> Gpt2(std::string_view text) {
  return PreTokenizer(PreTokenizerKind::kGpt2).Split(text);
}
std::vector<std::string_view> SmolLm(std::string_view text) {
  return PreTokenizer(PreTokenizerKind::kSmolLM).Split(text);
}

TEST(PreTokenizerTest, WordsTakeOneLeadingSpace) {
  EXPECT_THAT(Gpt2("Hello,  world 12ab"), ElementsAre("Hello", ",", " ", " world", " 12", "ab"));
}

TEST(PreTokenizerTest, ContractionsAreWords) {
  EXPECT_THAT(Gpt2("I'll don't 'S"), ElementsAre("I", "'ll", " don", "'t", " '", "S"));
}

TEST(PreTokenizerTest, TrailingSpacesAreOneWord) {
  EXPECT_THAT(Gpt2("a  \n "), ElementsAre("a", "  \n "));
  EXPECT_THAT(Gpt2("\n\nA"), ElementsAre("\n", "\n", "A"));
}

TEST(PreTokenizerTest, SmolLmCutsEachDigit) {
  EXPECT_THAT(SmolLm("x 120½"), ElementsAre("x", " ", "1", "2", "0", "½"));
  EXPECT_THAT(Gpt2("x 120½"), ElementsAre("x", " 120½"));
}

TEST(PreTokenizerTest, LettersOfAllScriptsAreLetters) {
  EXPECT_THAT(Gpt2("Führer Ελλάδα 日本"), ElementsAre("Führer", " Ελλάδα", " 日本"));
}

TEST(PreTokenizerTest, SpaceIsWhatUnicodeSaysItIs) {
  EXPECT_THAT(Gpt2("a\u0085\u00a0\u3000"), ElementsAre("a", "\u0085\u00a0\u3000"));
  // U+180E is no space any more (Unicode 6.3), so a leading space goes with it.
  EXPECT_THAT(Gpt2(" \u180e"), ElementsAre(" \u180e"));
}

TEST(PreTokenizerTest, BytesThatAreNotUtf8AreWordsOfTheirOwn) {
  EXPECT_THAT(Gpt2("ab\xff\xfe cd\xe6"), ElementsAre("ab", "\xff\xfe", " cd", "\xe6"));
}

TEST(PreTokenizerTest, ThePiecesAreTheTextWhateverItsBytes) {
  for (uint64_t round = 0; round < 400; ++round) {
    std::string text;
    for (uint64_t i = 0; i < round % 50; ++i) {
      constexpr std::string_view kBytes = "a 1'\n\xc3\xa9\xff\xe2\x80\x00";
      text.push_back(kBytes[PhiloxWord(round, i) % kBytes.size()]);
    }
    for (const auto kind : {PreTokenizerKind::kGpt2, PreTokenizerKind::kSmolLM}) {
      std::string joined;
      if (!text.empty()) {
        for (const std::string_view piece : PreTokenizer(kind).Split(text)) {
          EXPECT_FALSE(piece.empty());
          joined += piece;
        }
      }
      EXPECT_EQ(joined, text);
    }
  }
}

}  // namespace
}  // namespace amaq::data
