#include "data/record_format.h"

#include <array>
#include <nlohmann/json.hpp>
#include <utility>

#include "core/check.h"
#include "core/error.h"
#include "io/json.h"

namespace amaq::data {
namespace {

using nlohmann::json;

constexpr std::array<std::pair<std::string_view, RecordFormatKind>, 5> kFormats = {
    {{"auto", RecordFormatKind::kAuto},
     {"prompt-completion", RecordFormatKind::kPromptCompletion},
     {"alpaca", RecordFormatKind::kAlpaca},
     {"messages", RecordFormatKind::kMessages},
     {"template", RecordFormatKind::kTemplate}}};

// The wording of the Stanford Alpaca data set.
constexpr std::string_view kAlpacaPlain =
    "Below is an instruction that describes a task. Write a response that appropriately completes "
    "the request.\n\n### Instruction:\n{instruction}\n\n### Response:\n";
constexpr std::string_view kAlpacaWithInput =
    "Below is an instruction that describes a task, paired with an input that provides further "
    "context. Write a response that appropriately completes the request.\n\n### "
    "Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:\n";

std::string FieldNames(const json& record) {
  std::string names;
  for (const auto& [name, unused] : record.items()) {
    names += StrCat(names.empty() ? "" : ", ", name);
  }
  return names.empty() ? "no fields" : names;
}

std::vector<TextSegment> PromptAndAnswer(std::string prompt, std::string answer) {
  return {{std::move(prompt), false}, {std::move(answer), true}};
}

std::string FieldText(const json& record, const std::string& field) {
  const auto found = record.find(field);
  if (found == record.end()) {
    Throw(Code::kInvalidArgument, "there is no field '", field, "'; the record has ",
          FieldNames(record));
  }
  if (found->is_string()) return found->get<std::string>();
  if (found->is_number() || found->is_boolean()) return found->dump();
  Throw(Code::kInvalidArgument, "field '", field, "' must be a string, got ", found->type_name());
}

class TemplateFormat : public RecordFormat {
 public:
  TemplateFormat(std::string_view prompt, std::string_view completion)
      : prompt_(prompt, "data.prompt_template"),
        completion_(completion, "data.completion_template") {}

  std::vector<TextSegment> Render(const json& record) const override {
    return PromptAndAnswer(prompt_.Fill(record), completion_.Fill(record));
  }

 private:
  FieldTemplate prompt_;
  FieldTemplate completion_;
};

class AlpacaFormat : public RecordFormat {
 public:
  std::vector<TextSegment> Render(const json& record) const override {
    for (const char* field : {"system", "history"}) {
      const json* value = io::FindJsonMember(record, field);
      if (value != nullptr && !value->empty() && *value != "") {
        Throw(Code::kUnimplemented, "field '", field, "' of an Alpaca record is not read");
      }
    }
    const json* input = io::FindJsonMember(record, "input");
    const FieldTemplate& prompt = input == nullptr || *input == "" ? plain_ : with_input_;
    return PromptAndAnswer(prompt.Fill(record), FieldText(record, "output"));
  }

 private:
  FieldTemplate plain_{kAlpacaPlain, "alpaca"};
  FieldTemplate with_input_{kAlpacaWithInput, "alpaca"};
};

class MessagesFormat : public RecordFormat {
 public:
  explicit MessagesFormat(const Tokenizer& tokenizer)
      : template_(tokenizer.chat_template(), tokenizer.name()) {}

  bool takes_eos() const override { return false; }

  std::vector<TextSegment> Render(const json& record) const override {
    const json& list = io::JsonMember(record, "messages", "the record");
    if (!list.is_array() || list.empty()) {
      Throw(Code::kInvalidArgument, "'messages' must be an array with at least one message");
    }
    std::vector<ChatMessage> messages;
    for (const json& entry : list) {
      const std::string what = StrCat("message ", messages.size());
      ChatMessage message{io::JsonString(entry, "role", what),
                          io::JsonString(entry, "content", what)};
      if (message.role != "system" && message.role != "user" && message.role != "assistant") {
        Throw(Code::kInvalidArgument, what, ": role must be system, user or assistant, got '",
              message.role, "'");
      }
      messages.push_back(std::move(message));
    }
    return template_.Render(messages);
  }

 private:
  ChatTemplate template_;
};

}  // namespace

RecordFormatKind ParseRecordFormat(std::string_view name) {
  for (const auto& [known, kind] : kFormats) {
    if (known == name) return kind;
  }
  Throw(Code::kInvalidArgument,
        "data.format must be auto, prompt-completion, alpaca, messages or template, got '", name,
        "'");
}

FieldTemplate::FieldTemplate(std::string_view text, std::string_view key) {
  std::string literal;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c != '{' && c != '}') {
      literal.push_back(c);
    } else if (i + 1 < text.size() && text[i + 1] == c) {
      literal.push_back(c);
      ++i;
    } else {
      const size_t close = c == '{' ? text.find('}', i) : std::string_view::npos;
      const std::string_view field =
          close == std::string_view::npos ? "" : text.substr(i + 1, close - i - 1);
      if (field.empty() || field.find('{') != std::string_view::npos) {
        Throw(Code::kInvalidArgument, key, ": the brace at position ", i + 1,
              " belongs to no {field}; write {{ or }} for a brace");
      }
      parts_.push_back({std::exchange(literal, {}), false});
      parts_.push_back({std::string(field), true});
      i = close;
    }
  }
  parts_.push_back({literal, false});
}

std::string FieldTemplate::Fill(const json& record) const {
  std::string text;
  for (const Part& part : parts_) text += part.is_field ? FieldText(record, part.text) : part.text;
  return text;
}

RecordFormatKind DetectRecordFormat(const json& record) {
  const auto has = [&record](const char* field) { return record.contains(field); };
  if (has("messages")) return RecordFormatKind::kMessages;
  if (has("prompt") && has("completion")) return RecordFormatKind::kPromptCompletion;
  if (has("instruction") && has("output")) return RecordFormatKind::kAlpaca;
  Throw(Code::kInvalidArgument, "fields ", FieldNames(record),
        " are no known format (messages; prompt and completion; instruction and output): set "
        "data.prompt_template and data.completion_template");
}

std::unique_ptr<const RecordFormat> MakeRecordFormat(RecordFormatKind kind,
                                                     std::string_view prompt_template,
                                                     std::string_view completion_template,
                                                     const Tokenizer& tokenizer) {
  AMAQ_CHECK(kind != RecordFormatKind::kAuto);
  const bool has_template = !prompt_template.empty() || !completion_template.empty();
  if (has_template && kind != RecordFormatKind::kTemplate) {
    Throw(Code::kInvalidArgument,
          "data.prompt_template and data.completion_template need data.format template or auto");
  }
  switch (kind) {
    case RecordFormatKind::kPromptCompletion:
      return std::make_unique<TemplateFormat>("{prompt}", "{completion}");
    case RecordFormatKind::kAlpaca:
      return std::make_unique<AlpacaFormat>();
    case RecordFormatKind::kMessages:
      return std::make_unique<MessagesFormat>(tokenizer);
    case RecordFormatKind::kAuto:
    case RecordFormatKind::kTemplate:
      break;
  }
  if (completion_template.empty()) {
    Throw(Code::kInvalidArgument, "data.completion_template must be set for data.format template");
  }
  return std::make_unique<TemplateFormat>(prompt_template, completion_template);
}

}  // namespace amaq::data
