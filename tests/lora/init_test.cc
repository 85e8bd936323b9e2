#include "lora/init.h"

#include <gmock/gmock.h>

#include <cmath>

#include "core/error.h"
#include "tests/support/tensor_matchers.h"

namespace amaq::lora {
namespace {

using test::BitEqual;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

std::string RefusalOf(const std::vector<std::string>& names) {
  try {
    ResolveTargets(names);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::kInvalidArgument);
    return error.message();
  }
  return "accepted";
}

LoraOptions Options() {
  LoraOptions options;
  options.r = 4;
  options.alpha = 6;
  options.seed = 42;
  return options;
}

LowRank Fresh(const std::string& name, const LoraOptions& options) {
  return FreshAdapter(name, 100, 7, options, at::kFloat, at::kCPU);
}

TEST(ResolveTargetsTest, SortsNamesAndDropsDoubles) {
  EXPECT_THAT(ResolveTargets({"v_proj", "q_proj", "v_proj"}), ElementsAre("q_proj", "v_proj"));
}

TEST(ResolveTargetsTest, AllLinearNamesTheSevenModulesEvenBesideOneOfThem) {
  EXPECT_THAT(
      ResolveTargets({"all-linear", "q_proj"}),
      ElementsAre("down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"));
}

TEST(ResolveTargetsTest, RefusesAnUnknownModuleNamingItAndTheKnownOnes) {
  const std::string message = RefusalOf({"q_proj", "c_attn"});

  EXPECT_THAT(message, HasSubstr("'c_attn'"));
  for (const std::string& known : LinearModules()) EXPECT_THAT(message, HasSubstr(known));
}

TEST(ResolveTargetsTest, RefusesAnEmptyListAndTheEmptyName) {
  EXPECT_THAT(RefusalOf({}), HasSubstr("names no module"));
  EXPECT_THAT(RefusalOf({""}), HasSubstr("''"));
}

TEST(LoraScaleTest, IsAlphaOverRankOrOverItsRootWithRslora) {
  LoraOptions options = Options();
  EXPECT_EQ(options.Scale(), 1.5);

  options.use_rslora = true;

  EXPECT_EQ(options.Scale(), 3.0);
}

TEST(FreshAdapterTest, HasPeftsShapesAndScaleAndAZeroB) {
  const LowRank adapter = Fresh("model.layers.3.mlp.up_proj", Options());

  EXPECT_EQ(adapter.name(), "model.layers.3.mlp.up_proj");
  EXPECT_EQ(adapter.a().sizes(), (std::vector<int64_t>{4, 100}));
  EXPECT_EQ(adapter.b().sizes(), (std::vector<int64_t>{7, 4}));
  EXPECT_EQ(adapter.scale(), 1.5);
  EXPECT_EQ(adapter.b().abs().max().item<float>(), 0);
  EXPECT_EQ(adapter.grad_a().abs().max().item<float>(), 0);
}

TEST(FreshAdapterTest, FillsAUniformlyUpToOneOverTheRootOfItsInputs) {
  LoraOptions options = Options();
  options.r = 64;
  const double bound = 0.1;  // 1 / sqrt(100)

  const LowRank adapter = Fresh("m", options);

  EXPECT_LE(adapter.a().abs().max().item<double>(), bound);
  EXPECT_GT(adapter.a().abs().max().item<double>(), 0.999 * bound);
  // Variance b^2 / 3 of 6,400 values: four standard errors, each sqrt(4 / 45 / 6400) b^2.
  EXPECT_NEAR(adapter.a().to(at::kDouble).square().mean().item<double>(), bound * bound / 3,
              4 * std::sqrt(4.0 / 45 / 6400) * bound * bound);
}

TEST(FreshAdapterTest, DependsOnSeedAndNameAndOnNothingThatWasMadeBefore) {
  const LowRank first = Fresh("model.layers.3.self_attn.q_proj", Options());
  const LowRank other_name = Fresh("model.layers.4.self_attn.q_proj", Options());
  LoraOptions other_options = Options();
  other_options.seed = 43;
  const LowRank other_seed = Fresh("model.layers.3.self_attn.q_proj", other_options);
  const LowRank again = Fresh("model.layers.3.self_attn.q_proj", Options());

  EXPECT_TRUE(BitEqual(again.a(), first.a()));
  EXPECT_FALSE(BitEqual(other_name.a(), first.a()));
  EXPECT_FALSE(BitEqual(other_seed.a(), first.a()));
}

TEST(FreshAdapterTest, HoldsTheSameValuesInBothTypes) {
  const LowRank narrow = Fresh("m", Options());
  const LowRank wide = FreshAdapter("m", 100, 7, Options(), at::kDouble, at::kCPU);

  EXPECT_EQ(wide.b().scalar_type(), at::kDouble);
  EXPECT_TRUE(BitEqual(wide.a(), narrow.a().to(at::kDouble)));
}

TEST(LinearModulesTest, AreTheSevenOfALlamaBlock) { EXPECT_THAT(LinearModules(), SizeIs(7)); }

}  // namespace
}  // namespace amaq::lora
