#include "lora/peft_adapter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <deque>
#include <limits>
#include <nlohmann/json.hpp>

#include "io/safetensors.h"
#include "tests/support/errors.h"
#include "tests/support/hostile_bytes.h"
#include "tests/support/tensor_matchers.h"

namespace amaq::lora {
namespace {

using nlohmann::json;
using test::BitEqual;
using ::testing::ElementsAre;

// Adapters of q_proj and v_proj of blocks [first, end), with a B that is not zero.
class Adapters {
 public:
  Adapters(int64_t first, int64_t end, uint64_t seed = 5) {
    LoraOptions options;
    options.r = 2;
    options.seed = seed;
    for (int64_t block = first; block < end; ++block) {
      for (const char* leaf : {"q_proj", "v_proj"}) {
        const std::string name = StrCat("model.layers.", block, ".self_attn.", leaf);
        owned_.push_back(FreshAdapter(name, 6, 4, options, at::kFloat, at::kCPU));
        owned_.back().b().copy_(owned_.back().a().narrow(1, 0, 4).t());
      }
    }
    for (LowRank& adapter : owned_) all_.push_back(&adapter);
  }
  const std::vector<LowRank*>& all() const { return all_; }
  LowRank& operator[](size_t i) { return owned_[i]; }

 private:
  std::deque<LowRank> owned_;
  std::vector<LowRank*> all_;
};

std::vector<std::string> NamesOf(const Bytes& safetensors) {
  std::vector<std::string> names;
  const auto file = io::SafetensorsFile::FromBytes(safetensors, "test");
  for (const io::TensorInfo& info : file->tensors()) names.push_back(info.name);
  return names;
}

// The tensors of an adapter file as they may be changed and written again.
std::map<std::string, std::pair<std::vector<int64_t>, std::vector<float>>> TensorsOf(
    const Bytes& safetensors) {
  std::map<std::string, std::pair<std::vector<int64_t>, std::vector<float>>> tensors;
  const auto file = io::SafetensorsFile::FromBytes(safetensors, "test");
  for (const io::TensorInfo& info : file->tensors()) {
    std::vector<float> values(info.num_elements);
    file->ReadF32(info.name, values);
    tensors[info.name] = {info.shape, values};
  }
  return tensors;
}

Bytes Written(
    const std::map<std::string, std::pair<std::vector<int64_t>, std::vector<float>>>& tensors) {
  std::vector<io::F32Tensor> views;
  for (const auto& [name, tensor] : tensors) views.push_back({name, tensor.first, tensor.second});
  return io::SerializeSafetensors(std::move(views), {{"format", "pt"}});
}

const char* const kSomeA = "base_model.model.model.layers.1.self_attn.v_proj.lora_A.weight";

TEST(PeftAdapterTest, TensorsHavePeftsNamesAndShapes) {
  const Bytes bytes = SerializeAdapter(Adapters(0, 1).all());
  const auto file = io::SafetensorsFile::FromBytes(bytes, "test");

  EXPECT_THAT(NamesOf(bytes),
              ElementsAre("base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight",
                          "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight",
                          "base_model.model.model.layers.0.self_attn.v_proj.lora_A.weight",
                          "base_model.model.model.layers.0.self_attn.v_proj.lora_B.weight"));
  EXPECT_THAT(file->tensors()[0].shape, ElementsAre(2, 6));
  EXPECT_THAT(file->tensors()[1].shape, ElementsAre(4, 2));
  EXPECT_EQ(file->tensors()[0].type, "F32");
}

TEST(PeftAdapterTest, WhatIsWrittenIsReadBackBitForBit) {
  Adapters one(0, 2, 5);
  Adapters other(0, 2, 6);
  ASSERT_FALSE(BitEqual(other[3].a(), one[3].a()));

  LoadAdapter(SerializeAdapter(one.all()), other.all(), "test");

  for (size_t i = 0; i < 4; ++i) {
    EXPECT_TRUE(BitEqual(other[i].a(), one[i].a()));
    EXPECT_TRUE(BitEqual(other[i].b(), one[i].b()));
  }
}

TEST(PeftAdapterTest, HalvesJoinToTheWholeAndSplitAgain) {
  const Bytes whole = SerializeAdapter(Adapters(0, 12).all());
  const Bytes client = SerializeAdapter(Adapters(0, 1).all());
  const Bytes server = SerializeAdapter(Adapters(1, 12).all());

  EXPECT_EQ(JoinAdapters(client, server), whole);
  const AdapterHalves halves = SplitAdapter(whole, 1, 12, "test");
  EXPECT_EQ(halves.client, client);
  EXPECT_EQ(halves.server, server);
}

TEST(PeftAdapterTest, ATensorInBothHalvesIsRefused) {
  const Bytes half = SerializeAdapter(Adapters(0, 2).all());

  EXPECT_THROWS(JoinAdapters(half, SerializeAdapter(Adapters(1, 3).all())), Code::kInvalidArgument,
                "model.layers.1.");
}

TEST(PeftAdapterTest, SplittingLosesNothingInSilence) {
  for (const char* name : {"base_model.model.model.layers.3.self_attn.q_proj.lora_A.weight",
                           "base_model.model.lm_head.lora_A.weight",
                           "base_model.model.model.layers.x.self_attn.q_proj.lora_A.weight",
                           "base_model.model.model.layers.-1.mlp.up_proj.lora_A.weight"}) {
    auto tensors = TensorsOf(SerializeAdapter(Adapters(0, 3).all()));
    tensors[name] = {{1, 1}, {0}};

    EXPECT_THROWS(SplitAdapter(Written(tensors), 1, 3, "some.file"), Code::kInvalidArgument,
                  StrCat("some.file holds tensor ", name));
  }
}

TEST(PeftAdapterTest, AMissingTensorIsNamed) {
  Adapters adapters(0, 2);
  auto tensors = TensorsOf(SerializeAdapter(adapters.all()));
  tensors.erase(kSomeA);

  EXPECT_THROWS(LoadAdapter(Written(tensors), adapters.all(), "some.file"), Code::kInvalidArgument,
                StrCat("some.file lacks tensor ", kSomeA));
}

TEST(PeftAdapterTest, AnUnexpectedTensorIsNamed) {
  Adapters adapters(0, 2);
  auto tensors = TensorsOf(SerializeAdapter(adapters.all()));
  tensors["base_model.model.model.layers.0.mlp.up_proj.lora_A.weight"] = {{1, 1}, {0}};

  EXPECT_THROWS(LoadAdapter(Written(tensors), adapters.all(), "some.file"), Code::kInvalidArgument,
                "model.layers.0.mlp.up_proj.lora_A.weight, which this run does not adapt");
}

TEST(PeftAdapterTest, ATensorOfAnotherShapeIsNamedWithBothShapesAndNothingIsChanged) {
  Adapters adapters(0, 2, 5);
  auto tensors = TensorsOf(SerializeAdapter(Adapters(0, 2, 6).all()));
  tensors[kSomeA].first = {3, 4};
  const Bytes before = SerializeAdapter(adapters.all());

  EXPECT_THROWS(LoadAdapter(Written(tensors), adapters.all(), "some.file"), Code::kInvalidArgument,
                StrCat("tensor ", kSomeA));
  EXPECT_THROWS(LoadAdapter(Written(tensors), adapters.all(), "some.file"), Code::kInvalidArgument,
                "[3, 4]");
  EXPECT_THROWS(LoadAdapter(Written(tensors), adapters.all(), "some.file"), Code::kInvalidArgument,
                "[2, 6]");
  EXPECT_EQ(SerializeAdapter(adapters.all()), before);
}

TEST(PeftAdapterTest, AValueThatIsNotFiniteIsRefused) {
  Adapters adapters(0, 2);
  for (const float value : {std::nanf(""), std::numeric_limits<float>::infinity()}) {
    auto tensors = TensorsOf(SerializeAdapter(adapters.all()));
    tensors[kSomeA].second[7] = value;

    EXPECT_THROWS(LoadAdapter(Written(tensors), adapters.all(), "f"), Code::kInvalidArgument,
                  StrCat("tensor ", kSomeA, " of f holds a value that is not finite"));
  }
}

TEST(PeftAdapterTest, HostileBytesAreRefusedOrLoaded) {
  Adapters adapters(0, 1);
  const Bytes valid = SerializeAdapter(adapters.all());
  const auto load = [&](ByteSpan bytes) { LoadAdapter(bytes, adapters.all(), "hostile"); };

  EXPECT_EQ(test::AcceptedTruncations(load, valid), 0u);
  EXPECT_GT(test::RefusedCorruptions(load, valid, 3, 300), 0u);
}

PeftConfig SomeConfig() {
  PeftConfig config;
  config.lora.r = 6;
  config.lora.alpha = 12.5;
  config.lora.dropout = 0.1;
  config.lora.use_rslora = true;
  config.lora.target_modules = {"q_proj", "v_proj"};
  config.base_model_name_or_path = "some/model";
  return config;
}

TEST(PeftAdapterTest, AConfigSaysWhatPeftReads) {
  const json config = json::parse(PeftConfigJson(SomeConfig()));

  EXPECT_EQ(config["peft_type"], "LORA");
  EXPECT_EQ(config["task_type"], "CAUSAL_LM");
  EXPECT_EQ(config["r"], 6);
  EXPECT_EQ(config["lora_alpha"], 12.5);
  EXPECT_EQ(config["lora_dropout"], 0.1);
  EXPECT_EQ(config["use_rslora"], true);
  EXPECT_EQ(config["target_modules"], (json{"q_proj", "v_proj"}));
  EXPECT_EQ(config["base_model_name_or_path"], "some/model");
  EXPECT_TRUE(config["layers_to_transform"].is_null());
}

TEST(PeftAdapterTest, AWholeAlphaIsWrittenAsAWholeNumber) {
  PeftConfig config = SomeConfig();
  config.lora.alpha = 16;

  EXPECT_TRUE(json::parse(PeftConfigJson(config))["lora_alpha"].is_number_integer());
}

TEST(PeftAdapterTest, AClientsHalfNamesItsLayers) {
  PeftConfig config = SomeConfig();
  config.layers_to_transform = {0, 1};
  const json written = json::parse(PeftConfigJson(config));

  EXPECT_EQ(written["layers_to_transform"], (json{0, 1}));
  EXPECT_EQ(written["layers_pattern"], "layers");
}

TEST(PeftAdapterTest, AConfigIsReadAsItWasWritten) {
  const PeftConfig parsed = ParsePeftConfig(PeftConfigJson(SomeConfig()), "test");

  EXPECT_EQ(parsed.lora.r, 6);
  EXPECT_EQ(parsed.lora.alpha, 12.5);
  EXPECT_TRUE(parsed.lora.use_rslora);
  EXPECT_THAT(parsed.lora.target_modules, ElementsAre("q_proj", "v_proj"));
}

TEST(PeftAdapterTest, AllLinearAndNamesInAnyOrderAreResolved) {
  json config = json::parse(PeftConfigJson(SomeConfig()));
  config["target_modules"] = "all-linear";
  EXPECT_EQ(ParsePeftConfig(config.dump(), "test").lora.target_modules.size(), 7u);
  config["target_modules"] = {"v_proj", "k_proj"};
  EXPECT_THAT(ParsePeftConfig(config.dump(), "test").lora.target_modules,
              ElementsAre("k_proj", "v_proj"));
}

void ExpectConfigRefused(const std::string& key, const json& value, Code code,
                         const std::string& text) {
  json config = json::parse(PeftConfigJson(SomeConfig()));
  config[key] = value;
  EXPECT_THROWS(ParsePeftConfig(config.dump(), "some.json"), code, text);
}

TEST(PeftAdapterTest, KeysThatChangeTheArithmeticAreRefusedByName) {
  ExpectConfigRefused("use_dora", true, Code::kUnimplemented, "some.json sets use_dora");
  ExpectConfigRefused("use_qalora", true, Code::kUnimplemented, "use_qalora");
  ExpectConfigRefused("lora_bias", true, Code::kUnimplemented, "lora_bias");
  ExpectConfigRefused("fan_in_fan_out", true, Code::kUnimplemented, "fan_in_fan_out");
  ExpectConfigRefused("bias", "all", Code::kUnimplemented, "bias");
  ExpectConfigRefused("modules_to_save", json{"lm_head"}, Code::kUnimplemented, "modules_to_save");
  ExpectConfigRefused("rank_pattern", json{{"q_proj", 4}}, Code::kUnimplemented, "rank_pattern");
  ExpectConfigRefused("alpha_pattern", json{{"q_proj", 4}}, Code::kUnimplemented, "alpha_pattern");
  ExpectConfigRefused("layer_replication", json{json{0, 1}}, Code::kUnimplemented,
                      "layer_replication");
}

TEST(PeftAdapterTest, StartValuesThatNeedAChangedBaseModelAreRefused) {
  for (const char* init : {"pissa", "pissa_niter_16", "olora", "loftq", "corda"}) {
    ExpectConfigRefused("init_lora_weights", init, Code::kUnimplemented, "init_lora_weights");
  }
  json config = json::parse(PeftConfigJson(SomeConfig()));
  config["init_lora_weights"] = "gaussian";
  EXPECT_EQ(ParsePeftConfig(config.dump(), "test").lora.r, 6);
}

TEST(PeftAdapterTest, ConfigsThatAreNoneAreRefused) {
  ExpectConfigRefused("peft_type", "IA3", Code::kInvalidArgument, "not the config of a LoRA");
  ExpectConfigRefused("r", "eight", Code::kInvalidArgument, "'r'");
  ExpectConfigRefused("r", 0, Code::kInvalidArgument, "r ");
  ExpectConfigRefused("r", 1e300, Code::kInvalidArgument, "r");
  ExpectConfigRefused("target_modules", json{"c_attn"}, Code::kInvalidArgument, "c_attn");
  ExpectConfigRefused("target_modules", json::array(), Code::kInvalidArgument, "target_modules");
  ExpectConfigRefused("target_modules", json{3}, Code::kInvalidArgument, "target_modules");
  EXPECT_THROWS(ParsePeftConfig("{", "some.json"), Code::kInvalidArgument, "some.json");
  EXPECT_THROWS(ParsePeftConfig("[]", "some.json"), Code::kInvalidArgument, "some.json");
}

}  // namespace
}  // namespace amaq::lora
