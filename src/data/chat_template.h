#ifndef AMAQ_DATA_CHAT_TEMPLATE_H_
#define AMAQ_DATA_CHAT_TEMPLATE_H_

// Renders conversations in ChatML: "<|im_start|>role\ncontent<|im_end|>\n" for each message. Not a
// Jinja interpreter: the model's template is recognised when it is ChatML as published, with or
// without a default system message for conversations that begin with another role; every other
// template is refused. Thread-safety: immutable.

#include <string>
#include <string_view>
#include <vector>

namespace amaq::data {

struct ChatMessage {
  std::string role;
  std::string content;
};

// A stretch of rendered text; supervised where the model is to learn to write it.
struct TextSegment {
  std::string text;
  bool is_supervised = false;
  bool operator==(const TextSegment&) const = default;
};

class ChatTemplate {
 public:
  // `jinja` is the template of `name` (for errors). Errors: kUnimplemented if it is not ChatML.
  ChatTemplate(std::string_view jinja, std::string_view name);

  // Segments alternate; supervised are each assistant's content and its <|im_end|>.
  std::vector<TextSegment> Render(const std::vector<ChatMessage>& messages) const;

  // Everything, and the opening of the assistant's answer.
  std::string RenderPrompt(const std::vector<ChatMessage>& messages) const;

 private:
  std::string default_system_;  // empty: none
};

}  // namespace amaq::data

#endif  // AMAQ_DATA_CHAT_TEMPLATE_H_
