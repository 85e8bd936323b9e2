#include "data/tokenizer.h"

#include <algorithm>
#include <utility>

#include "core/error.h"

namespace amaq::data {
namespace {

// Indices of one text are 32 bits wide inside.
constexpr size_t kMaxTextBytes = size_t{1} << 30;

void CheckOptionalId(const std::optional<int32_t>& id, std::string_view what,
                     const TokenizerParts& parts) {
  if (id && (*id < 0 || static_cast<size_t>(*id) >= parts.tokens.size())) {
    Throw(Code::kInvalidArgument, parts.name, ": ", what, " is ", *id, ", the vocabulary has ",
          parts.tokens.size(), " tokens");
  }
}

}  // namespace

// Puts the added tokens' contents into the table; a byte-level token keeps its place.
Vocabulary Tokenizer::IndexTokens(const TokenizerParts& parts) {
  Vocabulary vocabulary;
  vocabulary.reserve(parts.tokens.size());
  for (size_t id = 0; id < parts.tokens.size(); ++id) {
    const std::string& token = parts.tokens[id];
    if (token.empty()) continue;
    if (!vocabulary.emplace(token, static_cast<int32_t>(id)).second) {
      Throw(Code::kInvalidArgument, parts.name, ": token '", token, "' has two numbers, ",
            vocabulary[token], " and ", id);
    }
  }
  return vocabulary;
}

Tokenizer::Tokenizer(TokenizerParts parts)
    : parts_(std::move(parts)),
      vocabulary_(IndexTokens(parts_)),
      kinds_(parts_.tokens.size(), TokenKind::kNormal),
      starts_an_added_(256, false),
      bpe_(vocabulary_, parts_.merges),
      pre_tokenizer_(parts_.pre_tokenizer) {
  CheckOptionalId(parts_.bos, "the beginning-of-text token", parts_);
  CheckOptionalId(parts_.eos, "the end-of-text token", parts_);
  CheckOptionalId(parts_.pad, "the padding token", parts_);
  if (parts_.adds_bos && !parts_.bos) {
    Throw(Code::kInvalidArgument, parts_.name, ": records begin with a token that is not named");
  }
  for (const AddedToken& added : parts_.added) {
    CheckOptionalId(added.id, StrCat("added token '", added.content, "'"), parts_);
    if (added.content.empty() || added.content != TokenOf(added.id)) {
      Throw(Code::kInvalidArgument, parts_.name, ": added token '", added.content,
            "' is not token ", added.id, " of the vocabulary");
    }
    kinds_[static_cast<size_t>(added.id)] =
        added.is_special ? TokenKind::kSpecial : TokenKind::kAdded;
    starts_an_added_[static_cast<uint8_t>(added.content[0])] = true;
  }
  std::ranges::stable_sort(parts_.added, std::ranges::greater(),
                           [](const AddedToken& added) { return added.content.size(); });
  parts_.merges = {};  // bpe_ has them
}

const AddedToken* Tokenizer::AddedAt(std::string_view text, size_t position,
                                     SpecialTokens mode) const {
  if (!starts_an_added_[static_cast<uint8_t>(text[position])]) return nullptr;
  const std::string_view rest = text.substr(position);
  for (const AddedToken& added : parts_.added) {
    if (added.is_special && mode == SpecialTokens::kAsText) continue;
    if (rest.starts_with(added.content)) return &added;
  }
  return nullptr;
}

void Tokenizer::EncodePlain(std::string_view text, std::vector<int32_t>* ids) const {
  if (text.empty()) return;
  for (const std::string_view word : pre_tokenizer_.Split(text)) bpe_.Encode(word, ids);
}

std::vector<int32_t> Tokenizer::Encode(std::string_view text, SpecialTokens mode) const {
  if (text.size() > kMaxTextBytes) {
    Throw(Code::kResourceExhausted, "a text of ", text.size(), " bytes, at most ", kMaxTextBytes,
          " can be tokenized at once");
  }
  std::vector<int32_t> ids;
  size_t plain = 0;
  for (size_t position = 0; position < text.size();) {
    const AddedToken* added = AddedAt(text, position, mode);
    if (added == nullptr) {
      ++position;
      continue;
    }
    EncodePlain(text.substr(plain, position - plain), &ids);
    ids.push_back(added->id);
    position += added->content.size();
    plain = position;
  }
  EncodePlain(text.substr(plain), &ids);
  return ids;
}

void Tokenizer::CheckId(int32_t id) const {
  if (id < 0 || id >= vocab_size()) {
    Throw(Code::kOutOfRange, "token ", id, " is not in the vocabulary of ", vocab_size(),
          " tokens of ", parts_.name);
  }
}

std::string Tokenizer::Decode(std::span<const int32_t> ids) const {
  std::string text;
  for (const int32_t id : ids) {
    const std::string& token = TokenOf(id);
    text += kinds_[static_cast<size_t>(id)] == TokenKind::kNormal ? ByteLevelDecode(token) : token;
  }
  return text;
}

const std::string& Tokenizer::TokenOf(int32_t id) const {
  CheckId(id);
  return parts_.tokens[static_cast<size_t>(id)];
}

std::optional<int32_t> Tokenizer::IdOf(const std::string& token) const {
  const auto found = vocabulary_.find(token);
  if (found == vocabulary_.end()) return std::nullopt;
  return found->second;
}

bool Tokenizer::IsSpecial(int32_t id) const {
  CheckId(id);
  return kinds_[static_cast<size_t>(id)] == TokenKind::kSpecial;
}

}  // namespace amaq::data
