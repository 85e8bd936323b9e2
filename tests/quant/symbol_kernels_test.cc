// Every set of the loops between codes and symbols against the scalar one, byte for byte.

#include "quant/symbol_kernels.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "quant/codec.h"
#include "quant/octet.h"
#include "tests/quant/samples.h"

namespace amaq::quant {
namespace {

constexpr uint8_t kUnused = 0xa5;

struct Case {
  Case(uint64_t seed, size_t rows_in, size_t channels_in, uint32_t width, bool has_zeros)
      : rows(rows_in), widths(channels_in), symbols(rows_in * channels_in) {
    Random random(seed);
    for (uint8_t& entry : widths) {
      entry = static_cast<uint8_t>(width == 9 ? random.Below(9) : width);
    }
    for (const uint8_t entry : widths) {
      if (has_zeros) zero_codes.push_back(static_cast<uint8_t>(random.Below(1u << entry)));
    }
    for (size_t i = 0; i < symbols.size(); ++i) {
      symbols[i] = static_cast<uint8_t>(random.Below(1u << widths[i % channels_in]));
    }
  }

  size_t rows;
  std::vector<uint8_t> widths, zero_codes, symbols;
};

TEST(SymbolKernelsTest, EverySetPacksTheSameBytesAndUnpacksThemAgain) {
  int cases = 0;
  for (const size_t channels : {1u, 7u, 8u, 9u, 15u, 16u, 17u, 31u, 32u, 33u, 100u, 576u}) {
    for (const size_t rows : {0u, 1u, 7u, 8u, 9u, 31u}) {
      for (uint32_t width = 0; width <= 9; ++width) {
        const Case input(channels * 1000 + rows * 10 + width, rows, channels, width,
                         width % 2 == 0);
        const SymbolChannels tables(input.widths, input.zero_codes);
        const ChannelSlice all = {0, channels};
        Bytes expected(CodesBytes(rows, input.widths), kUnused);
        ScalarSymbolKernels().pack(input.symbols.data(), tables, all, rows, expected);
        for (const KernelSet& set : AllKernelSets()) {
          for (const size_t misaligned : {0u, 1u, 3u}) {
            Bytes codes(misaligned + expected.size(), kUnused);
            std::vector<uint8_t> from(misaligned + input.symbols.size());
            std::ranges::copy(input.symbols,
                              from.begin() + static_cast<std::ptrdiff_t>(misaligned));
            set.symbols->pack(from.data() + misaligned, tables, all, rows,
                              std::span(codes).subspan(misaligned));
            ASSERT_TRUE(std::equal(expected.begin(), expected.end(),
                                   codes.begin() + static_cast<std::ptrdiff_t>(misaligned)))
                << set.name << ", " << rows << " x " << channels << " of width " << width;

            std::vector<uint8_t> back(misaligned + input.symbols.size() + 1, kUnused);
            set.symbols->unpack(ByteSpan(codes).subspan(misaligned), tables, all, rows,
                                back.data() + misaligned);
            ASSERT_TRUE(std::equal(input.symbols.begin(), input.symbols.end(),
                                   back.begin() + static_cast<std::ptrdiff_t>(misaligned)))
                << set.name << ", " << rows << " x " << channels << " of width " << width;
            ASSERT_EQ(back.back(), kUnused);
            ++cases;
          }
        }
      }
    }
  }
  RecordProperty("cases", cases);
  std::printf("%d cases, sets:", cases);
  for (const KernelSet& set : AllKernelSets()) {
    std::printf(" %.*s", static_cast<int>(set.name.size()), set.name.data());
  }
  std::printf("\n");
}

TEST(SymbolKernelsTest, ASliceLeavesItsNeighboursAlone) {
  const Case input(5, 19, 100, 9, true);
  const SymbolChannels tables(input.widths, input.zero_codes);
  Bytes whole(CodesBytes(input.rows, input.widths));
  ScalarSymbolKernels().pack(input.symbols.data(), tables, {0, 100}, input.rows, whole);
  for (const KernelSet& set : AllKernelSets()) {
    Bytes codes(whole.size(), kUnused);
    std::vector<uint8_t> back(input.symbols.size(), kUnused);
    // From the last to the first: what one writes too much, the next ones would not repair.
    for (const ChannelSlice slice : {ChannelSlice{61, 100}, {20, 61}, {0, 20}}) {
      set.symbols->pack(input.symbols.data(), tables, slice, input.rows, codes);
      set.symbols->unpack(whole, tables, slice, input.rows, back.data());
    }
    EXPECT_EQ(codes, whole) << set.name;
    EXPECT_EQ(back, input.symbols) << set.name;
  }
}

TEST(SymbolKernelsTest, AChangedSymbolChangesTheBytes) {  // negative control
  Case input(6, 16, 40, 3, false);
  const SymbolChannels tables(input.widths, {});
  for (const KernelSet& set : AllKernelSets()) {
    Bytes before(CodesBytes(input.rows, input.widths));
    Bytes after = before;
    set.symbols->pack(input.symbols.data(), tables, {0, 40}, input.rows, before);
    input.symbols[333] ^= 1;
    set.symbols->pack(input.symbols.data(), tables, {0, 40}, input.rows, after);
    EXPECT_NE(before, after) << set.name;
  }
}

TEST(SymbolKernelsTest, EverySetHasLoopsOfItsOwn) {
  for (const KernelSet& set : AllKernelSets()) {
    for (const KernelSet& other : AllKernelSets()) {
      if (&other == &set) continue;
      EXPECT_NE(set.symbols->pack, other.symbols->pack) << set.name;
      EXPECT_NE(set.symbols->unpack, other.symbols->unpack) << set.name;
    }
  }
}

}  // namespace
}  // namespace amaq::quant
