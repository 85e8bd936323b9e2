#include "data/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/rng.h"
#include "tests/data/tiny_tokenizer.h"
#include "tests/support/errors.h"

namespace amaq::data {
namespace {

using ::testing::ElementsAre;

TEST(TokenizerTest, TextEncodesAndDecodes) {
  const Tokenizer tokenizer(test::TinyParts());

  const auto ids = tokenizer.Encode("hello a", SpecialTokens::kAsText);

  EXPECT_THAT(ids, ElementsAre(test::kTinyHello, 260));
  EXPECT_EQ(tokenizer.Decode(ids), "hello a");
}

TEST(TokenizerTest, NothingEncodesToNothing) {
  EXPECT_TRUE(Tokenizer(test::TinyParts()).Encode("", SpecialTokens::kParse).empty());
}

TEST(TokenizerTest, SpecialTokensAreCutOutOnlyWhenAsked) {
  const Tokenizer tokenizer(test::TinyParts());

  EXPECT_THAT(tokenizer.Encode("hello<|im_end|>hello", SpecialTokens::kParse),
              ElementsAre(test::kTinyHello, 263, test::kTinyHello));
  const auto as_text = tokenizer.Encode("hello<|im_end|>", SpecialTokens::kAsText);
  EXPECT_EQ(as_text.size(), 1 + std::string("<|im_end|>").size());
  EXPECT_EQ(tokenizer.Decode(as_text), "hello<|im_end|>");
}

TEST(TokenizerTest, AddedTokensThatAreNotSpecialAreAlwaysCutOut) {
  const Tokenizer tokenizer(test::TinyParts());

  EXPECT_THAT(tokenizer.Encode("<tab>", SpecialTokens::kAsText), ElementsAre(264));
  EXPECT_FALSE(tokenizer.IsSpecial(264));
  EXPECT_TRUE(tokenizer.IsSpecial(263));
}

TEST(TokenizerTest, TheLongestAddedTokenWins) {
  TokenizerParts parts = test::TinyParts();
  parts.tokens.push_back("<tab><tab>");
  parts.added.push_back({265, "<tab><tab>", false});

  EXPECT_THAT(Tokenizer(std::move(parts)).Encode("<tab><tab><tab>", SpecialTokens::kAsText),
              ElementsAre(265, 264));
}

TEST(TokenizerTest, AnyBytesRoundTrip) {
  const Tokenizer tokenizer(test::TinyParts());
  for (uint64_t round = 0; round < 200; ++round) {
    std::string bytes;
    for (uint64_t i = 0; i < round; ++i) {
      bytes.push_back(static_cast<char>(PhiloxWord(round, i) & 0xff));
    }

    EXPECT_EQ(tokenizer.Decode(tokenizer.Encode(bytes, SpecialTokens::kParse)), bytes);
  }
}

TEST(TokenizerTest, IdsOutsideTheVocabularyAreRefused) {
  const Tokenizer tokenizer(test::TinyParts());
  const std::vector<int32_t> ids = {1, 265};

  EXPECT_EQ(tokenizer.vocab_size(), 265);
  EXPECT_EQ(tokenizer.TokenOf(264), "<tab>");
  EXPECT_EQ(tokenizer.IdOf("hello"), test::kTinyHello);
  EXPECT_EQ(tokenizer.IdOf("absent"), std::nullopt);
  EXPECT_THROWS((void)tokenizer.Decode(ids), Code::kOutOfRange, "token 265");
  EXPECT_THROWS((void)tokenizer.TokenOf(-1), Code::kOutOfRange, "token -1");
}

TEST(TokenizerTest, PartsThatDisagreeAreRefused) {
  TokenizerParts repeated = test::TinyParts();
  repeated.tokens.push_back("hello");
  EXPECT_THROWS(Tokenizer(std::move(repeated)), Code::kInvalidArgument, "'hello' has two numbers");

  TokenizerParts outside = test::TinyParts();
  outside.eos = 1000;
  EXPECT_THROWS(Tokenizer(std::move(outside)), Code::kInvalidArgument, "end-of-text token is 1000");

  TokenizerParts other = test::TinyParts();
  other.added[0].content = "<|other|>";
  EXPECT_THROWS(Tokenizer(std::move(other)), Code::kInvalidArgument, "'<|other|>'");

  TokenizerParts nameless = test::TinyParts();
  nameless.bos.reset();
  nameless.adds_bos = true;
  EXPECT_THROWS(Tokenizer(std::move(nameless)), Code::kInvalidArgument, "not named");
}

}  // namespace
}  // namespace amaq::data
