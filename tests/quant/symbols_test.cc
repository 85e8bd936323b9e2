#include "quant/symbols.h"

#include <gtest/gtest.h>

#include "tests/quant/samples.h"
#include "tests/support/errors.h"

namespace amaq::quant {
namespace {

// Two rows of 3 and 2 bits, two tiles of 8 channels and one more of 1: 24 codes a row with their
// filling.
CodesShape TileShape() {
  return {.widths = std::vector<uint8_t>(17, 3), .rows = 2, .tile_size = 8, .row_widths = {3, 2}};
}
// (lo, step) as bf16: each tile of row 0, then of row 1.
const Bytes kScaleBytes = {0x80, 0xbf, 0x00, 0x3f,   // -1, 0.5: zero is code 2
                           0x00, 0x00, 0x80, 0x3f,   // 0, 1: 0
                           0x00, 0xc1, 0x80, 0x3f,   // -8, 1: 7, the largest
                           0x80, 0x3f, 0x80, 0x3f,   // 1, 1: 0, the smallest
                           0x00, 0xc0, 0x80, 0x3f,   // -2, 1: 2
                           0x80, 0xbf, 0x00, 0x00};  // -1, 0: 0, as all codes are
const std::vector<uint8_t> kZeros = {2, 0, 7, 0, 2, 0};

TEST(SymbolsTest, TilesHaveAZeroCodeEach) {
  CodesShape shape = TileShape();

  FindZeroCodes({{SectionKind::kScales, kScaleBytes}}, &shape);

  EXPECT_EQ(shape.zero_codes, kZeros);
}

TEST(SymbolsTest, CodesOfTilesCountFromTheirZeroInTheWidthOfTheirRow) {
  CodesShape shape = TileShape();
  shape.zero_codes = kZeros;
  std::vector<uint8_t> symbols(34, 4);  // zero everywhere: 2^(3-1) in row 0
  std::fill(symbols.begin() + 17, symbols.end(), uint8_t{2});
  symbols[0] = 5;   // one step above zero: code 3
  symbols[25] = 3;  // of 2 bits: code 3

  const Bytes codes = PackSymbols(symbols, shape, true);

  // By hand: code 3, then seven of 2 (3 bits each); zeros; one 7. 2 bits: zeros, 3 and seven of 2.
  const Bytes expected = {0x93, 0x24, 0x49, 0, 0, 0, 7, 0, 0, 0, 0, 0xab, 0xaa, 0, 0};
  EXPECT_EQ(codes, expected);
  EXPECT_EQ(shape.CodesBytes(), expected.size());
  EXPECT_EQ(SymbolsOf(codes, shape, true), symbols);
}

TEST(SymbolsTest, PlainSymbolsOfTilesAreTheirCodes) {
  Random random(3);
  const CodesShape shape = TileShape();
  std::vector<uint8_t> symbols(34);
  for (size_t i = 0; i < symbols.size(); ++i) {
    symbols[i] = static_cast<uint8_t>(random.Below(i < 17 ? 8 : 4));
  }
  EXPECT_EQ(SymbolsOf(PackSymbols(symbols, shape, false), shape, false), symbols);
}

TEST(SymbolsTest, ASymbolThatDoesNotFitItsRowIsRefused) {
  CodesShape shape = TileShape();
  shape.zero_codes = kZeros;
  std::vector<uint8_t> symbols(34, 3);
  EXPECT_NO_THROW(PackSymbols(symbols, shape, true));
  symbols[20] = 4;
  EXPECT_THROWS(PackSymbols(symbols, shape, true), Code::kDataLoss,
                "coded row 1 of 2 bits has the symbol 4");
}

TEST(SymbolsTest, ScalesThatAreNoneAreRefused) {
  CodesShape shape = TileShape();
  const auto find = [&](const Bytes& scales) {
    FindZeroCodes({{SectionKind::kScales, scales}}, &shape);
  };
  EXPECT_THROWS(FindZeroCodes({}, &shape), Code::kDataLoss, "no scales section");
  Bytes short_one = kScaleBytes;
  short_one.pop_back();
  EXPECT_THROWS(find(short_one), Code::kDataLoss, "must have 24 bytes");
  Bytes negative = kScaleBytes;
  negative[3] = 0xbf;
  EXPECT_THROWS(find(negative), Code::kDataLoss, "range of tile 0");
  Bytes infinite = kScaleBytes;
  infinite[4] = 0x80;
  infinite[5] = 0x7f;
  EXPECT_THROWS(find(infinite), Code::kDataLoss, "range of tile 1");
}

}  // namespace
}  // namespace amaq::quant
