#ifndef AMAQ_DATA_RECORD_FORMAT_H_
#define AMAQ_DATA_RECORD_FORMAT_H_

// One JSON record to stretches of text, masked and supervised: how the fields of a data set become
// a prompt and an answer. Formats: prompt-completion {prompt, completion}; Alpaca {instruction,
// input?, output}; messages [{role, content}] through the model's ChatML template; and templates
// over any fields. Thread-safety: immutable.

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "data/chat_template.h"
#include "data/tokenizer.h"

namespace amaq::data {

// "Question: {question}\nAnswer:": literal text and fields of the record; {{ and }} are braces.
class FieldTemplate {
 public:
  // `key` names the setting in errors. Errors: kInvalidArgument for an unclosed or stray brace.
  FieldTemplate(std::string_view text, std::string_view key);

  // Strings as they are, numbers and booleans as JSON has them. Errors: kInvalidArgument naming the
  // field and those the record has.
  std::string Fill(const nlohmann::json& record) const;

 private:
  struct Part {
    std::string text;  // literal, or the field's name
    bool is_field = false;
  };
  std::vector<Part> parts_;
};

enum class RecordFormatKind { kAuto, kPromptCompletion, kAlpaca, kMessages, kTemplate };

// "auto", "prompt-completion", "alpaca", "messages", "template". Errors: kInvalidArgument.
RecordFormatKind ParseRecordFormat(std::string_view name);

class RecordFormat {
 public:
  virtual ~RecordFormat() = default;

  // Errors: kInvalidArgument if the record does not fit, saying why.
  virtual std::vector<TextSegment> Render(const nlohmann::json& record) const = 0;
  // True if the end-of-text token is to follow (a chat template has its own).
  virtual bool takes_eos() const { return true; }
};

// The format whose fields the record has. Errors: kInvalidArgument naming the fields.
RecordFormatKind DetectRecordFormat(const nlohmann::json& record);

// `kind` is not kAuto. Errors: kInvalidArgument if the templates do not go with it;
// kUnimplemented if messages are asked of a model without ChatML.
std::unique_ptr<const RecordFormat> MakeRecordFormat(RecordFormatKind kind,
                                                     std::string_view prompt_template,
                                                     std::string_view completion_template,
                                                     const Tokenizer& tokenizer);

}  // namespace amaq::data

#endif  // AMAQ_DATA_RECORD_FORMAT_H_
