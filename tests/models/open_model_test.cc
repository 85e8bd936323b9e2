// models::OpenModel: what a config may say and what is refused, by name.

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>

#include "core/bytes.h"
#include "io/file.h"
#include "models/loader.h"
#include "tests/support/errors.h"
#include "tests/support/gguf_builder.h"
#include "tests/support/tiny_hf_model.h"

namespace amaq::models {
namespace {

using nlohmann::json;
using test::GgufBuilder;
using test::TinyFileSpec;
using test::TinyTensors;

std::string OpenPath(const std::string& name) {
  return StrCat(::testing::TempDir(), "amaq-open-", getpid(), "-", name);
}

// A folder whose config.json was changed.
std::string Folder(const std::function<void(json&)>& change) {
  static const test::StoredTensors tensors = TinyTensors(TinyFileSpec());
  json config = json::parse(test::HfConfig(TinyFileSpec()));
  change(config);
  const std::string folder = OpenPath("hf");
  test::WriteHfModel(folder, config.dump(), tensors);
  return folder;
}

void ExpectRefused(const std::function<void(json&)>& change, Code code, const std::string& text) {
  const std::string folder = Folder(change);
  EXPECT_THROWS(OpenModel(folder), code, text);
  EXPECT_THROWS(OpenModel(folder), code, folder);
}

TEST(OpenModelTest, OptionalKeysHaveTheDefaultsOfTheFormat) {
  const BaseModel model = OpenModel(Folder([](json& config) {
    for (const char* key : {"head_dim", "rope_theta", "rope_scaling", "hidden_act",
                            "attention_bias", "mlp_bias", "tie_word_embeddings"}) {
      config.erase(key);
    }
  }));

  EXPECT_EQ(model.spec.head_dim, 8);
  EXPECT_EQ(model.spec.rope_theta, 10000);
  EXPECT_FALSE(model.spec.tied_embeddings);
  EXPECT_EQ(
      OpenModel(Folder([](json& config) { config.erase("num_key_value_heads"); })).spec.kv_heads,
      4);
}

TEST(OpenModelTest, RopeParametersOfNewerConfigsAreRead) {
  const BaseModel model = OpenModel(Folder([](json& config) {
    config.erase("rope_theta");
    config["rope_parameters"] = {{"rope_type", "default"}, {"rope_theta", 250000.0}};
  }));

  EXPECT_EQ(model.spec.rope_theta, 250000);
}

TEST(OpenModelTest, AnotherArchitectureIsRefusedByName) {
  ExpectRefused([](json& config) { config["model_type"] = "mixtral"; }, Code::kUnimplemented,
                "'mixtral'");
  ExpectRefused([](json& config) { config.erase("model_type"); }, Code::kInvalidArgument,
                "model_type");
}

TEST(OpenModelTest, OptionsThatChangeTheArithmeticAreRefusedByName) {
  ExpectRefused([](json& config) { config["attention_bias"] = true; }, Code::kUnimplemented,
                "attention_bias");
  ExpectRefused([](json& config) { config["mlp_bias"] = true; }, Code::kUnimplemented, "mlp_bias");
  ExpectRefused([](json& config) { config["hidden_act"] = "gelu"; }, Code::kUnimplemented,
                "hidden_act to \"gelu\"");
}

TEST(OpenModelTest, EveryFormOfRopeScalingIsRefused) {
  ExpectRefused(
      [](json& config) {
        config["rope_scaling"] = {{"type", "linear"}, {"factor", 2.0}};
      },
      Code::kUnimplemented, "rope_scaling");
  ExpectRefused(
      [](json& config) {
        config["rope_scaling"] = {{"rope_type", "llama3"}, {"factor", 8.0}};
      },
      Code::kUnimplemented, "llama3");
  ExpectRefused(
      [](json& config) {
        config["rope_parameters"] = {{"rope_type", "yarn"}, {"rope_theta", 1e4}};
      },
      Code::kUnimplemented, "yarn");
}

TEST(OpenModelTest, SizesThatCannotBeAreRefusedWithTheFile) {
  ExpectRefused([](json& config) { config["num_hidden_layers"] = 0; }, Code::kInvalidArgument,
                "the number of blocks");
  ExpectRefused([](json& config) { config["num_attention_heads"] = 0; }, Code::kInvalidArgument,
                "the number of heads");
  ExpectRefused([](json& config) { config["num_key_value_heads"] = 3; }, Code::kInvalidArgument,
                "not a multiple");
  ExpectRefused([](json& config) { config["head_dim"] = 7; }, Code::kInvalidArgument, "even");
  ExpectRefused([](json& config) { config["hidden_size"] = 1e12; }, Code::kInvalidArgument,
                "hidden_size");
  ExpectRefused([](json& config) { config["hidden_size"] = 1LL << 60; }, Code::kInvalidArgument,
                "hidden size");
  ExpectRefused([](json& config) { config["vocab_size"] = -1; }, Code::kInvalidArgument,
                "vocab_size");
  ExpectRefused([](json& config) { config.erase("rms_norm_eps"); }, Code::kInvalidArgument,
                "rms_norm_eps");
}

TEST(OpenModelTest, NothingAtThePathIsSaid) {
  EXPECT_THROWS(OpenModel(""), Code::kInvalidArgument, "model.model_name_or_path is not set");
  EXPECT_THROWS(OpenModel(OpenPath("nothing.gguf")), Code::kNotFound, "nothing.gguf");
  const std::string folder = OpenPath("empty");
  std::filesystem::create_directories(folder);
  EXPECT_THROWS(OpenModel(folder), Code::kNotFound, "config.json");
}

TEST(OpenModelTest, ABrokenConfigSaysWhere) {
  const std::string folder = Folder([](json&) {});
  test::WriteText(folder + "/config.json", "{\n  \"model_type\": \"llama\",\n  oops");

  EXPECT_THROWS(OpenModel(folder), Code::kInvalidArgument, "config.json:3");
}

TEST(OpenModelTest, TruncatedWeightsAreRefused) {
  const std::string folder = Folder([](json&) {});
  const std::string path = folder + "/model.safetensors";
  for (const uintmax_t size :
       {uintmax_t{0}, uintmax_t{7}, uintmax_t{500}, std::filesystem::file_size(path) - 1}) {
    WriteHfModel(folder, test::HfConfig(TinyFileSpec()), TinyTensors(TinyFileSpec()));
    std::filesystem::resize_file(path, size);

    EXPECT_THROWS(OpenModel(folder), Code::kDataLoss, path);
  }
}

TEST(OpenModelTest, ATruncatedGgufFileIsRefused) {
  const std::string path = OpenPath("short.gguf");
  WriteGgufModel(path, TinyFileSpec(), TinyTensors(TinyFileSpec()));
  const uintmax_t whole = std::filesystem::file_size(path);
  EXPECT_EQ(OpenModel(path).spec, TinyFileSpec());
  for (const uintmax_t size : {whole - 1, whole / 2, uintmax_t{100}, uintmax_t{0}}) {
    std::filesystem::resize_file(path, size);

    EXPECT_THROWS(OpenModel(path), Code::kDataLoss, path);
  }
}

// A GGUF file with the keys of a tiny model and a table of tokens; `add` may add more.
std::string GgufFile(const std::string& architecture,
                     const std::function<void(GgufBuilder&)>& add) {
  GgufBuilder file;
  file.String("general.architecture", architecture)
      .Uint("llama.block_count", 4)
      .Uint("llama.context_length", 128)
      .Uint("llama.embedding_length", 32)
      .Uint("llama.feed_forward_length", 48)
      .Uint("llama.attention.head_count", 4)
      .Scalar("llama.attention.layer_norm_rms_epsilon", 6, 1e-5f);
  file.Tensor("token_embd.weight", {32, 272}, 0, Bytes(32 * 272 * 4));
  add(file);
  const std::string path = OpenPath("keys.gguf");
  io::WriteFileAtomically(path, file.Build());
  return path;
}

TEST(OpenModelTest, OptionalKeysOfAGgufFileHaveTheirDefaults) {
  const BaseModel model = OpenModel(GgufFile("llama", [](GgufBuilder&) {}));

  EXPECT_EQ(model.spec.kv_heads, 4);
  EXPECT_EQ(model.spec.head_dim, 8);
  EXPECT_EQ(model.spec.rope_theta, 10000);
  EXPECT_EQ(model.spec.vocab, 272);
  EXPECT_TRUE(model.spec.tied_embeddings);
}

TEST(OpenModelTest, AGgufFileOfAnotherArchitectureIsRefusedByName) {
  EXPECT_THROWS(OpenModel(GgufFile("qwen2", [](GgufBuilder&) {})), Code::kUnimplemented, "'qwen2'");
}

TEST(OpenModelTest, AGgufFileThatScalesItsRotaryEmbeddingIsRefused) {
  EXPECT_THROWS(
      OpenModel(GgufFile(
          "llama", [](GgufBuilder& file) { file.String("llama.rope.scaling.type", "yarn"); })),
      Code::kUnimplemented, "scales the rotary embedding");
  EXPECT_EQ(
      OpenModel(GgufFile("llama",
                         [](GgufBuilder& file) { file.String("llama.rope.scaling.type", "none"); }))
          .spec.num_blocks,
      4);
}

// Llama 3.1 scales by a tensor of factors and sets no key.
TEST(OpenModelTest, AGgufFileWithTensorsThatTheModelWouldNotUseIsRefusedByName) {
  for (const char* name : {"rope_freqs.weight", "blk.0.attn_q.bias", "blk.0.ffn_gate_inp.weight"}) {
    EXPECT_THROWS(
        OpenModel(
            GgufFile("llama", [name](GgufBuilder& file) { file.Tensor(name, {4}, 0, Bytes(16)); })),
        Code::kUnimplemented, name);
  }
}

TEST(OpenModelTest, AGgufFileThatLacksAKeyIsRefusedByName) {
  GgufBuilder file;
  file.String("general.architecture", "llama").Uint("llama.block_count", 4);
  const std::string path = OpenPath("lacking.gguf");
  io::WriteFileAtomically(path, file.Build());

  EXPECT_THROWS(OpenModel(path), Code::kNotFound, "llama.");
}

}  // namespace
}  // namespace amaq::models
