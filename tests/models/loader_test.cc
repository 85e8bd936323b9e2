#include "models/loader.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <set>

#include "lora/peft_adapter.h"
#include "models/weight_names.h"
#include "tensor/bridge.h"
#include "tests/support/errors.h"
#include "tests/support/tensor_matchers.h"
#include "tests/support/tiny_hf_model.h"

namespace amaq::models {
namespace {

using test::BitEqual;
using test::StoredTensors;
using test::TinyFileSpec;
using test::TinyTensors;

std::string TempPath(const std::string& name) {
  return StrCat(::testing::TempDir(), "amaq-loader-", getpid(), "-", name);
}

BaseModel HfModel(const ModelSpec& spec, const StoredTensors& tensors) {
  const std::string folder = TempPath("hf");
  test::WriteHfModel(folder, test::HfConfig(spec), tensors);
  return OpenModel(folder);
}

BaseModel GgufModel(const ModelSpec& spec, const StoredTensors& tensors) {
  const std::string path = TempPath("model.gguf");
  test::WriteGgufModel(path, spec, tensors);
  return OpenModel(path);
}

ModelSpec UntiedSpec() {
  ModelSpec spec = TinyFileSpec();
  spec.tied_embeddings = false;
  return spec;
}

StageOptions SomeOptions() {
  StageOptions options;
  options.lora.r = 3;
  options.lora.target_modules = {"q_proj", "v_proj"};
  options.lora.seed = 11;
  return options;
}

// Logits of every row of a whole model.
at::Tensor Logits(const Stage& stage) {
  const std::vector<int32_t> tokens = {5, 70, 3, 200, 9, 70, 1};
  const BatchContext context =
      MakeBatchContext(stage.spec(), {0, 4, 7}, {}, stage.scalar_type(), stage.device());
  const at::Tensor hidden =
      stage.Forward(stage.Embed(tensor::FromInts(tokens, stage.device())), context, nullptr);
  return HeadLogits(hidden, stage.head(), std::vector<uint32_t>{0, 1, 2, 3, 4, 5, 6});
}

at::Tensor TensorOf(const StoredTensors& tensors, const std::string& name) {
  const test::StoredTensor& stored = tensors.at(name);
  at::Tensor out = at::empty(stored.shape, at::kFloat);
  std::copy(stored.values.begin(), stored.values.end(), tensor::Floats(out).begin());
  return out;
}

// The stage put together by hand, adapters left out (their B is zero).
Stage WholeByHand(const ModelSpec& spec, const StoredTensors& tensors) {
  const auto get = [&](const std::string& name) { return TensorOf(tensors, name + ".weight"); };
  StageWeights weights;
  weights.embedding = get("model.embed_tokens");
  for (int64_t i = 0; i < spec.num_blocks; ++i) {
    const std::string prefix = StrCat("model.layers.", i, ".");
    const std::string attention = prefix + "self_attn.";
    const std::string mlp = prefix + "mlp.";
    BlockWeights block;
    block.input_norm = get(prefix + "input_layernorm");
    block.qkv = at::cat(
        {get(attention + "q_proj"), get(attention + "k_proj"), get(attention + "v_proj")}, 0);
    block.attention_out = get(attention + "o_proj");
    block.post_norm = get(prefix + "post_attention_layernorm");
    block.gate_up = at::cat({get(mlp + "gate_proj"), get(mlp + "up_proj")}, 0);
    block.down = get(mlp + "down_proj");
    weights.blocks.emplace_back(spec, std::move(block), BlockAdapters{});
  }
  weights.head =
      HeadWeights{get("model.norm"), get(spec.tied_embeddings ? "model.embed_tokens" : "lm_head"),
                  spec.norm_eps};
  return Stage(spec, WholeRange(spec), std::move(weights), MemoryPolicy::kFast);
}

void ExpectLoadsAsStored(const ModelSpec& spec) {
  const StoredTensors tensors = TinyTensors(spec);
  const BaseModel model = HfModel(spec, tensors);

  const auto stage = LoadStage(model, WholeRange(spec), SomeOptions());

  EXPECT_EQ(model.spec, spec);
  EXPECT_TRUE(BitEqual(Logits(*stage), Logits(WholeByHand(spec, tensors))));
}

TEST(LoaderTest, AHuggingFaceModelIsLoadedAsStoredWithItsHeadTied) {
  ExpectLoadsAsStored(TinyFileSpec());
}

TEST(LoaderTest, AHuggingFaceModelIsLoadedAsStoredWithAHeadOfItsOwn) {
  ExpectLoadsAsStored(UntiedSpec());
}

void ExpectFormatsAgree(const ModelSpec& spec) {
  const StoredTensors tensors = TinyTensors(spec);
  const BaseModel hf = HfModel(spec, tensors);
  const BaseModel gguf = GgufModel(spec, tensors);

  EXPECT_EQ(gguf.spec, hf.spec);
  EXPECT_EQ(CanonicalText(gguf.spec), CanonicalText(hf.spec));
  EXPECT_TRUE(BitEqual(Logits(*LoadStage(gguf, WholeRange(spec), SomeOptions())),
                       Logits(*LoadStage(hf, WholeRange(spec), SomeOptions()))));
}

TEST(LoaderTest, AGgufFileOfTheSameWeightsIsTheSameModel) { ExpectFormatsAgree(TinyFileSpec()); }

TEST(LoaderTest, AGgufFileWithAHeadOfItsOwnIsTheSameModel) {
  ModelSpec spec = UntiedSpec();
  spec.norm_eps = 1e-6;  // no fp32 number, as 1e-5 is none
  spec.rope_theta = 500000;
  ExpectFormatsAgree(spec);
}

// Negative control of the two above: rows in the order of the file are another model.
TEST(LoaderTest, WithoutUndoingTheRowOrderOfQAndKTheModelWouldBeAnother) {
  const ModelSpec spec = TinyFileSpec();
  const StoredTensors tensors = TinyTensors(spec);
  BaseModel gguf = GgufModel(spec, tensors);
  StoredTensors as_stored = tensors;
  for (auto& [name, tensor] : as_stored) {
    gguf.tensors->ReadF32(GgufTensorName(name), tensor.values);
  }

  EXPECT_FALSE(BitEqual(Logits(WholeByHand(spec, as_stored)), Logits(WholeByHand(spec, tensors))));
}

TEST(LoaderTest, AMissingTensorIsNamed) {
  for (const char* name : {"model.layers.1.self_attn.k_proj.weight", "model.norm.weight",
                           "model.embed_tokens.weight", "model.layers.0.input_layernorm.weight"}) {
    StoredTensors tensors = TinyTensors(TinyFileSpec());
    tensors.erase(name);
    const BaseModel model = HfModel(TinyFileSpec(), tensors);

    EXPECT_THROWS(LoadStage(model, WholeRange(model.spec), SomeOptions()), Code::kInvalidArgument,
                  StrCat("tensor ", name, " is missing from ", model.path));
  }
}

TEST(LoaderTest, ATensorOfAnotherShapeIsNamedWithBothShapes) {
  StoredTensors tensors = TinyTensors(TinyFileSpec());
  test::StoredTensor& wrong = tensors.at("model.layers.2.mlp.up_proj.weight");
  wrong = {{32, 48}, wrong.values};
  const BaseModel model = HfModel(TinyFileSpec(), tensors);

  EXPECT_THROWS(LoadStage(model, WholeRange(model.spec), SomeOptions()), Code::kInvalidArgument,
                "model.layers.2.mlp.up_proj.weight");
  EXPECT_THROWS(LoadStage(model, WholeRange(model.spec), SomeOptions()), Code::kInvalidArgument,
                "has shape [32, 48], the model's config wants [48, 32]");
}

TEST(LoaderTest, AConfigOfAnotherSizeThanItsTensorsIsRefused) {
  ModelSpec larger = TinyFileSpec();
  larger.hidden = 64;
  larger.head_dim = 16;
  const BaseModel model = HfModel(larger, TinyTensors(TinyFileSpec()));

  EXPECT_THROWS(LoadStage(model, WholeRange(larger), SomeOptions()), Code::kInvalidArgument,
                "has shape [272, 32], the model's config wants [272, 64]");
}

// Notes which tensors are read.
class CountingSource final : public io::TensorSource {
 public:
  explicit CountingSource(std::unique_ptr<io::TensorSource> source)
      : TensorSource(source->path()), source_(std::move(source)) {
    SetTensors(source_->tensors());
  }
  void DropPages() const override { source_->DropPages(); }

  mutable std::multiset<std::string> read;

 protected:
  ByteSpan BytesOf(const io::TensorInfo& info) const override {
    read.insert(info.name);
    return source_->StoredBytes(info.name);
  }

 private:
  const std::unique_ptr<io::TensorSource> source_;
};

// Loads a stage and returns what was read.
std::multiset<std::string> NamesRead(const ModelSpec& spec, const StageRange& range) {
  BaseModel model = HfModel(spec, TinyTensors(spec));
  auto counting = std::make_unique<CountingSource>(std::move(model.tensors));
  const CountingSource& source = *counting;
  model.tensors = std::move(counting);
  LoadStage(model, range, SomeOptions());
  uint64_t elements = 0;
  for (const std::string& name : source.read) elements += source.Get(name).num_elements;
  EXPECT_EQ(elements * 4, StageBytes(spec, range, DType::kF32));
  EXPECT_EQ(elements * 2, StageBytes(spec, range, DType::kBF16));
  return source.read;
}

TEST(LoaderTest, EachPartyReadsItsOwnTensorsOnlyAndOnce) {
  const ModelSpec spec = UntiedSpec();
  const std::multiset<std::string> client = NamesRead(spec, ClientRange(spec, 1));
  const std::multiset<std::string> server = NamesRead(spec, ServerRange(spec, 1));

  std::multiset<std::string> all;
  for (const auto& [name, tensor] : TinyTensors(spec)) all.insert(name);
  std::multiset<std::string> both = client;
  both.insert(server.begin(), server.end());
  EXPECT_EQ(both, all);
  EXPECT_EQ(client.count("model.embed_tokens.weight"), 1u);
  EXPECT_EQ(client.count("model.layers.1.input_layernorm.weight"), 0u);
  EXPECT_EQ(server.count("lm_head.weight"), 1u);
}

TEST(LoaderTest, ATiedHeadIsReadByBothPartiesAndOnceByAWholeModel) {
  const ModelSpec spec = TinyFileSpec();

  EXPECT_EQ(NamesRead(spec, ClientRange(spec, 3)).count("model.embed_tokens.weight"), 1u);
  EXPECT_EQ(NamesRead(spec, ServerRange(spec, 3)).count("model.embed_tokens.weight"), 1u);
  EXPECT_EQ(NamesRead(spec, WholeRange(spec)).count("model.embed_tokens.weight"), 1u);
}

TEST(LoaderTest, TheComputeTypeIsThatOfTheWeightsWhileAdaptersStayInFp32) {
  const ModelSpec spec = TinyFileSpec();
  const BaseModel model = HfModel(spec, TinyTensors(spec));
  StageOptions options = SomeOptions();
  options.compute_dtype = DType::kBF16;

  const auto stage = LoadStage(model, WholeRange(spec), options);

  EXPECT_EQ(stage->scalar_type(), at::kBFloat16);
  EXPECT_EQ(stage->head().output.scalar_type(), at::kBFloat16);
  EXPECT_EQ(stage->adapters().front()->a().scalar_type(), at::kFloat);
}

TEST(LoaderTest, AdaptersDependOnTheirNamesAndNotOnTheCut) {
  const ModelSpec spec = TinyFileSpec();
  const BaseModel model = HfModel(spec, TinyTensors(spec));
  const auto whole = LoadStage(model, WholeRange(spec), SomeOptions());
  const auto client = LoadStage(model, ClientRange(spec, 1), SomeOptions());
  const auto server = LoadStage(model, ServerRange(spec, 1), SomeOptions());

  EXPECT_EQ(whole->adapters().size(), 8u);
  EXPECT_EQ(lora::JoinAdapters(lora::SerializeAdapter(client->adapters()),
                               lora::SerializeAdapter(server->adapters())),
            lora::SerializeAdapter(whole->adapters()));
}

TEST(LoaderTest, AFingerprintKnowsShapeTypeAndTheBytesAtTheCut) {
  const ModelSpec spec = TinyFileSpec();
  const StoredTensors tensors = TinyTensors(spec);
  const Fingerprint one = FingerprintOf(HfModel(spec, tensors), 2);
  StoredTensors other = tensors;
  other.at("model.layers.2.self_attn.v_proj.weight").values[5] += 1;
  const Fingerprint changed_at_cut = FingerprintOf(HfModel(spec, other), 2);
  const Fingerprint far_from_cut = FingerprintOf(HfModel(spec, other), 1);
  const Fingerprint gguf = FingerprintOf(GgufModel(spec, tensors), 2);

  EXPECT_EQ(FingerprintOf(HfModel(spec, tensors), 2).boundary, one.boundary);
  EXPECT_EQ(changed_at_cut.tensor_index, one.tensor_index);
  EXPECT_NE(changed_at_cut.boundary, one.boundary);
  EXPECT_EQ(far_from_cut.boundary, FingerprintOf(HfModel(spec, tensors), 1).boundary);
  EXPECT_NE(gguf.tensor_index, one.tensor_index);
  EXPECT_EQ(gguf.config, one.config);
}

TEST(LoaderTest, AFingerprintOfAModelThatLacksATensorNamesIt) {
  StoredTensors tensors = TinyTensors(TinyFileSpec());
  tensors.erase("model.layers.1.mlp.down_proj.weight");
  const BaseModel model = HfModel(TinyFileSpec(), tensors);

  EXPECT_THROWS(FingerprintOf(model, 2), Code::kNotFound, "model.layers.1.mlp.down_proj.weight");
}

}  // namespace
}  // namespace amaq::models
