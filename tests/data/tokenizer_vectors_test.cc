// Against stored vectors: the inputs and outputs that llama.cpp keeps for these vocabularies.
// Skipped, saying why, where the files are not at hand.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <sstream>

#include "data/tokenizer.h"
#include "io/file.h"
#include "io/gguf.h"
#include "tests/support/shared_data.h"

namespace amaq::data {
namespace {

constexpr size_t kMaxBytes = 64 << 20;

struct Vector {
  std::string text;
  std::vector<int32_t> ids;
};

std::vector<Vector> LoadVectors(const std::string& stem) {
  const std::string base = test::SharedDataPath("tokenizers/vectors/" + stem + ".gguf");
  const std::string inputs = io::ReadTextFile(base + ".inp", kMaxBytes);
  std::istringstream outputs(io::ReadTextFile(base + ".out", kMaxBytes));
  const std::string mark = "\n__ggml_vocab_test__\n";
  std::vector<Vector> vectors;
  size_t begin = 0;
  std::string line;
  while (std::getline(outputs, line)) {
    const size_t end = std::min(inputs.find(mark, begin), inputs.size());
    Vector vector{inputs.substr(begin, end - begin), {}};
    std::istringstream numbers(line);
    for (int32_t id; numbers >> id;) vector.ids.push_back(id);
    vectors.push_back(std::move(vector));
    begin = std::min(end + mark.size(), inputs.size());
  }
  return vectors;
}

void ExpectVectors(const Tokenizer& tokenizer, const std::string& stem) {
  const std::vector<Vector> vectors = LoadVectors(stem);
  ASSERT_EQ(vectors.size(), 46u);
  for (const Vector& vector : vectors) {
    EXPECT_EQ(tokenizer.Encode(vector.text, SpecialTokens::kAsText), vector.ids) << vector.text;
    EXPECT_EQ(tokenizer.Decode(vector.ids), vector.text);
  }
}

std::unique_ptr<const Tokenizer> LoadGpt2() {
  const std::string base = test::SharedDataPath("tokenizers/gpt2.");
  return std::make_unique<const Tokenizer>(
      PartsFromVocabAndMerges(io::ReadTextFile(base + "vocab.json", kMaxBytes),
                              io::ReadTextFile(base + "merges.txt", kMaxBytes), "gpt2"));
}

#define SKIP_WITHOUT(path)                                       \
  if (!std::filesystem::exists(path)) {                          \
    GTEST_SKIP() << "needs " << (path) << ", which is not here"; \
  }

TEST(TokenizerVectorsTest, Gpt2EqualsTheStoredVectors) {
  SKIP_WITHOUT(test::SharedDataPath("tokenizers/gpt2.vocab.json"));

  ExpectVectors(*LoadGpt2(), "ggml-vocab-gpt-2");
}

TEST(TokenizerVectorsTest, SmolLmOutOfTheRealGgufEqualsTheStoredVectors) {
  SKIP_WITHOUT(test::RealModelPath());
  SKIP_WITHOUT(test::SharedDataPath("tokenizers/vectors/ggml-vocab-smollm.gguf.inp"));

  ExpectVectors(*Tokenizer::Load(test::RealModelPath()), "ggml-vocab-smollm");
}

// Negative control: the vectors can tell the two rules apart.
TEST(TokenizerVectorsTest, Gpt2WordsWithSmolLmVocabularyMissTheVectors) {
  SKIP_WITHOUT(test::RealModelPath());
  SKIP_WITHOUT(test::SharedDataPath("tokenizers/vectors/ggml-vocab-smollm.gguf.inp"));
  TokenizerParts parts = PartsFromGguf(*io::GgufFile::Open(test::RealModelPath()));
  parts.pre_tokenizer = PreTokenizerKind::kGpt2;
  const Tokenizer tokenizer(std::move(parts));

  size_t different = 0;
  for (const Vector& vector : LoadVectors("ggml-vocab-smollm")) {
    if (tokenizer.Encode(vector.text, SpecialTokens::kAsText) != vector.ids) ++different;
  }

  EXPECT_GT(different, 0u);
}

TEST(TokenizerVectorsTest, TheRealModelNamesItsSpecialTokens) {
  SKIP_WITHOUT(test::RealModelPath());
  const auto tokenizer = Tokenizer::Load(test::RealModelPath());

  EXPECT_EQ(tokenizer->vocab_size(), 49152);
  EXPECT_EQ(tokenizer->bos_id(), 1);
  EXPECT_EQ(tokenizer->eos_id(), 2);
  EXPECT_EQ(tokenizer->pad_id(), 2);
  EXPECT_FALSE(tokenizer->adds_bos());
  EXPECT_THAT(tokenizer->Encode("<|im_end|>", SpecialTokens::kParse), testing::ElementsAre(2));
  EXPECT_THAT(tokenizer->Encode("<|im_end|>", SpecialTokens::kAsText),
              testing::Not(testing::ElementsAre(2)));
}

}  // namespace
}  // namespace amaq::data
