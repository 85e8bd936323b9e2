// group and tahquant against their definitions written out once more: docs/formats/tiles.md.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <numeric>

#include "core/bytes.h"
#include "core/rng.h"
#include "quant/coder.h"
#include "tests/quant/samples.h"
#include "tests/quant/vector_storage.h"

namespace amaq::quant {
namespace {

using ::testing::ElementsAre;

constexpr int64_t kRows = 20;

// The largest bf16 number that is not above `value`: the nearest one or its lower neighbour.
float DownToBF16(float value) {
  const float nearest = BF16ToF32(F32ToBF16(value));
  if (nearest <= value) return nearest;
  const float below = std::nextafter(nearest, -INFINITY);
  for (uint32_t bits = std::bit_cast<uint32_t>(below);; bits += nearest > 0 ? -1u : 1u) {
    if ((bits & 0xffffu) == 0) return std::bit_cast<float>(bits);
  }
}

// Codes, scales and values of one tile by plain formulas.
struct NaiveTile {
  float lo, step;
  std::vector<int> codes;
  std::vector<float> values;
};

NaiveTile CodeNaively(const std::vector<float>& x, int width, bool is_stochastic = false,
                      uint64_t key = 0, uint64_t first_index = 0) {
  const float largest = std::exp2(static_cast<float>(width)) - 1;
  NaiveTile tile;
  const float low = *std::min_element(x.begin(), x.end());
  const float high = *std::max_element(x.begin(), x.end());
  tile.lo = DownToBF16(low);
  const float exact = (high - tile.lo) / largest;
  tile.step = -DownToBF16(-exact);  // up
  if (tile.step < 0x1p-126f) tile.step = 0;
  for (size_t c = 0; c < x.size(); ++c) {
    const float t = tile.step == 0 ? 0 : (x[c] - tile.lo) * (1 / tile.step);
    float code = std::nearbyint(t);
    if (is_stochastic) {
      const uint32_t word = PhiloxWord(key, first_index + c);
      const float fraction = t - std::floor(t);
      const bool is_up = static_cast<double>(word >> 8) < std::floor(fraction * 0x1p24);
      code = std::floor(t) + (is_up ? 1.0f : 0.0f);
    }
    tile.codes.push_back(static_cast<int>(std::clamp(code, 0.0f, largest)));
    tile.values.push_back(tile.lo + static_cast<float>(tile.codes.back()) * tile.step);
  }
  return tile;
}

// The bits of a stream, low bits first, in runs of 8 codes.
std::vector<int> Unpacked(const Bytes& bytes, size_t first_byte, int width, size_t count) {
  std::vector<int> codes;
  for (size_t i = 0; i < count; ++i) {
    int code = 0;
    for (int bit = 0; bit < width; ++bit) {
      const size_t place = i % 8 * static_cast<size_t>(width) + static_cast<size_t>(bit);
      const size_t byte = first_byte + i / 8 * static_cast<size_t>(width) + place / 8;
      code |= (bytes[byte] >> (place % 8) & 1) << bit;
    }
    codes.push_back(code);
  }
  return codes;
}

std::vector<float> TileOf(const Matrix& x, int64_t row, int64_t begin, int64_t size) {
  const auto first = x.values.begin() + static_cast<std::ptrdiff_t>(row * x.channels + begin);
  return {first, first + static_cast<std::ptrdiff_t>(std::min(size, x.channels - begin))};
}

float BF16At(const Bytes& bytes, size_t index) {
  uint16_t bits;
  std::memcpy(&bits, bytes.data() + 2 * index, sizeof(bits));
  return BF16ToF32(bits);
}

TEST(GroupTest, ScalesCodesAndValuesAreThoseOfThePage) {
  constexpr int64_t kChannels = 100;  // 64 and 36
  for (const bool is_stochastic : {false, true}) {
    for (const int width : {2, 3, 5, 8}) {
      const Matrix x = Activations(31, kRows, kChannels);
      const std::vector<uint8_t> widths(kChannels, static_cast<uint8_t>(width));
      std::vector<uint32_t> ids(kRows);
      std::iota(ids.begin(), ids.end(), 7u);
      const auto coder = MakeCoder({.method = Method::kGroup}, TensorKind::kGradient, {});
      std::vector<float> decoded(x.values.size());
      const CodedMatrix sent =
          coder->Encode(x.view(),
                        {.widths = widths,
                         .rows = {{}, ids},
                         .rounding = is_stochastic ? Rounding::kStochastic : Rounding::kNearestEven,
                         .rounding_key = 5},
                        decoded);
      const Bytes& scales = *FindSection(sent.sections, SectionKind::kScales);
      const Bytes& codes = *FindSection(sent.sections, SectionKind::kCodes);
      ASSERT_EQ(scales.size(), kRows * 2u * 4u);
      ASSERT_EQ(codes.size(), static_cast<size_t>(kRows * 13 * width));
      for (int64_t row = 0; row < kRows; ++row) {
        for (int64_t begin = 0; begin < kChannels; begin += 64) {
          const NaiveTile tile = CodeNaively(TileOf(x, row, begin, 64), width, is_stochastic, 5,
                                             static_cast<uint64_t>((row + 7) * kChannels + begin));
          const auto index = static_cast<size_t>(row * 2 + begin / 64);
          EXPECT_EQ(BF16At(scales, 2 * index), tile.lo);
          EXPECT_EQ(BF16At(scales, 2 * index + 1), tile.step);
          const auto first_byte = static_cast<size_t>((row * 13 + begin / 8) * width);
          EXPECT_EQ(Unpacked(codes, first_byte, width, tile.codes.size()), tile.codes);
          for (size_t c = 0; c < tile.values.size(); ++c) {
            EXPECT_EQ(decoded[static_cast<size_t>(row * kChannels + begin) + c], tile.values[c]);
          }
        }
      }
    }
  }
}

TEST(GroupTest, DifferentWidthsAreRefused) {
  const Matrix x = Activations(32, 4, 64);
  std::vector<uint8_t> widths(64, 3);
  widths[9] = 4;
  const auto coder = MakeCoder({.method = Method::kGroup}, TensorKind::kActivation, {});

  EXPECT_ERROR(coder->Encode(x.view(), {.widths = widths}, {}), Code::kInvalidArgument,
               "the same width");
}

class TahquantTest : public ::testing::Test {
 protected:
  static constexpr int64_t kChannels = 72;  // two tiles of 32 and one of 8

  void Send(const Matrix& x, TensorKind kind = TensorKind::kActivation, uint8_t width = 4) {
    const std::vector<uint8_t> widths(static_cast<size_t>(x.channels), width);
    const auto coder = MakeCoder({.method = Method::kTahquant}, kind, {});
    decoded_.resize(x.values.size());
    sent_ = coder->Encode(x.view(), {.widths = widths}, decoded_);
  }
  const Bytes& Of(SectionKind kind) const { return *FindSection(sent_.sections, kind); }

  CodedMatrix sent_;
  std::vector<float> decoded_;
};

// Rows of one large value have little entropy.
TEST_F(TahquantTest, TheFifthOfLeastEntropyHasOneBitLess) {
  Matrix x = Activations(33, kRows, kChannels);
  for (const int64_t row : {3, 9, 10, 17}) x.at(row, 70) = 1e5f;

  Send(x);

  const Bytes& tiles = Of(SectionKind::kTiles);
  EXPECT_THAT(std::vector<int>(tiles.begin(), tiles.begin() + 3),
              ElementsAre(1 << 3, 1 << 1 | 1 << 2, 1 << 1));
  EXPECT_EQ(Of(SectionKind::kCodes).size(), 16u * 9 * 4 + 4u * 9 * 3);
  EXPECT_EQ(Of(SectionKind::kScales).size(), kRows * 3u * 4u);
}

TEST_F(TahquantTest, GradientsHaveOneWidth) {
  Send(Activations(34, kRows, kChannels), TensorKind::kGradient, 6);

  const Bytes& tiles = Of(SectionKind::kTiles);
  EXPECT_THAT(std::vector<int>(tiles.begin(), tiles.begin() + 3), ElementsAre(0, 0, 0));
  EXPECT_EQ(Of(SectionKind::kCodes).size(), kRows * 9u * 6u);
}

// One outlier in a tile of small values: with it, 4 bits would leave nothing of the others.
TEST_F(TahquantTest, ATileWithAnOutlierIsTurnedAndKeepsItsSmallValues) {
  Matrix x{1, kChannels, std::vector<float>(kChannels)};
  Random random(35);
  for (float& value : x.values) value = static_cast<float>(random.Uniform() - 0.5);
  x.at(0, 32 + 5) = 1000;

  Send(x);

  const Bytes& tiles = Of(SectionKind::kTiles);
  EXPECT_THAT(tiles, ElementsAre(0, 0b010, 5));
  for (int64_t c = 32; c < 64; ++c) {
    if (c == 37) continue;
    EXPECT_LT(std::abs(decoded_[static_cast<size_t>(c)] - x.at(0, c)), 1.0) << c;
  }
  EXPECT_NEAR(decoded_[37], 1000, 4);  // sqrt(32) times a bf16 rounding of 1000 / sqrt(32)
}

TEST_F(TahquantTest, ARatioOfTwoIsNoOutlierAndAShortTileNeverIs) {
  Matrix x{1, kChannels, std::vector<float>(kChannels, 1)};
  x.at(0, 4) = 2;
  x.at(0, 70) = 1e6f;

  Send(x);

  EXPECT_THAT(Of(SectionKind::kTiles), ElementsAre(0, 0));
}

// The receiver's side from the bytes alone, in double, with the matrix written out.
TEST_F(TahquantTest, ValuesAreThoseOfThePageInDouble) {
  Matrix x = Activations(36, kRows, kChannels);
  Random random(37);
  for (int i = 0; i < 25; ++i) x.at(random.Below(kRows), random.Below(kChannels)) *= 50;
  Send(x);
  const Bytes& tiles = Of(SectionKind::kTiles);
  const Bytes& scales = Of(SectionKind::kScales);
  const Bytes& codes = Of(SectionKind::kCodes);
  const size_t turned_at = 3;
  size_t next_pivot = turned_at + (kRows * 3 + 7) / 8;
  size_t first_byte = 0;
  size_t turned = 0;
  for (size_t row = 0; row < kRows; ++row) {
    const int width = (tiles[row / 8] >> (row % 8) & 1) != 0 ? 3 : 4;
    for (size_t t = 0; t < 3; ++t) {
      const size_t index = row * 3 + t;
      const size_t count = t < 2 ? 32 : 8;
      const double lo = BF16At(scales, 2 * index);
      const double step = BF16At(scales, 2 * index + 1);
      std::vector<double> y;
      for (const int code : Unpacked(codes, first_byte, width, count))
        y.push_back(lo + code * step);
      first_byte += count / 8 * static_cast<size_t>(width);
      if ((tiles[turned_at + index / 8] >> (index % 8) & 1) != 0) {
        ++turned;
        std::vector<double> back(32, 0);
        for (uint32_t i = 0; i < 32; ++i) {
          for (uint32_t j = 0; j < 32; ++j) {
            back[i] += (std::popcount(i & j) % 2 == 0 ? 1 : -1) * y[j] / std::sqrt(32.0);
          }
        }
        std::swap(back[0], back[tiles[next_pivot++]]);
        y = back;
      }
      for (size_t c = 0; c < count; ++c) {
        const double expected = y[c];
        EXPECT_NEAR(decoded_[row * kChannels + t * 32 + c], expected,
                    1e-5 * (1 + std::abs(lo) * 32))
            << row << " " << t << " " << c;
      }
    }
  }
  EXPECT_EQ(next_pivot, tiles.size());
  EXPECT_GT(turned, 5u);
}

TEST_F(TahquantTest, PlacesOutsideATileAndMarkedShortTilesAreRefused) {
  Matrix x{1, kChannels, std::vector<float>(kChannels, 1)};
  x.at(0, 0) = 100;
  Send(x);
  const std::vector<uint8_t> widths(kChannels, 4);
  const auto coder = MakeCoder({.method = Method::kTahquant}, TensorKind::kActivation, {});
  const auto decode = [&](const Bytes& tiles) {
    std::vector<Section> sections = sent_.sections;
    sections[0].bytes = tiles;
    std::vector<float> out(kChannels);
    coder->Decode(sections, {}, {.widths = widths}, 1, kChannels, out);
  };
  ASSERT_EQ(sent_.sections[0].kind, SectionKind::kTiles);

  EXPECT_NO_THROW(decode({0, 0b001, 31}));
  EXPECT_ERROR(decode({0, 0b001, 32}), Code::kDataLoss, "place 32");
  EXPECT_ERROR(decode({0, 0b100, 0}), Code::kDataLoss, "cannot be turned");
  EXPECT_ERROR(decode({2, 0b001, 0}), Code::kDataLoss, "spare bits");
}

}  // namespace
}  // namespace amaq::quant
