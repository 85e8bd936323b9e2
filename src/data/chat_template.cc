#include "data/chat_template.h"

#include "core/error.h"
#include "data/regex.h"

namespace amaq::data {
namespace {

// Extended syntax: white space in the pattern means nothing; Jinja's own is written as [ ]* or \n?.
// A newline after a block tag is dropped by Jinja as transformers sets it up (trim_blocks), and so
// may stand anywhere after "%}"; any other text between tags would be printed and is not ChatML.
constexpr std::string_view kChatMl = R"re((?x)
(?(DEFINE)
  (?<NL>      \\n | \n )
  (?<OPEN>    \{%-? \s* )
  (?<CLOSE>   \s* -?%\} \n? )
  (?<SAY>     \{\{-? \s* )
  (?<SAID>    \s* -?\}\} )
  (?<PLUS>    \s* \+ \s* )
  (?<Q>       ['"] )
  (?<ROLE>    message\[(?&Q)role(?&Q)\] | message\.role )
  (?<CONTENT> message\[(?&Q)content(?&Q)\] | message\.content )
)
^
(?: (?&OPEN) if\ not\ add_generation_prompt\ is\ defined (?&CLOSE)
    (?&OPEN) set\ add_generation_prompt\s*=\s*false (?&CLOSE)
    (?&OPEN) endif (?&CLOSE) )?
(?&OPEN) for\ message\ in\ messages (?&CLOSE)
(?: (?&OPEN) if\ loop\.first\ and\ messages\[0\]\[(?&Q)role(?&Q)\]\s*!=\s*(?&Q)system(?&Q) (?&CLOSE)
    (?&SAY) (?<quote>['"]) <\|im_start\|>system (?&NL)
      (?<system> (?: (?!\k<quote>)[^\\<] | \\[n'"\\] )+ )
    <\|im_end\|> (?&NL) \k<quote> (?&SAID)
    (?&OPEN) endif (?&CLOSE) )?
(?&SAY) (?&Q)<\|im_start\|>(?&Q) (?&PLUS) (?&ROLE) (?&PLUS) (?&Q)(?&NL)(?&Q) (?&PLUS) (?&CONTENT)
  (?&PLUS) (?&Q)<\|im_end\|> (?: (?&Q) (?&PLUS) (?&Q) )? (?&NL)(?&Q) (?&SAID)
(?&OPEN) endfor (?&CLOSE)
(?: (?&OPEN) if\ add_generation_prompt (?&CLOSE)
    (?&SAY) (?&Q)<\|im_start\|>assistant(?&NL)(?&Q) (?&SAID)
    (?&OPEN) endif (?&CLOSE) )?
\s*$
)re";

uint32_t GroupNumber(const Regex& regex, const char* name) {
  const int number =
      pcre2_substring_number_from_name(regex.code(), reinterpret_cast<PCRE2_SPTR>(name));
  if (number < 0) Throw(Code::kInternal, "the ChatML pattern has no group ", name);
  return static_cast<uint32_t>(number);
}

std::string Unescape(std::string_view quoted) {
  std::string text;
  for (size_t i = 0; i < quoted.size(); ++i) {
    if (quoted[i] == '\\' && i + 1 < quoted.size()) {
      ++i;
      text.push_back(quoted[i] == 'n' ? '\n' : quoted[i]);
    } else {
      text.push_back(quoted[i]);
    }
  }
  return text;
}

void Append(std::vector<TextSegment>* segments, std::string_view text, bool is_supervised) {
  if (text.empty()) return;
  if (segments->empty() || segments->back().is_supervised != is_supervised) {
    segments->push_back({"", is_supervised});
  }
  segments->back().text += text;
}

}  // namespace

ChatTemplate::ChatTemplate(std::string_view jinja, std::string_view name) {
  if (jinja.empty()) {
    Throw(Code::kUnimplemented, "'messages' needs a ChatML template, and ", name,
          " has no chat template");
  }
  const Regex regex(kChatMl);
  Matcher matcher(regex);
  if (!matcher.Search(jinja, 0)) {
    Throw(Code::kUnimplemented, "'messages' needs a ChatML template, and the chat template of ",
          name, " is another one; use data.prompt_template and data.completion_template instead");
  }
  default_system_ = Unescape(matcher.Group(GroupNumber(regex, "system")));
}

std::vector<TextSegment> ChatTemplate::Render(const std::vector<ChatMessage>& messages) const {
  std::vector<TextSegment> segments;
  if (!messages.empty() && messages[0].role != "system" && !default_system_.empty()) {
    Append(&segments, StrCat("<|im_start|>system\n", default_system_, "<|im_end|>\n"), false);
  }
  for (const ChatMessage& message : messages) {
    const bool is_supervised = message.role == "assistant";
    Append(&segments, StrCat("<|im_start|>", message.role, "\n"), false);
    Append(&segments, StrCat(message.content, "<|im_end|>"), is_supervised);
    Append(&segments, "\n", false);
  }
  return segments;
}

std::string ChatTemplate::RenderPrompt(const std::vector<ChatMessage>& messages) const {
  std::string text;
  for (const TextSegment& segment : Render(messages)) text += segment.text;
  return text + "<|im_start|>assistant\n";
}

}  // namespace amaq::data
