#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <filesystem>

#include "io/file.h"
#include "io/safetensors.h"
#include "io/tensor_source.h"
#include "tests/support/errors.h"
#include "tests/support/shared_data.h"

namespace amaq::io {
namespace {

constexpr std::array<float, 2> kOne = {1, 2};
constexpr std::array<float, 2> kOther = {3, 4};

class HfDirectoryTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = ::testing::TempDir() + "amaq_hf_" +
              ::testing::UnitTest::GetInstance()->current_test_info()->name();
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
    Write("config.json", "{}");
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  void Write(const std::string& name, std::string_view text) {
    WriteFileAtomically(folder_ + "/" + name, text);
  }
  void WriteShard(const std::string& name, const std::string& tensor,
                  const std::array<float, 2>& values) {
    WriteFileAtomically(folder_ + "/" + name, SerializeSafetensors({{tensor, {2}, values}}, {}));
  }
  void WriteIndex(std::string_view map) {
    Write("model.safetensors.index.json", "{\"weight_map\":" + std::string(map) + "}");
  }

  std::string folder_;
};

TEST_F(HfDirectoryTest, OneFileIsRead) {
  WriteShard("model.safetensors", "a", kOne);

  const auto source = OpenHfDirectory(folder_);
  std::array<float, 2> out{};
  source->ReadF32("a", out);
  source->DropPages();

  EXPECT_EQ(out, kOne);
}

TEST_F(HfDirectoryTest, TensorsComeFromTheShardThatTheIndexNames) {
  WriteShard("s1.safetensors", "b", kOne);
  WriteShard("s2.safetensors", "a", kOther);
  WriteIndex(R"({"a":"s2.safetensors","b":"s1.safetensors"})");

  const auto source = OpenHfDirectory(folder_);
  std::array<float, 2> a{}, b{};
  source->ReadF32("a", a);
  source->ReadF32("b", b);

  EXPECT_EQ(source->tensors()[0].name, "a");
  EXPECT_EQ(a, kOther);
  EXPECT_EQ(b, kOne);
}

TEST_F(HfDirectoryTest, ATensorThatItsShardLacksIsNamed) {
  WriteShard("s1.safetensors", "b", kOne);
  WriteIndex(R"({"a":"s1.safetensors"})");

  EXPECT_THROWS(OpenHfDirectory(folder_), Code::kNotFound, "no tensor a in ");
}

TEST_F(HfDirectoryTest, AMissingShardIsNamed) {
  WriteIndex(R"({"a":"s1.safetensors"})");

  EXPECT_THROWS(OpenHfDirectory(folder_), Code::kNotFound, "s1.safetensors");
}

TEST_F(HfDirectoryTest, AnIndexMayNotReachOutOfItsFolder) {
  WriteIndex(R"({"a":"../s1.safetensors"})");

  EXPECT_THROWS(OpenHfDirectory(folder_), Code::kInvalidArgument, "not a plain file name");
}

TEST_F(HfDirectoryTest, MissingPartsAreNamed) {
  EXPECT_THROWS(OpenHfDirectory(folder_), Code::kNotFound, "neither model.safetensors nor");
  std::filesystem::remove(folder_ + "/config.json");
  EXPECT_THROWS(OpenHfDirectory(folder_), Code::kNotFound, "config.json");
}

TEST_F(HfDirectoryTest, ATruncatedFileIsDataLoss) {
  Bytes bytes = SerializeSafetensors({{"a", {2}, kOne}}, {});
  bytes.pop_back();
  WriteFileAtomically(folder_ + "/model.safetensors", bytes);

  EXPECT_THROWS(OpenHfDirectory(folder_), Code::kDataLoss, "model.safetensors");
}

TEST(HfDirectoryStoredTest, TheStoredModelHasItsTensors) {
  const std::string path = test::SharedDataPath("stories260K/hf");
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "needs " << path << ", which is not here";

  const auto source = OpenHfDirectory(path);

  EXPECT_EQ(source->tensors().size(), 47u);
  EXPECT_THAT(source->Get("model.embed_tokens.weight").shape, ::testing::ElementsAre(512, 64));
}

}  // namespace
}  // namespace amaq::io
