// Every set of the range coder's loops against the scalar one: blocks and symbols must be the same,
// byte for byte.

#include "quant/rans_kernels.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>

#include "core/rng.h"
#include "quant/kernels.h"
#include "tests/quant/samples.h"

namespace amaq::quant {
namespace {

constexpr size_t kNoLimit = size_t{1} << 30;
constexpr uint32_t kSizes[] = {1, 2, 3, 16, 256};  // of tables: one symbol, a few, all

// kFrequencyTotal over `size` symbols: even, or all but one symbol as rare as can be.
std::vector<uint16_t> Frequencies(uint32_t size, bool is_skewed, size_t likely) {
  std::vector<uint16_t> frequencies(size,
                                    static_cast<uint16_t>(is_skewed ? 1 : kFrequencyTotal / size));
  uint32_t sum = 0;
  for (const uint16_t frequency : frequencies) sum += frequency;
  frequencies[likely % size] =
      static_cast<uint16_t>(frequencies[likely % size] + kFrequencyTotal - sum);
  return frequencies;
}

// A matrix of symbols with a table drawn for every channel and a class for every row.
struct Block {
  Block(uint64_t seed, size_t rows, size_t channels) : Block(seed, rows, channels, 2) {}
  Block(uint64_t seed, size_t rows, size_t channels, uint32_t num_classes)
      : tables(MakeTables()), symbols(rows * channels) {
    Random random(seed);
    for (size_t c = 0; c < channels; ++c) {
      channel_tables.push_back(static_cast<uint16_t>(2 * random.Below(std::size(kSizes))));
    }
    for (size_t r = 0; num_classes > 1 && r < rows; ++r) {
      row_classes.push_back(static_cast<uint8_t>(random.Below(num_classes)));
    }
    for (size_t i = 0; i < symbols.size(); ++i) {
      const uint32_t size = kSizes[channel_tables[i % channels] / 2];
      // Now the likely one of a skewed table, now any.
      symbols[i] = static_cast<uint8_t>(random.Below(4) != 0 ? 5 % size : random.Below(size));
    }
  }
  static SymbolTables MakeTables() {
    std::vector<std::vector<uint16_t>> frequencies;
    for (const uint32_t size : kSizes) {
      for (const bool is_skewed : {false, true}) {
        frequencies.push_back(Frequencies(size, is_skewed, 5));
      }
    }
    return SymbolTables(frequencies);
  }
  SymbolContext context() const { return {tables, channel_tables, row_classes}; }

  SymbolTables tables;
  std::vector<uint8_t> symbols;
  std::vector<uint16_t> channel_tables;
  std::vector<uint8_t> row_classes;
};

TEST(RansKernelsTest, EverySetWritesTheSameBlockAndReadsItBack) {
  int cases = 0;
  for (const size_t channels : {1u, 31u, 32u, 33u, 64u, 95u, 576u, 1000u}) {
    for (const size_t rows : {0u, 1u, 2u, 7u, 40u}) {
      for (const uint32_t num_classes : {1u, 2u}) {
        const Block block(channels * 100 + rows, rows, channels, num_classes);
        const Bytes expected =
            *RansEncode(block.context(), block.symbols, kNoLimit, ScalarRansKernels());
        for (const KernelSet& set : AllKernelSets()) {
          const auto coded = RansEncode(block.context(), block.symbols, kNoLimit, *set.rans);
          ASSERT_TRUE(coded.has_value());
          ASSERT_EQ(*coded, expected) << set.name << ", " << rows << " x " << channels;
          std::vector<uint8_t> decoded(block.symbols.size());
          RansDecode(block.context(), *coded, decoded, *set.rans);
          ASSERT_EQ(decoded, block.symbols) << set.name << ", " << rows << " x " << channels;
          ++cases;
        }
      }
    }
  }
  EXPECT_EQ(cases, 80 * static_cast<int>(AllKernelSets().size()));
}

TEST(RansKernelsTest, EverySetGivesUpAtTheSameLimit) {
  const Block block(3, 20, 100);
  const Bytes whole = *RansEncode(block.context(), block.symbols, kNoLimit);
  for (const KernelSet& set : AllKernelSets()) {
    for (const size_t limit : {size_t{0}, kRansStateBytes - 1, kRansStateBytes, whole.size() / 2,
                               whole.size() - 1, whole.size() - 2}) {
      EXPECT_FALSE(RansEncode(block.context(), block.symbols, limit, *set.rans).has_value())
          << set.name << " at " << limit;
    }
    EXPECT_EQ(RansEncode(block.context(), block.symbols, whole.size(), *set.rans), whole)
        << set.name;
  }
}

TEST(RansKernelsTest, EverySetRefusesABlockThatIsTooShortOrTooLong) {
  const Block block(4, 20, 100);
  const Bytes whole = *RansEncode(block.context(), block.symbols, kNoLimit);
  std::vector<uint8_t> decoded(block.symbols.size());
  for (const KernelSet& set : AllKernelSets()) {
    for (size_t size = 0; size < whole.size(); ++size) {
      EXPECT_THROW(RansDecode(block.context(), ByteSpan(whole).first(size), decoded, *set.rans),
                   Error)
          << set.name << " at " << size;
    }
    Bytes longer = whole;
    longer.resize(whole.size() + 2);
    EXPECT_ERROR(RansDecode(block.context(), longer, decoded, *set.rans), Code::kDataLoss,
                 "does not end where it was begun");
  }
}

// A flipped bit of a state may make another block as good; that is for the frame's checksum.
TEST(RansKernelsTest, EverySetMakesTheSameOfADamagedBlock) {
  const Block block(6, 20, 100);
  const Bytes whole = *RansEncode(block.context(), block.symbols, kNoLimit);
  Random random(9);
  int refused = 0;
  for (int i = 0; i < 300; ++i) {
    Bytes damaged = whole;
    uint8_t& byte = damaged[random.Below(static_cast<uint32_t>(damaged.size()))];
    byte = static_cast<uint8_t>(byte ^ (1u << random.Below(8)));
    const auto decode = [&](const RansKernels& rans) -> std::optional<std::vector<uint8_t>> {
      std::vector<uint8_t> decoded(block.symbols.size());
      try {
        RansDecode(block.context(), damaged, decoded, rans);
      } catch (const Error&) {
        return std::nullopt;
      }
      return decoded;
    };
    const auto expected = decode(ScalarRansKernels());
    refused += expected ? 0 : 1;
    for (const KernelSet& set : AllKernelSets()) EXPECT_EQ(decode(*set.rans), expected) << set.name;
  }
  EXPECT_GT(refused, 100);
  EXPECT_LT(refused, 300);
}

// Quotients of every frequency at the ends of their ranges, where a rounding would show.
TEST(RansKernelsTest, EverySetDividesExactly) {
  for (uint32_t frequency = 1; frequency < kFrequencyTotal; ++frequency) {
    const std::vector<std::vector<uint16_t>> frequencies = {
        {static_cast<uint16_t>(frequency), static_cast<uint16_t>(kFrequencyTotal - frequency)}};
    const SymbolTables tables(frequencies);
    const std::vector<uint16_t> channel_tables(kRansLanes, 0);
    const std::vector<uint8_t> symbols(kRansLanes, 0);
    const uint64_t top = uint64_t{frequency} << 18;
    std::array<uint32_t, kRansLanes> start;
    Random random(frequency);
    for (size_t i = 0; i < kRansLanes; ++i) {
      const uint64_t multiple = (i < 8 ? (1u << 18) - i : 1 + random.Below(1u << 18)) * frequency;
      const uint64_t x = multiple - (i % 2) + (i % 3 == 0 ? frequency - 1 : 0);
      start[i] = static_cast<uint32_t>(std::clamp<uint64_t>(x, kRansLow, UINT32_MAX));
      if (i == 31) start[i] = static_cast<uint32_t>(std::max<uint64_t>(kRansLow, top - 1));
    }
    std::array<uint32_t, kRansLanes> expected = start;
    uint16_t expected_words[2 * kRansLanes] = {};
    const size_t count = ScalarRansKernels().encode({tables, channel_tables, {}}, symbols,
                                                    kRansLanes, expected.data(), expected_words);
    for (const KernelSet& set : AllKernelSets()) {
      std::array<uint32_t, kRansLanes> states = start;
      uint16_t words[2 * kRansLanes] = {};
      ASSERT_EQ(
          set.rans->encode({tables, channel_tables, {}}, symbols, kRansLanes, states.data(), words),
          count);
      ASSERT_EQ(states, expected) << set.name << " at frequency " << frequency;
      ASSERT_TRUE(std::equal(words, words + count, expected_words)) << set.name;
    }
  }
}

// That the comparison sees what a kernel does: one that is wrong in the last symbol, and one that
// loses a word.
TEST(RansKernelsTest, AWrongSetIsFound) {
  const RansKernels wrong{
      [](const SymbolContext& context, std::span<const uint8_t> symbols, size_t max_words,
         uint32_t* states, uint16_t* words) {
        const size_t used =
            AllKernelSets().back().rans->encode(context, symbols, max_words, states, words);
        return used - 1;
      },
      [](const SymbolContext& context, std::span<const uint16_t> words, uint32_t* states,
         std::span<uint8_t> symbols) {
        const size_t used = AllKernelSets().back().rans->decode(context, words, states, symbols);
        symbols.back() ^= 1;
        return used;
      }};
  const Block block(5, 7, 95);
  const Bytes expected = *RansEncode(block.context(), block.symbols, kNoLimit);
  std::vector<uint8_t> decoded(block.symbols.size());
  RansDecode(block.context(), expected, decoded, wrong);

  EXPECT_NE(RansEncode(block.context(), block.symbols, kNoLimit, wrong), expected);
  EXPECT_NE(decoded, block.symbols);
}

TEST(RansKernelsTest, EverySetThatCanGatherHasLoopsOfItsOwn) {
  for (const KernelSet& set : AllKernelSets()) {
    if (set.name != "avx2" && !set.name.starts_with("avx512")) {
      EXPECT_EQ(set.rans, &ScalarRansKernels()) << set.name;
      continue;
    }
    for (const KernelSet& other : AllKernelSets()) {
      if (&other == &set) continue;
      EXPECT_NE(set.rans->encode, other.rans->encode) << set.name;
      EXPECT_NE(set.rans->decode, other.rans->decode) << set.name;
    }
  }
}

}  // namespace
}  // namespace amaq::quant
