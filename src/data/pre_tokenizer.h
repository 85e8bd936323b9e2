#ifndef AMAQ_DATA_PRE_TOKENIZER_H_
#define AMAQ_DATA_PRE_TOKENIZER_H_

// Cuts text into the words inside which byte pairs may merge. Two rules: GPT-2's (contractions,
// letters, digits, other, each with one leading space, and white space) and SmolLM's (every numeric
// character is a word of its own first, then GPT-2's rule on what lies between).
// Bytes that are not UTF-8 belong to no class: a run of them is a word of its own.
// Thread-safety: immutable. Source: the published patterns of both tokenizers.

#include <memory>
#include <string_view>
#include <vector>

namespace amaq::data {

enum class PreTokenizerKind { kGpt2, kSmolLM };

class PreTokenizer {
 public:
  explicit PreTokenizer(PreTokenizerKind kind);
  ~PreTokenizer();
  PreTokenizer(PreTokenizer&&) noexcept;
  PreTokenizer& operator=(PreTokenizer&&) noexcept;

  // Views into `text`, in order, that together are all of it.
  std::vector<std::string_view> Split(std::string_view text) const;

 private:
  struct Patterns;
  std::unique_ptr<const Patterns> patterns_;
};

}  // namespace amaq::data

#endif  // AMAQ_DATA_PRE_TOKENIZER_H_
