#include "quant/entropy.h"

#include <gtest/gtest.h>

#include <cmath>

#include "quant/codec.h"
#include "quant/octet.h"
#include "tests/quant/samples.h"
#include "tests/support/errors.h"
#include "tests/support/hostile_bytes.h"

namespace amaq::quant {
namespace {

// A coded message of activations, as it leaves the codec.
struct Coded {
  Coded(const Matrix& x, std::vector<uint8_t> with_widths)
      : widths(std::move(with_widths)),
        rows(static_cast<uint64_t>(x.rows)),
        sections(Encode(x.view(), widths, {}, {})),
        zero_codes(ZeroCodes(*FindSection(sections, SectionKind::kRanges), widths)) {}
  Coded(uint64_t seed, int64_t num_rows, std::vector<uint8_t> with_widths)
      : Coded(Activations(seed, num_rows, static_cast<int64_t>(with_widths.size())), with_widths) {}

  const Bytes& codes() const { return *FindSection(sections, SectionKind::kCodes); }
  CodesShape shape() const { return {widths, rows, zero_codes}; }
  EntropyTables Tables(bool is_relative_to_zero, uint32_t row_classes) const {
    EntropyModel model =
        BuildEntropyModel(SymbolsOf(codes(), shape(), is_relative_to_zero), widths, row_classes);
    model.is_relative_to_zero = is_relative_to_zero;
    return EntropyTables(std::move(model));
  }

  std::vector<uint8_t> widths;
  uint64_t rows;
  std::vector<Section> sections;
  std::vector<uint8_t> zero_codes;
};

std::vector<uint8_t> Uniform(size_t channels, uint8_t width) {
  return std::vector<uint8_t>(channels, width);
}

std::vector<uint8_t> Mixed(uint64_t seed, size_t channels, uint32_t low, uint32_t high) {
  Random random(seed);
  std::vector<uint8_t> widths(channels);
  for (uint8_t& width : widths) width = static_cast<uint8_t>(low + random.Below(high - low + 1));
  return widths;
}

constexpr size_t kNoLimit = size_t{1} << 30;

TEST(EntropyTest, CodesOfEveryShapeWidthAndFormOfModelComeBack) {
  int cases = 0;
  for (const int64_t rows : {1, 2, 7, 8, 9, 31, 64, 150}) {
    for (const size_t channels : {1u, 3u, 31u, 32u, 33u, 100u}) {
      for (uint8_t width = 0; width <= 9; ++width) {
        const Coded message(7 + width, rows,
                            width == 9 ? Mixed(3, channels, 0, 8) : Uniform(channels, width));
        for (const bool is_relative : {false, true}) {
          for (const uint32_t row_classes : {1u, 8u}) {
            const EntropyTables made = message.Tables(is_relative, row_classes);
            const EntropyTables tables = EntropyTables::Parse(made.Serialize(), message.widths);
            const auto coded = EncodeCodes(message.codes(), message.shape(), made, kNoLimit);

            ASSERT_TRUE(coded.has_value());
            ASSERT_EQ(DecodeCodes(*coded, message.shape(), tables), message.codes())
                << rows << " x " << channels << " at width " << int{width};
            ++cases;
          }
        }
      }
    }
  }
  EXPECT_EQ(cases, 8 * 6 * 10 * 4);
}

TEST(EntropyTest, CodesThatTheTablesHaveNeverSeenComeBack) {
  // Tables from a message in which every code is the same, used on random ones.
  for (const uint8_t width : std::initializer_list<uint8_t>{2, 5, 8}) {
    Matrix constant{40, 48, std::vector<float>(40 * 48, 1.5f)};
    const Coded seen(constant, Uniform(48, width));
    const EntropyTables tables = seen.Tables(false, 8);
    const Coded unseen(11, 200, Uniform(48, width));

    const auto coded = EncodeCodes(unseen.codes(), unseen.shape(), tables, kNoLimit);

    ASSERT_TRUE(coded.has_value());
    EXPECT_GT(coded->size(), unseen.codes().size());  // tables that fit this badly
    EXPECT_EQ(DecodeCodes(*coded, unseen.shape(), tables), unseen.codes());
    EXPECT_FALSE(
        EncodeCodes(unseen.codes(), unseen.shape(), tables, unseen.codes().size()).has_value());
  }
}

TEST(EntropyTest, AResultIsNeverAboveTheLimitAndFailsOnlyWhereItMust) {
  const Coded message(5, 64, Mixed(5, 96, 2, 8));
  const EntropyTables tables = message.Tables(false, 8);
  const size_t size = EncodeCodes(message.codes(), message.shape(), tables, kNoLimit)->size();

  EXPECT_TRUE(EncodeCodes(message.codes(), message.shape(), tables, size).has_value());
  for (const size_t limit : {size - 1, size / 2, kRansStateBytes + 4, size_t{4}, size_t{0}}) {
    EXPECT_FALSE(EncodeCodes(message.codes(), message.shape(), tables, limit).has_value()) << limit;
  }
}

// Sum of -log2(share of the symbol in its class), with the classes' exact histograms.
double ClassEntropyBits(std::span<const uint8_t> symbols, const EntropyModel& model,
                        std::span<const uint8_t> row_classes) {
  std::vector<std::vector<double>> counts(model.classes.size() * model.row_classes,
                                          std::vector<double>(256));
  const size_t channels = model.class_of_channel.size();
  for (size_t i = 0; i < symbols.size(); ++i) {
    ++counts[model.class_of_channel[i % channels] * model.row_classes + row_classes[i / channels]]
            [symbols[i]];
  }
  double bits = 0;
  for (const std::vector<double>& table : counts) {
    double sum = 0;
    for (const double count : table) sum += count;
    for (const double count : table) bits += count > 0 ? count * std::log2(sum / count) : 0;
  }
  return bits;
}

TEST(EntropyTest, CodedSizeIsWithinTwoPercentOfTheClassesEntropyAtEveryWidth) {
  for (uint8_t width = 2; width <= 9; ++width) {
    const Coded message(21, 600, width == 9 ? Mixed(4, 256, 2, 8) : Uniform(256, width));
    const EntropyTables tables = message.Tables(false, 1);
    const std::vector<uint8_t> symbols = SymbolsOf(message.codes(), message.shape(), false);
    const std::vector<uint8_t> one_class(message.rows, 0);

    const auto coded = EncodeCodes(message.codes(), message.shape(), tables, kNoLimit);

    ASSERT_TRUE(coded.has_value());
    const double ratio = 8 * static_cast<double>(coded->size()) /
                         ClassEntropyBits(symbols, tables.model(), one_class);
    EXPECT_LE(ratio, 1.02) << "width " << int{width};
    EXPECT_GE(ratio, 1.0) << "smaller than the entropy: the comparison is wrong";
    // Negative control: tables of another distribution are seen.
    EntropyModel blunt = tables.model();
    for (EntropyClass& entry : blunt.classes) {
      entry.shift = 0;
      entry.bins = {std::vector<uint16_t>(size_t{1} << entry.width,
                                          static_cast<uint16_t>(kFrequencyTotal >> entry.width))};
    }
    const auto worse =
        EncodeCodes(message.codes(), message.shape(), EntropyTables(blunt), kNoLimit);
    EXPECT_GT(static_cast<double>(worse->size()), 1.02 * static_cast<double>(coded->size()));
  }
}

TEST(EntropyTest, SymbolsRelativeToZeroStandInTheMiddle) {
  Matrix x{3, 1, {-3.0f, 0.0f, 1.0f}};
  const Coded message(x, {2});  // lo -3, step 4/3 up to bf16: zero is nearest to code 2

  EXPECT_EQ(message.zero_codes, (std::vector<uint8_t>{2}));
  EXPECT_EQ(SymbolsOf(message.codes(), message.shape(), true), (std::vector<uint8_t>{0, 2, 3}));
  EXPECT_EQ(SymbolsOf(message.codes(), message.shape(), false), (std::vector<uint8_t>{0, 2, 3}));
  Matrix above{3, 1, {1.0f, 2.0f, 4.0f}};  // zero lies below the range: its code is clamped to 0
  const Coded positive(above, {2});
  EXPECT_EQ(positive.zero_codes, (std::vector<uint8_t>{0}));
  EXPECT_EQ(SymbolsOf(positive.codes(), positive.shape(), false), (std::vector<uint8_t>{0, 1, 3}));
  EXPECT_EQ(SymbolsOf(positive.codes(), positive.shape(), true), (std::vector<uint8_t>{2, 3, 1}));
}

TEST(EntropyTest, ModelsStayWithinTheirLimitsWithEveryWidthAndSpread) {
  Random random(9);
  Matrix x{64, 1024, std::vector<float>(64 * 1024)};
  for (int64_t c = 0; c < x.channels; ++c) {
    // Heavier and heavier tails: codes of every standard deviation.
    const double power = 1 + 4 * random.Uniform();
    for (int64_t n = 0; n < x.rows; ++n) {
      const double value = random.Normal();
      x.at(n, c) = static_cast<float>(std::copysign(std::pow(std::fabs(value), power), value));
    }
  }
  const Coded message(x, Mixed(8, 1024, 0, 8));
  for (const uint32_t row_classes : {1u, 8u}) {
    const EntropyTables tables = message.Tables(false, row_classes);
    EXPECT_LE(tables.model().classes.size(), kMaxEntropyClasses);
    EXPECT_LE(tables.symbols().size(), kMaxEntropyTables);
    EXPECT_GE(tables.model().classes.size(), 9u);
    EXPECT_TRUE(EntropyTables::Parse(tables.Serialize(), message.widths).Fits(message.widths));
  }
}

// --- hostile bytes
// --------------------------------------------------------------------------------

TEST(EntropyTest, HostileTablesThrowOrParse) {
  const Coded message(31, 40, Mixed(6, 20, 1, 4));
  const Bytes valid = message.Tables(true, 8).Serialize();
  const auto parse = [&](ByteSpan bytes) { EntropyTables::Parse(bytes, message.widths); };

  EXPECT_EQ(test::AcceptedTruncations(parse, valid), 0u);
  EXPECT_GT(test::RefusedCorruptions(parse, valid, 1, 2000), 1500u);
  Bytes longer = valid;
  longer.push_back(0);
  EXPECT_THROWS(parse(longer), Code::kDataLoss, "too many");
}

TEST(EntropyTest, TablesOutsideTheirLimitsAreRefused) {
  const std::vector<uint8_t> widths = {1, 1, 1};
  // version 1, no flags, one row class, one class: width 1, bins of 8192 and 8192, no map.
  const Bytes valid = {1, 0, 0, 0, 0, 1, 1, 0x01, 0xff, 0x3f, 0xff, 0x3f};
  const auto with = [&](size_t place, uint8_t value) {
    Bytes bytes = valid;
    bytes[place] = value;
    return bytes;
  };
  const auto parse = [&](const Bytes& bytes) { EntropyTables::Parse(bytes, widths); };

  EXPECT_NO_THROW(parse(valid));
  EXPECT_THROWS(parse(with(0, 0)), Code::kDataLoss, "version 0");
  EXPECT_THROWS(parse(with(4, 2)), Code::kDataLoss, "flags 2");
  EXPECT_THROWS(parse(with(5, 0)), Code::kDataLoss, "classes");
  EXPECT_THROWS(parse(with(5, 9)), Code::kDataLoss, "classes");
  EXPECT_THROWS(parse(with(6, 0)), Code::kDataLoss, "classes");
  EXPECT_THROWS(parse(with(6, 65)), Code::kDataLoss, "classes");
  EXPECT_THROWS(parse({1, 0, 0, 0, 0, 8, 64}), Code::kDataLoss, "256 tables");
  EXPECT_THROWS(parse(with(7, 0x09)), Code::kDataLoss, "width 9");
  EXPECT_THROWS(parse(with(7, 0x11)), Code::kDataLoss, "bins of 2^1");
  EXPECT_THROWS(parse(with(7, 0x58)), Code::kDataLoss, "bins of 2^5");
  EXPECT_THROWS(parse(with(8, 0xfe)), Code::kDataLoss, "sums to 16383");
  EXPECT_THROWS(parse(with(9, 0x80)), Code::kDataLoss, "ill-formed");
  EXPECT_THROWS(parse(with(9, 0x00)), Code::kDataLoss, "ill-formed");
  EXPECT_THROWS(EntropyTables::Parse(valid, std::vector<uint8_t>{1, 2, 1}), Code::kDataLoss,
                "channel 1 of width 2");
}

TEST(EntropyTest, HostileCodesThrowOrDecodeToTheSameSize) {
  const Coded message(41, 50, Mixed(2, 40, 2, 8));
  const EntropyTables tables = message.Tables(true, 8);
  const Bytes valid = *EncodeCodes(message.codes(), message.shape(), tables, kNoLimit);
  const auto decode = [&](ByteSpan bytes) {
    EXPECT_EQ(DecodeCodes(bytes, message.shape(), tables).size(), message.codes().size());
  };

  EXPECT_EQ(test::AcceptedTruncations(decode, valid), 0u);
  // A changed state or word changes what follows, and the end no longer meets the beginning.
  EXPECT_GT(test::RefusedCorruptions(decode, valid, 2, 2000), 1950u);
  Bytes longer = valid;
  longer.insert(longer.end(), 2, 0);
  EXPECT_THROWS(decode(longer), Code::kDataLoss, "does not end");
  longer.pop_back();
  EXPECT_THROWS(decode(longer), Code::kDataLoss, "half a word");
}

}  // namespace
}  // namespace amaq::quant
