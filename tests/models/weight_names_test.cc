#include "models/weight_names.h"

#include <gtest/gtest.h>

#include "lora/init.h"
#include "tests/support/errors.h"

namespace amaq::models {
namespace {

TEST(WeightNamesTest, ModulesHaveTheirHuggingFaceNames) {
  EXPECT_EQ(ModuleName(0, "q_proj"), "model.layers.0.self_attn.q_proj");
  EXPECT_EQ(ModuleName(3, "o_proj"), "model.layers.3.self_attn.o_proj");
  EXPECT_EQ(ModuleName(12, "gate_proj"), "model.layers.12.mlp.gate_proj");
  EXPECT_EQ(ModuleName(1, kInputNorm), "model.layers.1.input_layernorm");
  EXPECT_EQ(ModuleName(1, kPostNorm), "model.layers.1.post_attention_layernorm");
}

TEST(WeightNamesTest, EveryLinearModuleHasAName) {
  for (const std::string& leaf : lora::LinearModules()) {
    EXPECT_TRUE(ModuleName(0, leaf).ends_with("." + leaf));
  }
}

TEST(WeightNamesTest, AModuleThatABlockLacksIsRefusedByName) {
  EXPECT_THROWS(ModuleName(0, "c_attn"), Code::kInvalidArgument, "'c_attn'");
  EXPECT_THROWS(ModuleName(0, ""), Code::kInvalidArgument, "''");
}

TEST(WeightNamesTest, TensorsHaveTheirGgufNames) {
  EXPECT_EQ(GgufTensorName("model.embed_tokens.weight"), "token_embd.weight");
  EXPECT_EQ(GgufTensorName("model.norm.weight"), "output_norm.weight");
  EXPECT_EQ(GgufTensorName("lm_head.weight"), "output.weight");
  EXPECT_EQ(GgufTensorName("model.layers.3.self_attn.q_proj.weight"), "blk.3.attn_q.weight");
  EXPECT_EQ(GgufTensorName("model.layers.3.self_attn.k_proj.weight"), "blk.3.attn_k.weight");
  EXPECT_EQ(GgufTensorName("model.layers.3.self_attn.v_proj.weight"), "blk.3.attn_v.weight");
  EXPECT_EQ(GgufTensorName("model.layers.3.self_attn.o_proj.weight"), "blk.3.attn_output.weight");
  EXPECT_EQ(GgufTensorName("model.layers.17.mlp.gate_proj.weight"), "blk.17.ffn_gate.weight");
  EXPECT_EQ(GgufTensorName("model.layers.17.mlp.up_proj.weight"), "blk.17.ffn_up.weight");
  EXPECT_EQ(GgufTensorName("model.layers.17.mlp.down_proj.weight"), "blk.17.ffn_down.weight");
  EXPECT_EQ(GgufTensorName("model.layers.0.input_layernorm.weight"), "blk.0.attn_norm.weight");
  EXPECT_EQ(GgufTensorName("model.layers.0.post_attention_layernorm.weight"),
            "blk.0.ffn_norm.weight");
}

TEST(WeightNamesTest, NamesOutsideTheTablesAreRefused) {
  for (const char* name :
       {"", "model.layers.", "model.layers.3", "model.layers.3.q_proj.weight",
        "model.layers.3.mlp.q_proj.weight", "model.layers.3.self_attn.q_proj.bias",
        "model.layers.3.self_attn.q_proj.weight.x", "transformer.h.0.ln_1.weight"}) {
    EXPECT_THROWS(GgufTensorName(name), Code::kInvalidArgument, "is not a tensor of a Llama model");
  }
}

TEST(WeightNamesTest, GgufTensorsOutsideTheTablesAreKnownAsSuch) {
  for (const char* name :
       {"token_embd.weight", "output_norm.weight", "output.weight", "blk.0.attn_q.weight",
        "blk.12.ffn_down.weight", "blk.3.attn_norm.weight"}) {
    EXPECT_TRUE(IsGgufTensorName(name)) << name;
  }
  for (const char* name :
       {"", "blk.", "blk..attn_q.weight", "blk.0.attn_q.bias", "blk.0.attn_q",
        "blk.x.attn_q.weight", "rope_freqs.weight", "blk.0.ffn_gate_exps.weight"}) {
    EXPECT_FALSE(IsGgufTensorName(name)) << name;
  }
}

}  // namespace
}  // namespace amaq::models
