#include "models/model_spec.h"

#include <gmock/gmock.h>

#include <functional>

#include "core/error.h"
#include "tests/support/tiny_model.h"

namespace amaq::models {
namespace {

using ::testing::HasSubstr;

std::string SpecRefusal(const std::function<void(ModelSpec*)>& change) {
  ModelSpec spec = test::TinySpec();
  change(&spec);
  try {
    Validate(spec);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::kInvalidArgument);
    return error.message();
  }
  return "accepted";
}

TEST(ModelSpecTest, AcceptsTheTinyModel) {
  EXPECT_EQ(SpecRefusal([](ModelSpec*) {}), "accepted");
}

TEST(ModelSpecTest, RefusesASizeOfZeroOrBeyondTheLimitByName) {
  EXPECT_THAT(SpecRefusal([](ModelSpec* s) { s->hidden = 0; }), HasSubstr("hidden size"));
  EXPECT_THAT(SpecRefusal([](ModelSpec* s) { s->num_blocks = -1; }), HasSubstr("blocks"));
  EXPECT_THAT(SpecRefusal([](ModelSpec* s) { s->vocab = (1 << 24) + 1; }), HasSubstr("16777217"));
  EXPECT_THAT(SpecRefusal([](ModelSpec* s) { s->kv_heads = 0; }), HasSubstr("KV heads"));
}

TEST(ModelSpecTest, RefusesHeadsThatTheKvHeadsDoNotDivide) {
  const std::string message = SpecRefusal([](ModelSpec* s) { s->kv_heads = 3; });

  EXPECT_THAT(message, HasSubstr("4 heads"));
  EXPECT_THAT(message, HasSubstr("3 KV heads"));
}

TEST(ModelSpecTest, RefusesAnOddHeadSize) {
  EXPECT_THAT(SpecRefusal([](ModelSpec* s) { s->head_dim = 7; }), HasSubstr("even"));
}

TEST(ModelSpecTest, TheCanonicalTextTellsApartWhatChangesTheComputation) {
  const std::string text = CanonicalText(test::TinySpec());
  const auto changed = [&](const std::function<void(ModelSpec*)>& change) {
    ModelSpec spec = test::TinySpec();
    change(&spec);
    return CanonicalText(spec) != text;
  };

  EXPECT_THAT(text, HasSubstr("llama blocks=4 hidden=13 ffn=11 heads=4 kv_heads=2 head_dim=6"));
  EXPECT_TRUE(changed([](ModelSpec* s) { s->num_blocks = 5; }));
  EXPECT_TRUE(changed([](ModelSpec* s) { s->vocab = 30; }));
  EXPECT_TRUE(changed([](ModelSpec* s) { s->tied_embeddings = false; }));
  EXPECT_TRUE(changed([](ModelSpec* s) { s->norm_eps = 1e-6; }));
  EXPECT_TRUE(changed([](ModelSpec* s) { s->rope_theta = 10000.001; }));
}

}  // namespace
}  // namespace amaq::models
