#ifndef AMAQ_DATA_BPE_H_
#define AMAQ_DATA_BPE_H_

// Byte-level byte-pair encoding of one word: its bytes become symbols and the pair with the lowest
// merge rank (the leftmost of equals) is joined until none is left. Not a tokenizer: words come
// from pre_tokenizer.h, special tokens are handled in tokenizer.h.
// Byte-level alphabet: each byte stands as one printable character (GPT-2's table), so that tokens
// are text. Thread-safety: immutable. Source: Sennrich et al., "Neural machine translation of rare
// words with subword units" (2016), algorithm 1, and GPT-2's byte table.

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace amaq::data {

// The UTF-8 text of the byte in a byte-level vocabulary: 0x20 is "\u0120".
std::string ByteLevelText(uint8_t byte);
// The bytes that a byte-level token stands for; characters outside the alphabet stay as they are.
std::string ByteLevelDecode(std::string_view token);

// From token text to its number.
using Vocabulary = std::unordered_map<std::string, int32_t>;

class Bpe {
 public:
  // `merges` in order of rank, each "left right". A byte without a token of its own never merges
  // and leaves no token. Errors: kInvalidArgument if a merge is no pair or names or makes a token
  // that is not in the vocabulary.
  Bpe(const Vocabulary& vocabulary, const std::vector<std::string>& merges);

  // Appends the word's tokens. O(n log n) in its bytes.
  void Encode(std::string_view word, std::vector<int32_t>* ids) const;

 private:
  struct Merge {
    uint32_t rank;
    int32_t result;
  };
  const Merge* Find(int32_t left, int32_t right) const;

  std::array<int32_t, 256> byte_ids_;
  std::unordered_map<uint64_t, Merge> merges_;  // by (left, right)
};

}  // namespace amaq::data

#endif  // AMAQ_DATA_BPE_H_
