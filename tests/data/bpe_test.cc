#include "data/bpe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "core/rng.h"
#include "tests/support/errors.h"

namespace amaq::data {
namespace {

using ::testing::ElementsAre;

Vocabulary Number(const std::vector<std::string>& tokens) {
  Vocabulary vocabulary;
  for (const std::string& token : tokens) {
    vocabulary.emplace(token, static_cast<int32_t>(vocabulary.size()));
  }
  return vocabulary;
}

std::vector<int32_t> EncodeWord(const Bpe& bpe, std::string_view word) {
  std::vector<int32_t> ids;
  bpe.Encode(word, &ids);
  return ids;
}

// The definition, word by word: join the leftmost pair of the lowest rank, again and again.
std::vector<std::string> ReferenceMerge(const std::vector<std::string>& merges,
                                        const std::string& word) {
  std::vector<std::string> symbols;
  for (const char c : word) symbols.emplace_back(1, c);
  for (;;) {
    size_t best = symbols.size();
    size_t best_rank = merges.size();
    for (size_t i = 0; i + 1 < symbols.size(); ++i) {
      const auto found = std::find(merges.begin(), merges.end(), symbols[i] + " " + symbols[i + 1]);
      const auto rank = static_cast<size_t>(found - merges.begin());
      if (rank < best_rank) {
        best_rank = rank;
        best = i;
      }
    }
    if (best == symbols.size()) return symbols;
    symbols[best] += symbols[best + 1];
    symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(best) + 1);
  }
}

TEST(BpeTest, EachByteStandsAsOneCharacterAndComesBack) {
  for (int byte = 0; byte < 256; ++byte) {
    const std::string text = ByteLevelText(static_cast<uint8_t>(byte));
    EXPECT_EQ(ByteLevelDecode(text), std::string(1, static_cast<char>(byte))) << byte;
  }
  EXPECT_EQ(ByteLevelText(' '), "\u0120");
  EXPECT_EQ(ByteLevelText('\n'), "\u010a");
  EXPECT_EQ(ByteLevelText(0xad), "\u0143");
  EXPECT_EQ(ByteLevelText('a'), "a");
}

TEST(BpeTest, CharactersOutsideTheAlphabetStayAsTheyAre) {
  EXPECT_EQ(ByteLevelDecode("a\u2581b\u0144"), "a\u2581b\u0144");
  EXPECT_EQ(ByteLevelDecode("\xc4"), "\xc4");
}

TEST(BpeTest, TheLowestRankJoinsFirst) {
  const Vocabulary vocabulary = Number({"a", "b", "c", "bc", "ab", "abc"});

  EXPECT_THAT(EncodeWord(Bpe(vocabulary, {"b c", "a b", "a bc"}), "abc"), ElementsAre(5));
  EXPECT_THAT(EncodeWord(Bpe(vocabulary, {"a b", "b c", "a bc"}), "abc"), ElementsAre(4, 2));
}

TEST(BpeTest, OfEqualRanksTheLeftmostJoinsFirst) {
  const Vocabulary vocabulary = Number({"a", "aa"});

  EXPECT_THAT(EncodeWord(Bpe(vocabulary, {"a a"}), "aaaaa"), ElementsAre(1, 1, 0));
}

TEST(BpeTest, RandomWordsEqualTheDefinition) {
  const std::vector<std::string> merges = {"a b", "b a", "ab a", "b b", "ab ab", "aba b", "bb a"};
  std::vector<std::string> tokens = {"a", "b"};
  for (const std::string& merge : merges) {
    const size_t space = merge.find(' ');
    tokens.push_back(merge.substr(0, space) + merge.substr(space + 1));
  }
  const Vocabulary vocabulary = Number(tokens);
  const Bpe bpe(vocabulary, merges);
  for (uint64_t round = 0; round < 500; ++round) {
    std::string word;
    for (uint64_t i = 0; i < 1 + round % 40; ++i) {
      word.push_back(PhiloxWord(round, i) % 2 == 0 ? 'a' : 'b');
    }
    std::vector<int32_t> expected;
    for (const std::string& token : ReferenceMerge(merges, word)) {
      expected.push_back(vocabulary.at(token));
    }

    EXPECT_EQ(EncodeWord(bpe, word), expected) << word;
  }
}

TEST(BpeTest, AByteWithoutATokenIsAsIfItWereNotThere) {
  const Bpe bpe(Number({"a", "aa"}), {"a a"});

  EXPECT_THAT(EncodeWord(bpe,
                         "xa\xff"
                         "aax"),
              ElementsAre(1, 0));
  EXPECT_TRUE(EncodeWord(bpe, "xx").empty());
}

TEST(BpeTest, AMillionEqualBytesAreOneWordWithoutQuadraticTime) {
  const Bpe bpe(Number({"a", "aa", "aaaa"}), {"a a", "aa aa"});

  EXPECT_EQ(EncodeWord(bpe, std::string(1 << 20, 'a')).size(), size_t{1} << 18);
}

TEST(BpeTest, WrongMergesAreRefused) {
  const Vocabulary vocabulary = Number({"a", "b"});

  EXPECT_THROWS(Bpe(vocabulary, {"ab"}), Code::kInvalidArgument, "merge 0 ('ab') is not a pair");
  EXPECT_THROWS(Bpe(vocabulary, {"a "}), Code::kInvalidArgument, "not a pair");
  EXPECT_THROWS(Bpe(vocabulary, {"a x"}), Code::kInvalidArgument, "needs token 'x'");
  EXPECT_THROWS(Bpe(vocabulary, {"a b"}), Code::kInvalidArgument, "needs token 'ab'");
}

}  // namespace
}  // namespace amaq::data
