// What an independent implementation of docs/formats/entropy.md made (tests/golden/README.md).

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <iterator>

#include "core/bytes.h"
#include "quant/entropy.h"

namespace amaq::quant {
namespace {

struct Golden {
  CodesShape shape;  // with zero codes
  Bytes tables, coded, codes;
};

Bytes Copy(ByteSpan bytes) { return {bytes.begin(), bytes.end()}; }

Golden Load(const std::string& name) {
  std::ifstream file(AMAQ_SOURCE_DIR "/tests/golden/entropy/" + name + ".bin", std::ios::binary);
  EXPECT_TRUE(file) << name;
  const Bytes bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  ByteReader reader(bytes, "golden file");
  const Bytes magic = Copy(reader.Take(8));
  EXPECT_EQ(Copy(ByteSpan(magic).first(7)), (Bytes{'A', 'M', 'A', 'Q', 'E', 'N', 'T'}));
  const bool has_tiles = magic[7] == '2';
  EXPECT_EQ(has_tiles, name == "tiles");
  Golden golden;
  CodesShape& shape = golden.shape;
  shape.rows = reader.Read<uint32_t>();
  const auto channels = reader.Read<uint32_t>();
  if (has_tiles) {
    shape.tile_size = reader.Read<uint32_t>();
    shape.row_widths = Copy(reader.Take(shape.rows));
    shape.widths.assign(channels, std::ranges::max(shape.row_widths));
  } else {
    shape.widths = Copy(reader.Take(channels));
  }
  Bytes ranges;
  for (Bytes* section : {&ranges, &golden.tables, &golden.coded, &golden.codes}) {
    *section = Copy(reader.Take(reader.Read<uint32_t>()));
  }
  reader.ExpectEnd();
  FindZeroCodes({{has_tiles ? SectionKind::kScales : SectionKind::kRanges, ranges}}, &shape);
  return golden;
}

const std::string kNames[] = {"example", "mixed", "relative", "tiles"};

TEST(EntropyGoldenTest, EveryFileDecodesToItsCodes) {
  for (const std::string& name : kNames) {
    const Golden golden = Load(name);
    const EntropyTables tables = EntropyTables::Parse(golden.tables, golden.shape.widths);
    EXPECT_EQ(tables.Serialize(), golden.tables) << name;

    EXPECT_EQ(DecodeCodes(golden.coded, golden.shape, tables), golden.codes) << name;
  }
}

TEST(EntropyGoldenTest, CodesOfOneRowClassEncodeToTheStoredBytes) {
  for (const std::string name : {"example", "mixed"}) {
    const Golden golden = Load(name);
    const EntropyTables tables = EntropyTables::Parse(golden.tables, golden.shape.widths);

    const auto coded = EncodeCodes(golden.codes, golden.shape, tables, size_t{1} << 20);

    ASSERT_TRUE(coded.has_value());
    EXPECT_EQ(*coded, golden.coded) << name;
  }
}

TEST(EntropyGoldenTest, OtherZeroCodesGiveOtherCodes) {  // negative control
  for (const std::string name : {"relative", "tiles"}) {
    Golden golden = Load(name);
    const EntropyTables tables = EntropyTables::Parse(golden.tables, golden.shape.widths);
    golden.shape.zero_codes[5] ^= 1;

    EXPECT_NE(DecodeCodes(golden.coded, golden.shape, tables), golden.codes);
  }
}

}  // namespace
}  // namespace amaq::quant
