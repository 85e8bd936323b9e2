#ifndef AMAQ_TESTS_DATA_TINY_TOKENIZER_H_
#define AMAQ_TESTS_DATA_TINY_TOKENIZER_H_

// A byte-level tokenizer made in memory: 256 bytes, a few merges, ChatML's special tokens.

#include <string>

#include "data/tokenizer.h"

namespace amaq::test {

inline constexpr const char* kTinyChatMl =
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + "
    "'<|im_end|>' + '\n'}}{% endfor %}";

// Tokens 0...255 are the bytes, then "he", "ll", "hell", "hello", " a" (with the space), then
// <|endoftext|>, <|im_start|>, <|im_end|> (eos) and the added but not special token <tab>.
inline data::TokenizerParts TinyParts() {
  data::TokenizerParts parts;
  parts.name = "tiny";
  for (int byte = 0; byte < 256; ++byte) {
    parts.tokens.push_back(data::ByteLevelText(static_cast<uint8_t>(byte)));
  }
  const std::string space = data::ByteLevelText(' ');
  for (const std::string& token : {std::string("he"), std::string("ll"), std::string("hell"),
                                   std::string("hello"), space + "a"}) {
    parts.tokens.push_back(token);
  }
  parts.merges = {"h e", "l l", "he ll", "hell o", space + " a"};
  for (const char* token : {"<|endoftext|>", "<|im_start|>", "<|im_end|>", "<tab>"}) {
    const auto id = static_cast<int32_t>(parts.tokens.size());
    parts.tokens.push_back(token);
    parts.added.push_back({id, token, std::string(token) != "<tab>"});
  }
  parts.bos = 261;
  parts.eos = 263;
  parts.chat_template = kTinyChatMl;
  return parts;
}

inline constexpr int32_t kTinyHello = 259;
inline constexpr int32_t kTinyEos = 263;

}  // namespace amaq::test

#endif  // AMAQ_TESTS_DATA_TINY_TOKENIZER_H_
