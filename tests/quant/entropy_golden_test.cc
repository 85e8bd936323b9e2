// What an independent implementation of docs/formats/entropy.md made (tests/golden/README.md).

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "core/bytes.h"
#include "quant/entropy.h"

namespace amaq::quant {
namespace {

struct Golden {
  uint64_t rows;
  std::vector<uint8_t> widths;
  Bytes ranges, tables, coded, codes;
};

Bytes Copy(ByteSpan bytes) { return {bytes.begin(), bytes.end()}; }

Golden Load(const std::string& name) {
  std::ifstream file(AMAQ_SOURCE_DIR "/tests/golden/entropy/" + name + ".bin", std::ios::binary);
  EXPECT_TRUE(file) << name;
  const Bytes bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  ByteReader reader(bytes, "golden file");
  EXPECT_EQ(Copy(reader.Take(8)), (Bytes{'A', 'M', 'A', 'Q', 'E', 'N', 'T', '1'}));
  Golden golden;
  golden.rows = reader.Read<uint32_t>();
  const auto channels = reader.Read<uint32_t>();
  golden.widths = Copy(reader.Take(channels));
  for (Bytes* section : {&golden.ranges, &golden.tables, &golden.coded, &golden.codes}) {
    *section = Copy(reader.Take(reader.Read<uint32_t>()));
  }
  reader.ExpectEnd();
  return golden;
}

const std::string kNames[] = {"example", "mixed", "relative"};

TEST(EntropyGoldenTest, EveryFileDecodesToItsCodes) {
  for (const std::string& name : kNames) {
    const Golden golden = Load(name);
    const EntropyTables tables = EntropyTables::Parse(golden.tables, golden.widths);
    const std::vector<uint8_t> zeros = ZeroCodes(golden.ranges, golden.widths);
    EXPECT_EQ(tables.Serialize(), golden.tables) << name;

    const CodesShape shape{golden.widths, golden.rows, zeros};

    EXPECT_EQ(DecodeCodes(golden.coded, shape, tables), golden.codes) << name;
  }
}

TEST(EntropyGoldenTest, CodesOfOneRowClassEncodeToTheStoredBytes) {
  for (const std::string name : {"example", "mixed"}) {
    const Golden golden = Load(name);
    const EntropyTables tables = EntropyTables::Parse(golden.tables, golden.widths);

    const auto coded =
        EncodeCodes(golden.codes, {golden.widths, golden.rows, {}}, tables, size_t{1} << 20);

    ASSERT_TRUE(coded.has_value());
    EXPECT_EQ(*coded, golden.coded) << name;
  }
}

TEST(EntropyGoldenTest, OtherZeroCodesGiveOtherCodes) {  // negative control
  const Golden golden = Load("relative");
  const EntropyTables tables = EntropyTables::Parse(golden.tables, golden.widths);
  std::vector<uint8_t> zeros = ZeroCodes(golden.ranges, golden.widths);
  zeros[5] ^= 1;

  EXPECT_NE(DecodeCodes(golden.coded, {golden.widths, golden.rows, zeros}, tables), golden.codes);
}

}  // namespace
}  // namespace amaq::quant
