#ifndef AMAQ_DATA_TOKENIZER_H_
#define AMAQ_DATA_TOKENIZER_H_

// Text to token numbers and back: byte-level BPE with special tokens, as GPT-2, SmolLM and their
// relatives have it. Loaded from a GGUF file, a Hugging Face tokenizer.json or GPT-2's vocab.json
// and merges.txt; kinds we do not have (SentencePiece, WordPiece, other normalizers) are refused
// with kUnimplemented saying what was found. Thread-safety: immutable.
//
//   auto tokenizer = Tokenizer::Load("SmolLM2-135M-Instruct.Q4_1.gguf");
//   std::vector<int32_t> ids = tokenizer->Encode("Hello", SpecialTokens::kAsText);

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "data/bpe.h"
#include "data/pre_tokenizer.h"

namespace amaq::io {
class GgufFile;
}

namespace amaq::data {

// What "<|im_end|>" in a text means: kParse makes it the special token, kAsText makes it
// characters. Added tokens that are not special are cut out of the text in both modes.
enum class SpecialTokens { kAsText, kParse };

// A token that is cut out of the text before anything else.
struct AddedToken {
  int32_t id = 0;
  std::string content;  // verbatim, not in the byte-level alphabet
  bool is_special = false;
};

// What the sources have in common.
struct TokenizerParts {
  std::string name;                 // file or folder, for errors
  std::vector<std::string> tokens;  // by number, byte-level alphabet; "" where there is none
  std::vector<std::string> merges;  // "left right", in order of rank
  std::vector<AddedToken> added;
  PreTokenizerKind pre_tokenizer = PreTokenizerKind::kGpt2;
  std::optional<int32_t> bos, eos, pad;
  bool adds_bos = false;      // each record starts with bos
  std::string chat_template;  // Jinja source; empty if there is none
};

TokenizerParts PartsFromGguf(const io::GgufFile& file);
// A folder with tokenizer.json, or with vocab.json and merges.txt; tokenizer_config.json beside
// them, if there, says bos, eos, pad and the chat template.
TokenizerParts PartsFromFolder(const std::string& folder);
TokenizerParts PartsFromTokenizerJson(std::string_view json, const std::string& name);
TokenizerParts PartsFromVocabAndMerges(std::string_view vocab_json, std::string_view merges,
                                       const std::string& name);

class Tokenizer {
 public:
  // Errors: kInvalidArgument if the parts disagree (a repeated token, an id outside the table, a
  // merge of unknown tokens).
  explicit Tokenizer(TokenizerParts parts);

  // `path` is a .gguf file, a tokenizer.json or a model folder.
  static std::unique_ptr<const Tokenizer> Load(const std::string& path);

  // No bos or eos is added. Bytes that are not UTF-8 are encoded byte by byte.
  std::vector<int32_t> Encode(std::string_view text, SpecialTokens mode) const;

  // The bytes of the tokens; those of special tokens are their names. Tokens may end inside a UTF-8
  // character, so the result need not be valid UTF-8. Errors: kOutOfRange.
  std::string Decode(std::span<const int32_t> ids) const;

  // As stored (byte-level alphabet). Errors: kOutOfRange.
  const std::string& TokenOf(int32_t id) const;
  // The number of a token as stored, added tokens included.
  std::optional<int32_t> IdOf(const std::string& token) const;
  bool IsSpecial(int32_t id) const;

  int32_t vocab_size() const { return static_cast<int32_t>(parts_.tokens.size()); }
  std::optional<int32_t> bos_id() const { return parts_.bos; }
  std::optional<int32_t> eos_id() const { return parts_.eos; }
  std::optional<int32_t> pad_id() const { return parts_.pad; }
  bool adds_bos() const { return parts_.adds_bos; }
  const std::string& chat_template() const { return parts_.chat_template; }
  const std::string& name() const { return parts_.name; }

 private:
  enum class TokenKind : uint8_t { kNormal, kAdded, kSpecial };

  static Vocabulary IndexTokens(const TokenizerParts& parts);
  void CheckId(int32_t id) const;
  // The added token that begins at `position`, longest first; nullptr if none does.
  const AddedToken* AddedAt(std::string_view text, size_t position, SpecialTokens mode) const;
  void EncodePlain(std::string_view text, std::vector<int32_t>* ids) const;

  TokenizerParts parts_;
  Vocabulary vocabulary_;
  std::vector<TokenKind> kinds_;       // by id
  std::vector<bool> starts_an_added_;  // by first byte of an added token
  Bpe bpe_;
  PreTokenizer pre_tokenizer_;
};

}  // namespace amaq::data

#endif  // AMAQ_DATA_TOKENIZER_H_
