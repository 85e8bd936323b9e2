#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "data/tokenizer.h"
#include "io/file.h"
#include "io/gguf.h"
#include "tests/data/tiny_tokenizer.h"
#include "tests/support/errors.h"
#include "tests/support/gguf_builder.h"
#include "tests/support/hostile_bytes.h"
#include "tests/support/shared_data.h"

namespace amaq::data {
namespace {

using nlohmann::json;

// The tiny tokenizer in each of the three forms.
json TinyJson() {
  const TokenizerParts parts = test::TinyParts();
  json vocab = json::object();
  for (size_t id = 0; id < 261; ++id) vocab[parts.tokens[id]] = id;
  json added = json::array();
  for (const AddedToken& token : parts.added) {
    added.push_back({{"id", token.id}, {"content", token.content}, {"special", token.is_special}});
  }
  return {{"added_tokens", added},
          {"normalizer", nullptr},
          {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}}},
          {"post_processor", nullptr},
          {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", parts.merges}}}};
}

test::GgufBuilder TinyGguf() {
  const TokenizerParts parts = test::TinyParts();
  std::vector<int32_t> types(parts.tokens.size(), 1);
  for (const AddedToken& token : parts.added) {
    types[static_cast<size_t>(token.id)] = token.is_special ? 3 : 4;
  }
  test::GgufBuilder file;
  file.String("tokenizer.ggml.model", "gpt2")
      .String("tokenizer.ggml.pre", "gpt-2")
      .Strings("tokenizer.ggml.tokens", parts.tokens)
      .Strings("tokenizer.ggml.merges", parts.merges)
      .Array("tokenizer.ggml.token_type", 5, types)
      .Uint("tokenizer.ggml.eos_token_id", 263)
      .Uint("tokenizer.ggml.bos_token_id", 261);
  return file;
}

TokenizerParts FromJson(const json& root) {
  return PartsFromTokenizerJson(root.dump(), "tokenizer.json");
}

std::vector<int32_t> EncodeAll(TokenizerParts parts) {
  return Tokenizer(std::move(parts)).Encode("hello a 12<|im_end|><tab>", SpecialTokens::kParse);
}

TEST(TokenizerSourcesTest, GgufAndJsonGiveTheTokenizerOfTheParts) {
  const Bytes gguf = TinyGguf().Build();
  const auto expected = EncodeAll(test::TinyParts());

  EXPECT_EQ(EncodeAll(PartsFromGguf(*io::GgufFile::FromBytes(gguf, "x.gguf"))), expected);
  EXPECT_EQ(EncodeAll(FromJson(TinyJson())), expected);
}

TEST(TokenizerSourcesTest, GgufNamesItsEnds) {
  const Bytes bytes = TinyGguf().Bool("tokenizer.ggml.add_bos_token", true).Build();

  const TokenizerParts parts = PartsFromGguf(*io::GgufFile::FromBytes(bytes, "x.gguf"));

  EXPECT_EQ(parts.bos, 261);
  EXPECT_EQ(parts.eos, 263);
  EXPECT_EQ(parts.pad, std::nullopt);
  EXPECT_TRUE(parts.adds_bos);
}

TEST(TokenizerSourcesTest, MergesMayBePairs) {
  json root = TinyJson();
  json pairs = json::array();
  for (const std::string& merge : test::TinyParts().merges) {
    const size_t space = merge.find(' ');
    pairs.push_back({merge.substr(0, space), merge.substr(space + 1)});
  }
  root["model"]["merges"] = pairs;

  EXPECT_EQ(EncodeAll(FromJson(root)), EncodeAll(test::TinyParts()));
}

TEST(TokenizerSourcesTest, SingleDigitsBeforeByteLevelAreSmolLm) {
  json root = TinyJson();
  root["pre_tokenizer"] = {
      {"type", "Sequence"},
      {"pretokenizers",
       {{{"type", "Digits"}, {"individual_digits", true}},
        {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", true}}}}};

  EXPECT_EQ(FromJson(root).pre_tokenizer, PreTokenizerKind::kSmolLM);
  EXPECT_EQ(FromJson(TinyJson()).pre_tokenizer, PreTokenizerKind::kGpt2);
}

TEST(TokenizerSourcesTest, APostProcessorMayPutOneTokenInFront) {
  json root = TinyJson();
  root["post_processor"] = {{"type", "TemplateProcessing"},
                            {"single", {{{"Sequence", {{"id", "A"}}}}}}};
  EXPECT_FALSE(FromJson(root).adds_bos);

  root["post_processor"]["single"] = {{{"SpecialToken", {{"id", "<|im_start|>"}}}},
                                      {{"Sequence", {{"id", "A"}}}}};
  EXPECT_TRUE(FromJson(root).adds_bos);
  EXPECT_EQ(FromJson(root).bos, 262);

  root["post_processor"]["single"][0]["SpecialToken"]["id"] = "<s>";
  EXPECT_THROWS(FromJson(root), Code::kInvalidArgument, "'<s>', which is no added token");
}

TEST(TokenizerSourcesTest, VocabAndMergesAreGpt2) {
  const std::string vocab = R"({"a":0,"b":1,"ab":2,"<|endoftext|>":3})";

  TokenizerParts parts = PartsFromVocabAndMerges(vocab, "#version: 0.2\na b\r\n\n", "gpt2");

  EXPECT_THAT(parts.merges, ::testing::ElementsAre("a b"));
  EXPECT_EQ(parts.eos, 3);
  EXPECT_THAT(Tokenizer(std::move(parts)).Encode("ab<|endoftext|>", SpecialTokens::kParse),
              ::testing::ElementsAre(2, 3));
}

struct Unsupported {
  const char* pointer;
  const char* value;
  const char* text;
};

class UnsupportedJsonTest : public ::testing::TestWithParam<Unsupported> {};

TEST_P(UnsupportedJsonTest, IsRefusedSayingWhatWasFound) {
  json root = TinyJson();
  root[json::json_pointer(GetParam().pointer)] = json::parse(GetParam().value);

  EXPECT_THROWS(FromJson(root), Code::kUnimplemented, GetParam().text);
}

INSTANTIATE_TEST_SUITE_P(
    TokenizerSourcesTest, UnsupportedJsonTest,
    ::testing::Values(
        Unsupported{"/model/type", "\"WordPiece\"", "a model of type 'WordPiece'"},
        Unsupported{"/model/byte_fallback", "true", "byte fallback"},
        Unsupported{"/model/ignore_merges", "true", "ignores merges"},
        Unsupported{"/model/end_of_word_suffix", "\"</w>\"", "end_of_word_suffix"},
        Unsupported{"/model/dropout", "0.1", "dropout"},
        Unsupported{"/normalizer", R"({"type":"NFC"})", "normalizer 'NFC'"},
        Unsupported{"/post_processor", R"({"type":"BertProcessing"})", "BertProcessing"},
        Unsupported{"/post_processor",
                    R"({"type":"TemplateProcessing","single":[{"Sequence":{"id":"A"}},)"
                    R"({"SpecialToken":{"id":"<|im_end|>"}}]})",
                    "more than one token"},
        Unsupported{"/pre_tokenizer", "null", "no pre-tokenizer"},
        Unsupported{"/pre_tokenizer/type", "\"Whitespace\"", "pre-tokenizer 'Whitespace'"},
        Unsupported{"/pre_tokenizer/add_prefix_space", "true", "add_prefix_space"},
        Unsupported{"/pre_tokenizer/use_regex", "false", "without its pattern"},
        Unsupported{"/pre_tokenizer", R"({"type":"Sequence","pretokenizers":[]})", "sequence"},
        Unsupported{"/added_tokens/0/lstrip", "true", "lstrip"}));

TEST(TokenizerSourcesTest, OtherGgufTokenizersAreRefused) {
  const Bytes spm = test::GgufBuilder().String("tokenizer.ggml.model", "llama").Build();
  const Bytes qwen = test::GgufBuilder()
                         .String("tokenizer.ggml.model", "gpt2")
                         .String("tokenizer.ggml.pre", "qwen2")
                         .Strings("tokenizer.ggml.tokens", {"a"})
                         .Strings("tokenizer.ggml.merges", {})
                         .Build();

  EXPECT_THROWS(PartsFromGguf(*io::GgufFile::FromBytes(spm, "x.gguf")), Code::kUnimplemented,
                "tokenizer model 'llama'");
  EXPECT_THROWS(PartsFromGguf(*io::GgufFile::FromBytes(qwen, "x.gguf")), Code::kUnimplemented,
                "pre-tokenizer 'qwen2'");
}

TEST(TokenizerSourcesTest, ImplausibleNumbersAreRefusedBeforeATableIsMade) {
  json root = TinyJson();
  root["model"]["vocab"]["far"] = uint64_t{1} << 40;
  EXPECT_THROWS(FromJson(root), Code::kInvalidArgument, "token 'far'");
  root["model"]["vocab"]["far"] = 7;
  EXPECT_THROWS(FromJson(root), Code::kInvalidArgument, "the same number 7");
  root["model"]["vocab"]["far"] = -7;
  EXPECT_THROWS(FromJson(root), Code::kInvalidArgument, "'far' must be a whole number");
}

TEST(TokenizerSourcesTest, HostileGgufNeverCrashes) {
  const auto decode = [](ByteSpan bytes) {
    EncodeAll(PartsFromGguf(*io::GgufFile::FromBytes(bytes, "x.gguf")));
  };
  const Bytes valid = TinyGguf().Build();

  EXPECT_EQ(test::AcceptedTruncations(decode, valid), 0u);
  EXPECT_GT(test::RefusedCorruptions(decode, valid, 3, 2000), 100u);
}

TEST(TokenizerSourcesTest, HostileJsonNeverCrashes) {
  const auto decode = [](ByteSpan bytes) {
    EncodeAll(PartsFromTokenizerJson({reinterpret_cast<const char*>(bytes.data()), bytes.size()},
                                     "x.json"));
  };
  const std::string text = TinyJson().dump();
  const Bytes valid(text.begin(), text.end());

  EXPECT_EQ(test::AcceptedTruncations(decode, valid), 0u);
  EXPECT_GT(test::RefusedCorruptions(decode, valid, 4, 1000), 100u);
}

class TokenizerFolderTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = ::testing::TempDir() + "amaq_tokenizer_" +
              ::testing::UnitTest::GetInstance()->current_test_info()->name();
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  void Write(const std::string& name, const std::string& text) {
    io::WriteFileAtomically(folder_ + "/" + name, std::string_view(text));
  }
  std::string folder_;
};

TEST_F(TokenizerFolderTest, TheConfigBesideItNamesTheEndsAndTheTemplate) {
  Write("tokenizer.json", TinyJson().dump());
  Write("tokenizer_config.json",
        R"({"eos_token":"<|im_end|>","bos_token":{"content":"<|im_start|>"},)"
        R"("chat_template":[{"name":"rag","template":"r"},{"name":"default","template":"t"}]})");

  const auto from_folder = Tokenizer::Load(folder_);
  const auto from_file = Tokenizer::Load(folder_ + "/tokenizer.json");

  for (const Tokenizer* tokenizer : {from_folder.get(), from_file.get()}) {
    EXPECT_EQ(tokenizer->eos_id(), 263);
    EXPECT_EQ(tokenizer->bos_id(), 262);
    EXPECT_EQ(tokenizer->pad_id(), std::nullopt);
    EXPECT_EQ(tokenizer->chat_template(), "t");
  }
}

TEST_F(TokenizerFolderTest, ATemplateFileGoesBeforeTheConfig) {
  Write("tokenizer.json", TinyJson().dump());
  Write("tokenizer_config.json", R"({"chat_template":"old"})");
  Write("chat_template.jinja", "new");

  EXPECT_EQ(Tokenizer::Load(folder_)->chat_template(), "new");
  EXPECT_EQ(Tokenizer::Load(folder_)->eos_id(), 261);  // <|endoftext|>, as nothing is named
}

TEST_F(TokenizerFolderTest, VocabAndMergesWork) {
  Write("vocab.json", R"({"a":0,"b":1,"ab":2})");
  Write("merges.txt", "a b\n");

  EXPECT_EQ(Tokenizer::Load(folder_)->Encode("ab", SpecialTokens::kParse).size(), 1u);
}

TEST_F(TokenizerFolderTest, AnEmptyFolderSaysWhatIsMissing) {
  EXPECT_THROWS(Tokenizer::Load(folder_), Code::kNotFound, "neither tokenizer.json nor vocab.json");
}

TEST_F(TokenizerFolderTest, AnEndThatIsNoTokenIsNamed) {
  Write("tokenizer.json", TinyJson().dump());
  Write("tokenizer_config.json", R"({"eos_token":"</s>"})");

  EXPECT_THROWS(Tokenizer::Load(folder_), Code::kInvalidArgument, "eos_token '</s>'");
}

TEST(TokenizerStoredTest, ASentencePieceLikeTokenizerIsRefused) {
  const std::string path = test::SharedDataPath("stories260K/hf");
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "needs " << path << ", which is not here";

  EXPECT_THROWS(Tokenizer::Load(path), Code::kUnimplemented, "only byte-level BPE");
}

}  // namespace
}  // namespace amaq::data
