#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <utility>

#include "core/error.h"
#include "data/tokenizer.h"
#include "io/file.h"
#include "io/gguf.h"
#include "io/json.h"

namespace amaq::data {
namespace {

using nlohmann::json;

constexpr size_t kMaxFileBytes = 256 << 20;
constexpr uint64_t kMaxTokens = 1 << 22;
constexpr std::string_view kEndOfText = "<|endoftext|>";

bool Exists(const std::string& path) {
  std::error_code ignored;
  return std::filesystem::exists(path, ignored);
}

std::string Join(const std::string& folder, std::string_view name) {
  return (std::filesystem::path(folder) / name).string();  // an empty folder is the current one
}

[[noreturn]] void Refuse(const std::string& name, std::string_view found) {
  Throw(Code::kUnimplemented, name, ": ", found,
        "; only byte-level BPE with the pre-tokenizers of GPT-2 and SmolLM is read");
}

// --- GGUF ---

PreTokenizerKind GgufPreTokenizer(const io::GgufFile& file) {
  constexpr const char* kKey = "tokenizer.ggml.pre";
  // Files from before the key existed, and "default", do not say which rule: GPT-2's is assumed.
  if (file.FindValue(kKey) == nullptr) return PreTokenizerKind::kGpt2;
  const std::string& pre = file.String(kKey);
  if (pre == "gpt-2" || pre == "default") return PreTokenizerKind::kGpt2;
  if (pre == "smollm") return PreTokenizerKind::kSmolLM;
  Refuse(file.path(), StrCat("pre-tokenizer '", pre, "'"));
}

std::optional<int32_t> GgufId(const io::GgufFile& file, std::string_view key) {
  if (file.FindValue(key) == nullptr) return std::nullopt;
  const uint64_t id = file.Uint(key);
  if (id > kMaxTokens) {
    Throw(Code::kInvalidArgument, file.path(), ": ", key, " is ", id, ", no token's number");
  }
  return static_cast<int32_t>(id);
}

std::vector<AddedToken> GgufAddedTokens(const io::GgufFile& file,
                                        const std::vector<std::string>& tokens) {
  constexpr const char* kKey = "tokenizer.ggml.token_type";
  constexpr int64_t kControl = 3;  // of the format
  constexpr int64_t kUserDefined = 4;
  std::vector<AddedToken> added;
  if (file.FindValue(kKey) == nullptr) return added;
  const std::vector<int64_t> types = file.Integers(kKey);
  if (types.size() != tokens.size()) {
    Throw(Code::kInvalidArgument, file.path(), ": ", kKey, " has ", types.size(), " entries, ",
          tokens.size(), " tokens are listed");
  }
  for (size_t id = 0; id < types.size(); ++id) {
    if (types[id] == kControl || types[id] == kUserDefined) {
      added.push_back({static_cast<int32_t>(id), tokens[id], types[id] == kControl});
    }
  }
  return added;
}

// --- tokenizer.json ---

std::string TypeOf(const json& component) {
  const json* type = io::FindJsonMember(component, "type");
  return type != nullptr && type->is_string() ? type->get<std::string>() : "(none)";
}

bool Flag(const json& object, std::string_view key, bool if_missing, const std::string& name) {
  return io::FindJsonMember(object, key) == nullptr ? if_missing : io::JsonBool(object, key, name);
}

void CheckByteLevel(const json& component, const std::string& name) {
  if (TypeOf(component) != "ByteLevel") {
    Refuse(name, StrCat("pre-tokenizer '", TypeOf(component), "'"));
  }
  if (Flag(component, "add_prefix_space", false, name)) Refuse(name, "add_prefix_space");
  if (!Flag(component, "use_regex", true, name)) Refuse(name, "ByteLevel without its pattern");
}

PreTokenizerKind JsonPreTokenizer(const json& root, const std::string& name) {
  const json* component = io::FindJsonMember(root, "pre_tokenizer");
  if (component == nullptr) Refuse(name, "no pre-tokenizer (is this a SentencePiece model?)");
  if (TypeOf(*component) != "Sequence") {
    CheckByteLevel(*component, name);
    return PreTokenizerKind::kGpt2;
  }
  const json& parts = io::JsonMember(*component, "pretokenizers", name);
  if (!parts.is_array() || parts.size() != 2 || TypeOf(parts[0]) != "Digits" ||
      !Flag(parts[0], "individual_digits", false, name)) {
    Refuse(name, "a sequence of pre-tokenizers other than single digits and ByteLevel");
  }
  CheckByteLevel(parts[1], name);
  return PreTokenizerKind::kSmolLM;
}

void CheckModel(const json& model, const std::string& name) {
  if (TypeOf(model) != "BPE") Refuse(name, StrCat("a model of type '", TypeOf(model), "'"));
  if (Flag(model, "byte_fallback", false, name)) Refuse(name, "BPE with byte fallback");
  if (Flag(model, "ignore_merges", false, name)) Refuse(name, "BPE that ignores merges");
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    const json* value = io::FindJsonMember(model, key);
    if (value != nullptr && *value != "") Refuse(name, StrCat("BPE with ", key));
  }
  if (io::FindJsonMember(model, "dropout") != nullptr) Refuse(name, "BPE with dropout");
}

// Numbers to texts; `table` grows as needed.
void PlaceToken(const std::string& token, uint64_t id, const std::string& name,
                std::vector<std::string>* table) {
  if (id >= kMaxTokens) {
    Throw(Code::kInvalidArgument, name, ": token '", token, "' has number ", id, ", at most ",
          kMaxTokens, " tokens are allowed");
  }
  if (id >= table->size()) table->resize(id + 1);
  std::string& place = (*table)[id];
  if (!place.empty() && place != token) {
    Throw(Code::kInvalidArgument, name, ": tokens '", place, "' and '", token,
          "' have the same number ", id);
  }
  place = token;
}

std::vector<std::string> TokenTable(const json& vocab, const std::string& name) {
  if (!vocab.is_object()) Throw(Code::kInvalidArgument, name, ": the vocabulary is no JSON object");
  std::vector<std::string> table;
  for (const auto& [token, id] : vocab.items()) {
    PlaceToken(token, io::JsonUint(vocab, token, name), name, &table);
  }
  return table;
}

// "a b" in old files, ["a", "b"] in new ones.
std::vector<std::string> MergeList(const json& merges, const std::string& name) {
  if (!merges.is_array()) Throw(Code::kInvalidArgument, name, ": 'merges' is no JSON array");
  std::vector<std::string> list;
  list.reserve(merges.size());
  for (const json& merge : merges) {
    if (merge.is_string()) {
      list.push_back(merge.get<std::string>());
    } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() &&
               merge[1].is_string()) {
      list.push_back(StrCat(merge[0].get<std::string>(), " ", merge[1].get<std::string>()));
    } else {
      Throw(Code::kInvalidArgument, name, ": merge ", list.size(), " is not a pair of tokens");
    }
  }
  return list;
}

void AddTokens(const json& root, TokenizerParts* parts) {
  const json* list = io::FindJsonMember(root, "added_tokens");
  if (list == nullptr) return;
  if (!list->is_array()) {
    Throw(Code::kInvalidArgument, parts->name, ": 'added_tokens' is no JSON array");
  }
  for (const json& entry : *list) {
    const std::string content = io::JsonString(entry, "content", parts->name);
    for (const char* key : {"single_word", "lstrip", "rstrip"}) {
      if (Flag(entry, key, false, parts->name)) {
        Refuse(parts->name, StrCat("added token '", content, "' with ", key));
      }
    }
    const uint64_t id = io::JsonUint(entry, "id", parts->name);
    PlaceToken(content, id, parts->name, &parts->tokens);
    parts->added.push_back(
        {static_cast<int32_t>(id), content, Flag(entry, "special", false, parts->name)});
  }
}

// What is put around a text: nothing, or one token before it.
void ApplyPostProcessor(const json& root, TokenizerParts* parts) {
  const json* post = io::FindJsonMember(root, "post_processor");
  if (post == nullptr || TypeOf(*post) == "ByteLevel") return;
  if (TypeOf(*post) != "TemplateProcessing") {
    Refuse(parts->name, StrCat("post-processor '", TypeOf(*post), "'"));
  }
  const json& pieces = io::JsonMember(*post, "single", parts->name);
  const bool has_front = pieces.is_array() && pieces.size() == 2 &&
                         io::FindJsonMember(pieces[0], "SpecialToken") != nullptr;
  if (!pieces.is_array() || pieces.size() != (has_front ? 2u : 1u) ||
      io::FindJsonMember(pieces.back(), "Sequence") == nullptr) {
    Refuse(parts->name, "a post-processor that adds more than one token before the text");
  }
  if (!has_front) return;
  const std::string token = io::JsonString(pieces[0]["SpecialToken"], "id", parts->name);
  const auto found = std::ranges::find(parts->added, token, &AddedToken::content);
  if (found == parts->added.end()) {
    Throw(Code::kInvalidArgument, parts->name, ": the post-processor adds '", token,
          "', which is no added token");
  }
  parts->bos = found->id;
  parts->adds_bos = true;
}

// --- tokenizer_config.json ---

// A token's name, plain or as an object with 'content'; `id` stays as it is without one.
void ReadNamedToken(const json& config, std::string_view key, const TokenizerParts& parts,
                    std::optional<int32_t>* id) {
  const json* value = io::FindJsonMember(config, key);
  if (value == nullptr) return;
  const std::string token = value->is_object() ? io::JsonString(*value, "content", parts.name)
                                               : io::JsonString(config, key, parts.name);
  const auto found = std::ranges::find(parts.tokens, token);
  if (found == parts.tokens.end()) {
    Throw(Code::kInvalidArgument, parts.name, ": ", key, " '", token, "' is not in the vocabulary");
  }
  *id = static_cast<int32_t>(found - parts.tokens.begin());
}

// One template, or a list of named ones, of which "default" counts.
std::string ChatTemplate(const json& config, const std::string& path) {
  const json* chat = io::FindJsonMember(config, "chat_template");
  if (chat == nullptr) return {};
  if (!chat->is_array()) return io::JsonString(config, "chat_template", path);
  for (const json& entry : *chat) {
    if (io::JsonString(entry, "name", path) == "default") {
      return io::JsonString(entry, "template", path);
    }
  }
  return {};
}

void ApplyConfig(const std::string& folder, TokenizerParts* parts) {
  const std::string path = Join(folder, "tokenizer_config.json");
  if (Exists(path)) {
    const json config = io::ParseJson(io::ReadTextFile(path, kMaxFileBytes), path);
    ReadNamedToken(config, "bos_token", *parts, &parts->bos);
    ReadNamedToken(config, "eos_token", *parts, &parts->eos);
    ReadNamedToken(config, "pad_token", *parts, &parts->pad);
    parts->chat_template = ChatTemplate(config, path);
  }
  const std::string jinja = Join(folder, "chat_template.jinja");
  if (Exists(jinja)) parts->chat_template = io::ReadTextFile(jinja, kMaxFileBytes);
}

// GPT-2's files name no special token: the one they have is both ends, as in its public code.
void AssumeGpt2Ends(TokenizerParts* parts) {
  const auto found = std::ranges::find(parts->added, kEndOfText, &AddedToken::content);
  if (found == parts->added.end()) return;
  if (!parts->bos) parts->bos = found->id;
  if (!parts->eos) parts->eos = found->id;
}

}  // namespace

TokenizerParts PartsFromGguf(const io::GgufFile& file) {
  const std::string& model = file.String("tokenizer.ggml.model");
  if (model != "gpt2") Refuse(file.path(), StrCat("tokenizer model '", model, "'"));
  TokenizerParts parts;
  parts.name = file.path();
  parts.tokens = file.Strings("tokenizer.ggml.tokens");
  if (parts.tokens.size() > kMaxTokens) {
    Throw(Code::kInvalidArgument, parts.name, " lists ", parts.tokens.size(), " tokens, at most ",
          kMaxTokens, " are allowed");
  }
  parts.merges = file.Strings("tokenizer.ggml.merges");
  parts.added = GgufAddedTokens(file, parts.tokens);
  parts.pre_tokenizer = GgufPreTokenizer(file);
  parts.bos = GgufId(file, "tokenizer.ggml.bos_token_id");
  parts.eos = GgufId(file, "tokenizer.ggml.eos_token_id");
  parts.pad = GgufId(file, "tokenizer.ggml.padding_token_id");
  parts.adds_bos = file.FindValue("tokenizer.ggml.add_bos_token") != nullptr &&
                   file.Bool("tokenizer.ggml.add_bos_token");
  if (file.FindValue("tokenizer.chat_template") != nullptr) {
    parts.chat_template = file.String("tokenizer.chat_template");
  }
  return parts;
}

TokenizerParts PartsFromTokenizerJson(std::string_view text, const std::string& name) {
  const json root = io::ParseJson(text, name);
  const json& model = io::JsonMember(root, "model", name);
  CheckModel(model, name);
  if (const json* normalizer = io::FindJsonMember(root, "normalizer")) {
    Refuse(name, StrCat("normalizer '", TypeOf(*normalizer), "'"));
  }
  TokenizerParts parts;
  parts.name = name;
  parts.pre_tokenizer = JsonPreTokenizer(root, name);
  parts.tokens = TokenTable(io::JsonMember(model, "vocab", name), name);
  parts.merges = MergeList(io::JsonMember(model, "merges", name), name);
  AddTokens(root, &parts);
  ApplyPostProcessor(root, &parts);
  AssumeGpt2Ends(&parts);
  return parts;
}

TokenizerParts PartsFromVocabAndMerges(std::string_view vocab_json, std::string_view merges,
                                       const std::string& name) {
  TokenizerParts parts;
  parts.name = name;
  parts.tokens = TokenTable(io::ParseJson(vocab_json, name), name);
  while (!merges.empty()) {
    const size_t newline = std::min(merges.find('\n'), merges.size());
    std::string_view line = merges.substr(0, newline);
    merges.remove_prefix(std::min(newline + 1, merges.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    // A first line "#version: 0.2" is no merge; "# #" would be one.
    if (line.empty() || line.starts_with("#version")) continue;
    parts.merges.emplace_back(line);
  }
  const auto found = std::ranges::find(parts.tokens, kEndOfText);
  if (found != parts.tokens.end()) {
    parts.added.push_back({static_cast<int32_t>(found - parts.tokens.begin()), *found, true});
  }
  AssumeGpt2Ends(&parts);
  return parts;
}

TokenizerParts PartsFromFolder(const std::string& folder) {
  const std::string tokenizer_json = Join(folder, "tokenizer.json");
  const std::string vocab = Join(folder, "vocab.json");
  const std::string merges = Join(folder, "merges.txt");
  TokenizerParts parts;
  if (Exists(tokenizer_json)) {
    parts = PartsFromTokenizerJson(io::ReadTextFile(tokenizer_json, kMaxFileBytes), tokenizer_json);
  } else if (Exists(vocab) && Exists(merges)) {
    parts = PartsFromVocabAndMerges(io::ReadTextFile(vocab, kMaxFileBytes),
                                    io::ReadTextFile(merges, kMaxFileBytes), vocab);
  } else {
    Throw(Code::kNotFound, "there is neither tokenizer.json nor vocab.json with merges.txt in ",
          folder);
  }
  ApplyConfig(folder, &parts);
  return parts;
}

std::unique_ptr<const Tokenizer> Tokenizer::Load(const std::string& path) {
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) {
    return std::make_unique<const Tokenizer>(PartsFromFolder(path));
  }
  if (path.ends_with(".json")) {
    TokenizerParts parts = PartsFromTokenizerJson(io::ReadTextFile(path, kMaxFileBytes), path);
    ApplyConfig(std::filesystem::path(path).parent_path().string(), &parts);
    return std::make_unique<const Tokenizer>(std::move(parts));
  }
  return std::make_unique<const Tokenizer>(PartsFromGguf(*io::GgufFile::Open(path)));
}

}  // namespace amaq::data
