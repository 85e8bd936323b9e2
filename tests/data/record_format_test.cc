#include "data/record_format.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/data/tiny_tokenizer.h"
#include "tests/support/errors.h"

namespace amaq::data {
namespace {

using nlohmann::json;

class RecordFormatTest : public ::testing::Test {
 protected:
  std::unique_ptr<const RecordFormat> Make(RecordFormatKind kind) const {
    return MakeRecordFormat(kind, "", "", tokenizer_);
  }
  const Tokenizer tokenizer_{test::TinyParts()};
};

TEST(FieldTemplateTest, FieldsAndBracesAreReplaced) {
  const FieldTemplate fields("{{Q}} {q}\n{n}{b}", "k");

  EXPECT_EQ(fields.Fill({{"q", "a{b}"}, {"n", 12}, {"b", true}}), "{Q} a{b}\n12true");
}

TEST(FieldTemplateTest, AnUnknownFieldIsNamedWithThoseOfTheRecord) {
  EXPECT_THROWS(FieldTemplate("{x}", "k").Fill({{"q", "1"}, {"a", "2"}}), Code::kInvalidArgument,
                "there is no field 'x'; the record has a, q");
  EXPECT_THROWS(FieldTemplate("{x}", "k").Fill({{"x", nullptr}}), Code::kInvalidArgument,
                "field 'x' must be a string, got null");
}

TEST(FieldTemplateTest, StrayBracesAreRefused) {
  for (const char* text : {"{", "a}", "{a", "{}", "{a{b}", "{{}"}) {
    EXPECT_THROWS(FieldTemplate(text, "data.prompt_template"), Code::kInvalidArgument,
                  "data.prompt_template: the brace at position");
  }
}

TEST_F(RecordFormatTest, PromptAndCompletion) {
  const std::vector<TextSegment> expected = {{"p", false}, {"c", true}};

  EXPECT_EQ(
      Make(RecordFormatKind::kPromptCompletion)->Render({{"prompt", "p"}, {"completion", "c"}}),
      expected);
}

TEST_F(RecordFormatTest, AlpacaHasTwoPrompts) {
  const auto format = Make(RecordFormatKind::kAlpaca);

  const auto plain = format->Render({{"instruction", "I"}, {"input", ""}, {"output", "O"}});
  const auto with_input = format->Render({{"instruction", "I"}, {"input", "X"}, {"output", "O"}});

  EXPECT_THAT(plain[0].text,
              ::testing::EndsWith("request.\n\n### Instruction:\nI\n\n### Response:\n"));
  EXPECT_THAT(with_input[0].text,
              ::testing::EndsWith("### Instruction:\nI\n\n### Input:\nX\n\n### Response:\n"));
  EXPECT_EQ(plain[1], (TextSegment{"O", true}));
  EXPECT_THROWS(format->Render({{"instruction", "I"}, {"output", "O"}, {"system", "S"}}),
                Code::kUnimplemented, "'system'");
}

TEST_F(RecordFormatTest, MessagesGoThroughTheTemplate) {
  const auto format = Make(RecordFormatKind::kMessages);
  const json talk = {
      {"messages",
       {{{"role", "user"}, {"content", "q"}}, {{"role", "assistant"}, {"content", "a"}}}}};

  EXPECT_FALSE(format->takes_eos());
  EXPECT_EQ(format->Render(talk)[1], (TextSegment{"a<|im_end|>", true}));
}

TEST_F(RecordFormatTest, WrongMessagesAreRefused) {
  const auto format = Make(RecordFormatKind::kMessages);

  EXPECT_THROWS(format->Render({{"messages", json::array()}}), Code::kInvalidArgument,
                "at least one");
  EXPECT_THROWS(format->Render({{"messages", {{{"role", "tool"}, {"content", "x"}}}}}),
                Code::kInvalidArgument, "message 0: role must be system, user or assistant");
  EXPECT_THROWS(format->Render({{"messages", {{{"role", "user"}}}}}), Code::kInvalidArgument,
                "message 0: 'content' is missing");
}

TEST_F(RecordFormatTest, FieldsTellTheFormat) {
  EXPECT_EQ(DetectRecordFormat({{"messages", 1}}), RecordFormatKind::kMessages);
  EXPECT_EQ(DetectRecordFormat({{"prompt", 1}, {"completion", 1}}),
            RecordFormatKind::kPromptCompletion);
  EXPECT_EQ(DetectRecordFormat({{"instruction", 1}, {"output", 1}}), RecordFormatKind::kAlpaca);
  EXPECT_THROWS(DetectRecordFormat({{"question", 1}, {"answer", 1}}), Code::kInvalidArgument,
                "fields answer, question are no known format");
}

TEST_F(RecordFormatTest, TemplatesAndOtherFormatsDoNotMix) {
  EXPECT_THROWS(MakeRecordFormat(RecordFormatKind::kAlpaca, "{a}", "{b}", tokenizer_),
                Code::kInvalidArgument, "need data.format template");
  EXPECT_THROWS(MakeRecordFormat(RecordFormatKind::kTemplate, "{a}", "", tokenizer_),
                Code::kInvalidArgument, "data.completion_template must be set");
  EXPECT_EQ(ParseRecordFormat("alpaca"), RecordFormatKind::kAlpaca);
  EXPECT_THROWS(ParseRecordFormat("sharegpt"), Code::kInvalidArgument, "got 'sharegpt'");
}

}  // namespace
}  // namespace amaq::data
