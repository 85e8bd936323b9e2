// The rate-distortion coder on several threads: the same bytes, values and errors as on one. And
// damage is found in its block.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <limits>

#include "quant/codec.h"
#include "quant/rd_format.h"
#include "tests/quant/rd_samples.h"

namespace amaq::quant {
namespace {

constexpr size_t kChannels = 1024;
constexpr size_t kBlockRows = 256;
constexpr size_t kRows = 2 * kBlockRows + 40;
constexpr size_t kThreadCounts[] = {1, 2, 5};

// Three blocks; the large values are escapes, one in each.
std::vector<float> ThreeBlocks(uint64_t seed) {
  std::vector<float> y = RdSource(seed, kChannels, Shape::kLaplace).Next(kRows);
  for (const size_t row : {3u, 300u, 551u}) y[row * kChannels + row] = 40000;
  return y;
}

uint32_t NumEscapes(const RdCounts& counts) {
  uint32_t sum = 0;
  for (size_t t = 0; t < kRdTables; ++t) sum += counts.symbols[RdCountOffsets()[t + 1] - 1];
  return sum;
}

// Of what RdEncode makes and RdDecode returns.
void ExpectEqual(const RdCounts& a, const RdCounts& b) {
  EXPECT_EQ(a.index, b.index);
  EXPECT_EQ(a.row_weights, b.row_weights);
  EXPECT_EQ(a.channel_sums, b.channel_sums);
  EXPECT_EQ(a.symbols, b.symbols);
  EXPECT_EQ(a.has_centroids, b.has_centroids);
  EXPECT_EQ(a.centroids, b.centroids);
  EXPECT_EQ(a.kinds, b.kinds);
  EXPECT_EQ(a.rows, b.rows);
}

class RdThreads : public ::testing::TestWithParam<Rounding> {
 protected:
  RdThreads() : model_(kChannels), options_(DeadZone(-30)) {
    options_.rounding = GetParam();
    options_.rounding_key = 5;
    if (GetParam() == Rounding::kNearestEven) options_.kinds = RdKinds::kLearn;
    const std::vector<float> y = ThreeBlocks(61);
    model_.Add({0, 0, 0}, RdEncode(y, options_, model_, {}).value().counts);
    model_.Keep({1, 0, 0});
  }

  RdModel model_;
  RdOptions options_;
};

TEST_P(RdThreads, GiveTheSameBytesAndValuesWhateverTheirNumber) {
  std::vector<float> y = ThreeBlocks(62);
  std::vector<float> told(y.size());
  const RdEncoded one = RdEncode(y, options_, model_, told).value();
  const RdCounts known = RdDecode(one.sections, model_, told);
  const double bits = RdEstimateBits(y, options_, model_);
  ASSERT_EQ(known.kinds.empty(), GetParam() == Rounding::kStochastic);
  ASSERT_GE(NumEscapes(known), 3u);
  for (const size_t threads : kThreadCounts) {
    options_.threads = threads;
    std::vector<float> decoded(y.size()), received(y.size());
    const RdEncoded coded = RdEncode(y, options_, model_, decoded).value();
    ASSERT_EQ(coded.sections.size(), one.sections.size());
    EXPECT_EQ(coded.sections.back().bytes, one.sections.back().bytes) << threads;
    EXPECT_EQ(decoded, told);
    ExpectEqual(coded.counts, known);
    ExpectEqual(RdDecode(one.sections, model_, received, {.threads = threads}), known);
    EXPECT_EQ(received, told);
    EXPECT_EQ(RdEstimateBits(y, options_, model_), bits);
  }
  // The negative control: one value of the last block shows.
  y.back() += 64;
  EXPECT_NE(RdEncode(y, options_, model_, {}).value().sections.back().bytes,
            one.sections.back().bytes);
}

INSTANTIATE_TEST_SUITE_P(EveryRounding, RdThreads,
                         ::testing::Values(Rounding::kNearestEven, Rounding::kStochastic),
                         [](const auto& param_info) {
                           return param_info.param == Rounding::kStochastic ? "stochastic"
                                                                            : "nearest";
                         });

TEST(RdThreadsTest, TheFirstValueThatIsNotFiniteIsNamedWhateverTheirNumber) {
  std::vector<float> y = ThreeBlocks(63);
  for (const size_t row : {500u, 290u, 291u, 551u}) {
    y[row * kChannels + 7] = std::numeric_limits<float>::infinity();
  }
  RdOptions options = DeadZone(0);
  for (const size_t threads : kThreadCounts) {
    options.threads = threads;
    try {
      RdEncode(y, options, RdModel(kChannels), {});
      FAIL() << "an infinity was coded";
    } catch (const NonFiniteError& error) {
      EXPECT_EQ(error.row(), 290u);
      EXPECT_EQ(error.channel(), 7u);
    }
  }
}

TEST(RdThreadsTest, AValueThatIsTooLargeIsFoundInAnyBlock) {
  RdOptions options = DeadZone(0);
  options.threads = 5;
  for (const size_t row : {0u, 300u, 551u}) {
    std::vector<float> y = ThreeBlocks(64);
    y[row * kChannels] = -2e6f;
    EXPECT_FALSE(RdEncode(y, options, RdModel(kChannels), {}).has_value());
  }
}

// A message of three blocks and where they are.
class RdDamage : public ::testing::Test {
 protected:
  static constexpr size_t kHead = 11;

  RdDamage() : model_(kChannels) {
    RdOptions options = DeadZone(-30);
    sent_ = RdEncode(ThreeBlocks(65), options, model_, {}).value().sections;
    const uint8_t flags = bytes()[6];
    size_t place = kHead + ((flags & kRdHasCentroids) != 0 ? sizeof(RdCentroids) : 0) +
                   ((flags & kRdHasRowClasses) != 0 ? (3 * kRows + 7) / 8 : 0);
    for (size_t block = 0; block < 3; ++block) {
      starts_.push_back(place);
      place += sizeof(uint32_t) + LengthAt(place);
    }
    ends_ = {starts_[1], starts_[2], place};
  }

  Bytes& bytes() { return sent_.back().bytes; }
  uint32_t LengthAt(size_t place) {
    uint32_t length = 0;
    std::memcpy(&length, bytes().data() + place, sizeof(length));
    return length;
  }

  // Refused for this block, with an output that nobody touched.
  void ExpectBlockNamed(size_t block, size_t threads) const {
    std::vector<float> out(kRows * kChannels, 7.0f);
    EXPECT_ERROR(RdDecode(sent_, model_, out, {.threads = threads}), Code::kDataLoss,
                 StrCat("block ", block, " of the rate-distortion codes (",
                        block == 2 ? kRows - 2 * kBlockRows : kBlockRows, " rows from row ",
                        block * kBlockRows, "): "));
    EXPECT_EQ(static_cast<size_t>(std::count(out.begin(), out.end(), 7.0f)), out.size());
  }

  RdModel model_;
  std::vector<Section> sent_;
  std::vector<size_t> starts_, ends_;
};

TEST_F(RdDamage, NoneIsTaken) {
  std::vector<float> out(kRows * kChannels);
  EXPECT_NO_THROW(RdDecode(sent_, model_, out, {.threads = 2}));
}

TEST_F(RdDamage, AnyFlippedByteIsFoundInItsBlock) {
  constexpr size_t kRegion = 12;
  for (size_t block = 0; block < 3; ++block) {
    const size_t first = starts_[block] + sizeof(uint32_t);
    const size_t middle = first + (ends_[block] - first) / 2;
    for (const size_t begin : {first, first + 116, middle, ends_[block] - kRegion}) {
      for (size_t place = begin; place < begin + kRegion; ++place) {
        const auto mask = static_cast<uint8_t>(1u << place % 8);
        bytes()[place] ^= mask;
        ExpectBlockNamed(block, 2);
        bytes()[place] ^= mask;
      }
    }
  }
}

TEST_F(RdDamage, AWrongLengthIsFoundInItsBlock) {
  for (size_t block = 0; block < 3; ++block) {
    const uint32_t right = LengthAt(starts_[block]);
    for (const uint32_t wrong :
         {0u, 1u, 127u, right - 2, right - 1, right + 1, right + 2, UINT32_MAX}) {
      std::memcpy(bytes().data() + starts_[block], &wrong, sizeof(wrong));
      for (const size_t threads : kThreadCounts) ExpectBlockNamed(block, threads);
    }
    std::memcpy(bytes().data() + starts_[block], &right, sizeof(right));
  }
}

TEST_F(RdDamage, TheFirstOfTwoDamagedBlocksIsNamed) {
  bytes()[starts_[2] + 100] ^= 1u;
  bytes()[starts_[1] + 200] ^= 1u;
  for (const size_t threads : kThreadCounts) ExpectBlockNamed(1, threads);
}

TEST_F(RdDamage, AMissingLastBlockIsNamed) {
  bytes().resize(starts_[2] + 2);
  ExpectBlockNamed(2, 2);
}

}  // namespace
}  // namespace amaq::quant
