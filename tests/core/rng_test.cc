#include "core/rng.h"

#include <gtest/gtest.h>

#include <set>

namespace amaq {
namespace {

using Words = std::array<uint32_t, 4>;

// The vectors that Random123 publishes for philox4x32 with 10 rounds (its file kat_vectors).
TEST(RngTest, PhiloxMatchesThePublishedVectors) {
  EXPECT_EQ(Philox4x32(0, {0, 0, 0, 0}), (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(Philox4x32(~uint64_t{0}, {~0u, ~0u, ~0u, ~0u}),
            (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(Philox4x32(0x299f31d0a4093822u, {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}),
            (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(RngTest, WordIsTheFirstOfItsCounter) {
  const uint64_t key = 0x0123456789abcdefu;
  EXPECT_EQ(PhiloxWord(key, 5), Philox4x32(key, {5, 0, 0, 0})[0]);
  EXPECT_EQ(PhiloxWord(key, 0x700000005u), Philox4x32(key, {5, 7, 0, 0})[0]);
}

TEST(RngTest, UniformFloatStaysBelowOne) {
  EXPECT_EQ(UniformFloat(0), 0.0f);
  EXPECT_EQ(UniformFloat(0xff), 0.0f);  // the low byte has no part in it
  EXPECT_EQ(UniformFloat(0x80000000u), 0.5f);
  EXPECT_EQ(UniformFloat(~0u), 1.0f - 0x1p-24f);
}

TEST(RngTest, MeanOfUniformFloatsIsOneHalf) {
  constexpr int kDraws = 20000;
  double sum = 0;
  for (uint64_t i = 0; i < kDraws; ++i) sum += static_cast<double>(UniformFloat(PhiloxWord(7, i)));
  // Standard error of the mean: sqrt(1/12) / sqrt(20000) = 0.0020; five of them.
  EXPECT_NEAR(sum / kDraws, 0.5, 0.0102);
}

// Computed with Python's xxhash 4.1.0: xxh3_64 of struct.pack("<QIIQI", 42, 10, 1, 7, 3), of
// "<QQ" (42, 31) + name, and of that + "<QI" (7, 3).
TEST(RngTest, KeysAreDigestsOfTheirPartsInLittleEndian) {
  const std::string_view name = "model.layers.0.self_attn.q_proj";
  EXPECT_EQ(StochasticRoundingKey(42, 10, 1, 7, 3), 0x8d2ee5a0d0bcbddau);
  EXPECT_EQ(NamedKey(42, name), 0xea02f84167955198u);
  EXPECT_EQ(DropoutKey(42, name, 7, 3), 0xe56dbdf8b31814a4u);
}

TEST(RngTest, EveryPartOfAKeyMatters) {
  const std::set<uint64_t> keys = {StochasticRoundingKey(1, 2, 0, 4, 5),
                                   StochasticRoundingKey(9, 2, 0, 4, 5),
                                   StochasticRoundingKey(1, 9, 0, 4, 5),
                                   StochasticRoundingKey(1, 2, 1, 4, 5),
                                   StochasticRoundingKey(1, 2, 0, 9, 5),
                                   StochasticRoundingKey(1, 2, 0, 4, 9),
                                   NamedKey(1, "a"),
                                   NamedKey(2, "a"),
                                   NamedKey(1, "b"),
                                   DropoutKey(1, "a", 0, 0),
                                   DropoutKey(1, "a", 1, 0),
                                   DropoutKey(1, "a", 0, 1)};
  EXPECT_EQ(keys.size(), 12u);
}

}  // namespace
}  // namespace amaq
