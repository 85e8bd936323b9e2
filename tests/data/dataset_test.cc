#include "data/dataset.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "io/file.h"
#include "tests/data/tiny_tokenizer.h"
#include "tests/support/errors.h"
#include "tests/support/hostile_bytes.h"
#include "tests/support/shared_data.h"

namespace amaq::data {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr const char* kTwoRecords =
    "{\"prompt\":\"hello\",\"completion\":\" a\"}\n"
    "{\"prompt\":\"hello a\",\"completion\":\"hello\"}\n";

class DatasetTest : public ::testing::Test {
 protected:
  Dataset Parse(std::string_view text, const DatasetOptions& options = {}) const {
    return ParseDataset(text, "d.jsonl", options, tokenizer_);
  }
  const Tokenizer tokenizer_{test::TinyParts()};
};

TEST_F(DatasetTest, TheAnswerAndItsEndAreSupervised) {
  const Dataset data = Parse(kTwoRecords);

  ASSERT_EQ(data.examples.size(), 2u);
  EXPECT_THAT(data.examples[0].tokens, ElementsAre(test::kTinyHello, 260, test::kTinyEos));
  EXPECT_THAT(data.examples[0].supervised, ElementsAre(0, 1, 1));
  EXPECT_EQ(data.num_records, 2u);
  EXPECT_EQ(data.num_tokens, 7u);
  EXPECT_EQ(data.num_supervised, 4u);
  EXPECT_EQ(data.num_text_bytes, 7u + 12u);
}

TEST_F(DatasetTest, TheEndIsLeftOutWhenNotAsked) {
  const Dataset data = Parse(kTwoRecords, {.append_eos = false});

  EXPECT_THAT(data.examples[0].tokens, ElementsAre(test::kTinyHello, 260));
}

TEST_F(DatasetTest, PromptAndAnswerAreTokenizedSeparately) {
  const Dataset data = Parse(R"({"prompt":"hel","completion":"lo"})", {.append_eos = false});

  EXPECT_THAT(data.examples[0].tokens, ElementsAre(256, 'l', 'l', 'o'));
}

TEST_F(DatasetTest, AFirstTokenIsNeverSupervised) {
  const Dataset data = Parse(R"({"prompt":"","completion":"hello a"})");

  EXPECT_THAT(data.examples[0].supervised, ElementsAre(0, 1, 1));
}

TEST_F(DatasetTest, RecordsBeginWithBosWhereTheTokenizerAddsIt) {
  TokenizerParts parts = test::TinyParts();
  parts.adds_bos = true;
  const Tokenizer tokenizer(std::move(parts));

  const Dataset data = ParseDataset(R"({"prompt":"","completion":"hello"})", "d", {}, tokenizer);

  EXPECT_THAT(data.examples[0].tokens, ElementsAre(261, test::kTinyHello, test::kTinyEos));
  EXPECT_THAT(data.examples[0].supervised, ElementsAre(0, 1, 1));
}

TEST_F(DatasetTest, LongRecordsAreCutAndCounted) {
  const Dataset data =
      Parse("{\"prompt\":\"a\",\"completion\":\"bcd\"}\n{\"prompt\":\"a\",\"completion\":\"b\"}",
            {.max_length = 3});

  EXPECT_EQ(data.num_truncated, 1u);
  EXPECT_TRUE(data.examples[0].truncated);
  EXPECT_FALSE(data.examples[1].truncated);
  EXPECT_THAT(data.examples[0].tokens, ElementsAre('a', 'b', 'c'));
}

TEST_F(DatasetTest, ARecordWhoseAnswerIsCutAwayIsLeftOutAndCounted) {
  const Dataset data =
      Parse("{\"prompt\":\"abcd\",\"completion\":\"e\"}\n{\"prompt\":\"a\",\"completion\":\"b\"}",
            {.max_length = 3});

  EXPECT_EQ(data.num_records, 2u);
  EXPECT_EQ(data.num_without_answer, 1u);
  EXPECT_EQ(data.examples.size(), 1u);
}

TEST_F(DatasetTest, ConversationsEndAfterTheirLastSupervisedToken) {
  const Dataset data = Parse(
      R"({"messages":[{"role":"user","content":"hello"},{"role":"assistant","content":"a"}]})");

  EXPECT_EQ(data.examples[0].tokens.back(), test::kTinyEos);
  EXPECT_EQ(data.num_supervised, 2u);  // "a" and <|im_end|>, once
}

TEST_F(DatasetTest, ABadLineIsNamedByFileAndLine) {
  const std::string text = std::string(kTwoRecords) + "\n{\"prompt\": 1}\n";

  EXPECT_THROWS(Parse(text), Code::kInvalidArgument,
                "d.jsonl:4: there is no field 'completion'; the record has prompt");
  EXPECT_THROWS(Parse(std::string(kTwoRecords) + "{\"prompt\" \"a\"}"), Code::kInvalidArgument,
                "d.jsonl:3:13: syntax error");
  EXPECT_THROWS(Parse(std::string(kTwoRecords) + "[1]"), Code::kInvalidArgument,
                "d.jsonl:3: each line must be one JSON object, this is array");
}

TEST_F(DatasetTest, BadLinesAreSkippedAndCountedWhenAsked) {
  const std::string text = std::string("nonsense\n") + kTwoRecords + "{\"prompt\":\"\xff\"}\n";

  const Dataset data = Parse(text, {.on_bad_line = OnBadLine::kSkip});

  EXPECT_EQ(data.num_skipped, 2u);
  EXPECT_EQ(data.examples.size(), 2u);
  EXPECT_THAT(data.first_bad_line, HasSubstr("d.jsonl:1:"));
}

TEST_F(DatasetTest, AMistakeInTheSettingsIsNoBadLine) {
  const DatasetOptions skip{
      .prompt_template = "{q", .completion_template = "{a}", .on_bad_line = OnBadLine::kSkip};

  EXPECT_THROWS(Parse(kTwoRecords, skip), Code::kInvalidArgument,
                "data.prompt_template: the brace");
}

TEST_F(DatasetTest, NothingToTrainOnIsAnError) {
  EXPECT_THROWS(Parse(""), Code::kInvalidArgument, "d.jsonl is empty");
  EXPECT_THROWS(Parse(" \r\n\n"), Code::kInvalidArgument, "d.jsonl is empty");
  EXPECT_THROWS(Parse("x", {.on_bad_line = OnBadLine::kSkip}), Code::kInvalidArgument,
                "1 bad lines, 0 records without an answer within 512 tokens (data.max_length); "
                "the first bad line: d.jsonl:1:1:");
}

TEST_F(DatasetTest, OnlyTheFirstRecordsAreReadWhenLimited) {
  const Dataset data = Parse(std::string(kTwoRecords) + "nonsense", {.max_records = 2});

  EXPECT_EQ(data.examples.size(), 2u);
}

TEST_F(DatasetTest, ByteOrderMarkAndCarriageReturnsAreBorne) {
  EXPECT_EQ(Parse("\xef\xbb\xbf{\"prompt\":\"a\",\"completion\":\"b\"}\r\n\r\n").examples.size(),
            1u);
}

TEST_F(DatasetTest, LimitsAndEndsAreChecked) {
  TokenizerParts parts = test::TinyParts();
  parts.eos.reset();
  const Tokenizer endless(std::move(parts));

  EXPECT_THROWS(Parse(kTwoRecords, {.max_length = 1}), Code::kInvalidArgument, "got 1");
  EXPECT_THROWS(ParseDataset(kTwoRecords, "d", {}, endless), Code::kInvalidArgument,
                "tiny names no end-of-text token");
  EXPECT_THROWS(LoadDataset("/nowhere.jsonl", {}, tokenizer_), Code::kNotFound, "/nowhere.jsonl");
}

TEST_F(DatasetTest, TheFirstExampleIsRenderedWithItsMask) {
  const Dataset data = Parse(R"({"prompt":"hello\n","completion":" a"})");

  EXPECT_EQ(data.first_rendered,
            "  masked  (2 tokens): \"hello\\n\"\n  trained (2 tokens): \" a<|im_end|>\"\n");
}

TEST_F(DatasetTest, HostileTextNeverCrashes) {
  const auto decode = [this](ByteSpan bytes) {
    Parse({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  };
  const std::string text = kTwoRecords;
  const Bytes valid(text.begin(), text.end());

  // Accepted are the first line alone, with and without its end, and everything but the last end.
  EXPECT_EQ(test::AcceptedTruncations(decode, valid), 3u);
  EXPECT_GT(test::RefusedCorruptions(decode, valid, 5, 3000), 500u);
}

class Gsm8kTest : public ::testing::Test {
 protected:
  void SetUp() override {
    for (const std::string& path : {test::RealModelPath(), file_}) {
      if (!std::filesystem::exists(path)) GTEST_SKIP() << "needs " << path << ", which is not here";
    }
    tokenizer_ = Tokenizer::Load(test::RealModelPath());
  }
  const std::string file_ = test::SharedDataPath("gsm8k/train.jsonl");
  std::unique_ptr<const Tokenizer> tokenizer_;
};

TEST_F(Gsm8kTest, EqualsPromptAndAnswerTokenizedSeparatelyAndCut) {
  const DatasetOptions options{.prompt_template = "Question: {question}\nAnswer:",
                               .completion_template = " {answer}",
                               .max_length = 160,
                               .max_records = 240};

  const Dataset data = LoadDataset(file_, options, *tokenizer_);

  ASSERT_EQ(data.examples.size(), 240u);
  EXPECT_EQ(data.num_without_answer, 0u);
  const std::string text = io::ReadTextFile(file_, 64 << 20);
  size_t begin = 0;
  for (const Example& example : data.examples) {
    const size_t end = text.find('\n', begin);
    const auto record = nlohmann::json::parse(text.substr(begin, end - begin));
    begin = end + 1;
    std::vector<int32_t> tokens = tokenizer_->Encode(
        "Question: " + record["question"].get<std::string>() + "\nAnswer:", SpecialTokens::kParse);
    const size_t prompt = tokens.size();
    const auto answer =
        tokenizer_->Encode(" " + record["answer"].get<std::string>(), SpecialTokens::kParse);
    tokens.insert(tokens.end(), answer.begin(), answer.end());
    tokens.push_back(2);
    EXPECT_EQ(example.truncated, tokens.size() > 160);
    tokens.resize(std::min<size_t>(tokens.size(), 160));

    EXPECT_EQ(example.tokens, tokens);
    for (size_t i = 0; i < tokens.size(); ++i) EXPECT_EQ(example.supervised[i], i >= prompt);
  }
}

}  // namespace
}  // namespace amaq::data
