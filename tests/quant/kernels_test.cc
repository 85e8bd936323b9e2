// Every kernel set against the scalar one: bytes and floats must be the same, bit for bit.

#include "quant/kernels.h"

#include <cstdlib>
#include <cstring>
#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "quant/codec.h"
#include "quant/octet.h"
#include "quant/range.h"
#include "tests/quant/samples.h"

namespace amaq::quant {
namespace {

constexpr uint8_t kMixed = 9;   // widths drawn from 0...8
constexpr uint8_t kUsual = 10;  // widths drawn from 2...8
constexpr uint8_t kCanary = 0xa5;

enum class Input {
  kRandom,
  kConstant,
  kRamp,
  kHalfWay,
  kNaN,
  kInfinity,
  kDenormal,
  kMinusZero,
  kOutlier
};
constexpr Input kInputs[] = {Input::kRandom,   Input::kConstant,  Input::kRamp,
                             Input::kHalfWay,  Input::kNaN,       Input::kInfinity,
                             Input::kDenormal, Input::kMinusZero, Input::kOutlier};

float ValueOf(Input input, Random* random, size_t row, size_t channel, size_t index, size_t count) {
  const auto noise = static_cast<float>(random->Normal());
  switch (input) {
    case Input::kRandom:
      return noise * static_cast<float>(1 + channel % 5);
    case Input::kConstant:
      return 1.25f + static_cast<float>(channel);
    case Input::kRamp:
      return static_cast<float>(row) * 0.37f - static_cast<float>(channel);
    case Input::kHalfWay:  // of ranges whose step is a power of two
      return static_cast<float>(random->Below(511)) * 0.5f;
    case Input::kNaN:
      return index == count / 2 ? std::numeric_limits<float>::quiet_NaN() : noise;
    case Input::kInfinity:
      return index == count - 1 ? -std::numeric_limits<float>::infinity() : noise;
    case Input::kDenormal:  // of each type
      return noise * (channel % 3 == 0 ? 1e-41f : channel % 3 == 1 ? 1e-39f : 1e-7f);
    case Input::kMinusZero:
      return random->Below(2) == 0 ? -0.0f : random->Below(2) == 0 ? 0.0f : noise;
    case Input::kOutlier:
      return index == count / 3 ? 60000.0f : noise;
  }
  return 0;
}

// A matrix in `dtype` whose first element is `misalignment` bytes off.
struct Samples {
  Samples(Input input, DType type, size_t num_rows, size_t num_channels, size_t misalignment)
      : bytes(num_rows * num_channels * SizeOf(type) + misalignment), dtype(type) {
    Random random(num_rows * 1009 + num_channels);
    const size_t count = num_rows * num_channels;
    for (size_t i = 0; i < count; ++i) {
      const float value = ValueOf(input, &random, i / num_channels, i % num_channels, i, count);
      const uint16_t half = dtype == DType::kBF16 ? F32ToBF16(value) : F32ToF16(value);
      const void* source = dtype == DType::kF32 ? static_cast<const void*>(&value) : &half;
      std::memcpy(bytes.data() + misalignment + i * SizeOf(type), source, SizeOf(type));
    }
    for (uint32_t row = 0; row < num_rows; ++row) rows.push_back(row);
    x = {bytes.data() + misalignment, type, num_channels, rows};
  }

  Bytes bytes;
  DType dtype;
  std::vector<uint32_t> rows;
  CodedRows x;
};

struct Case {
  uint8_t width;
  size_t rows, channels, misalignment;
  Input input;
  DType dtype;
  Rounding rounding;
  bool nested;

  std::string Name() const {
    return StrCat("width ", int{width}, ", rows ", rows, ", channels ", channels, ", off by ",
                  misalignment, ", input ", static_cast<int>(input), ", ", DTypeName(dtype),
                  rounding == Rounding::kStochastic ? ", stochastic" : "",
                  nested ? ", nested" : "");
  }
};

// All that a set makes of a case.
struct Result {
  bool finite = true;
  std::vector<float> lo, hi;
  Bytes codes;  // with canaries before and behind
  std::vector<float> values;
  std::vector<double> energy, error_dot;

  bool operator==(const Result& other) const {
    const auto same = [](const auto& a, const auto& b) {
      return a.size() == b.size() &&
             (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(a[0])) == 0);
    };
    return finite == other.finite && same(codes, other.codes) && same(values, other.values) &&
           same(energy, other.energy) && same(error_dot, other.error_dot);
  }
};

std::vector<uint8_t> WidthsOf(const Case& c) {
  Random random(c.channels);
  std::vector<uint8_t> widths(c.channels, c.width);
  for (uint8_t& width : widths) {
    if (c.width == kMixed) width = static_cast<uint8_t>(random.Below(9));
    if (c.width == kUsual) width = static_cast<uint8_t>(2 + random.Below(7));
  }
  return widths;
}

// In two slices, the second first: what a slice writes too much shows.
Result ResultOf(const KernelSet& set, const Case& c, const Samples& samples) {
  const std::vector<uint8_t> widths = WidthsOf(c);
  Result result;
  result.lo.assign(c.channels, std::numeric_limits<float>::infinity());
  result.hi.assign(c.channels, -std::numeric_limits<float>::infinity());
  const size_t cut = c.channels / 3;
  const ChannelSlice slices[] = {{cut, c.channels}, {0, cut}};
  if (c.rows == 0) return result;
  for (const ChannelSlice slice : slices) {
    result.finite &= set.extremes(samples.x, slice, result.lo.data(), result.hi.data());
  }
  if (!result.finite) return result;
  ChannelTables tables(widths, c.nested);
  tables.clips = c.misalignment == 0;  // both promises hold here
  ChannelTables decoded(widths, false);
  for (size_t i = 0; i < c.channels; ++i) {
    const ChannelRange range =
        RangeOf(result.lo[i], result.hi[i], widths[i], Range::kMinMax, c.nested);
    tables.Set(i, range);
    decoded.Set(i, range);
  }
  const uint64_t group_bytes = GroupBytes(widths);
  const uint64_t bytes = CodesBytes(c.rows, widths);
  result.codes.assign(c.misalignment + bytes + kCanary, kCanary);
  for (const ChannelSlice slice : slices) {
    const uint64_t before = GroupBytes(std::span(widths).first(slice.begin));
    set.encode(samples.x, slice, tables, {c.rounding, 0x1234567890abcdefull, {}},
               {result.codes.data() + c.misalignment + before, group_bytes});
  }
  result.values.assign(c.rows * c.channels + c.misalignment, -1);
  result.energy.assign(c.channels, 0);
  result.error_dot.assign(c.channels, 0);
  const GateSumsJob job{samples.x, &tables, result.error_dot.data(), result.energy.data()};
  // An exact copy: reading behind its end is seen by the address sanitizer.
  const Bytes exact(result.codes.begin() + static_cast<ptrdiff_t>(c.misalignment),
                    result.codes.begin() + static_cast<ptrdiff_t>(c.misalignment + bytes));
  for (const ChannelSlice slice : slices) {
    const uint64_t before = GroupBytes(std::span(widths).first(slice.begin));
    set.decode({exact.data() + before, exact.size() - before, group_bytes}, slice, decoded,
               {result.values.data() + c.misalignment, c.channels, samples.rows}, &job);
  }
  std::vector<float> plain(result.values.size(), -1);
  set.decode({exact.data(), exact.size(), group_bytes}, {0, c.channels}, decoded,
             {plain.data() + c.misalignment, c.channels, samples.rows}, nullptr);
  EXPECT_EQ(std::memcmp(plain.data(), result.values.data(), plain.size() * sizeof(float)), 0)
      << set.name << " decodes otherwise without the sums: " << c.Name();
  return result;
}

constexpr size_t kSizes[] = {0, 1, 7, 8, 9, 31, 32, 33, 1000};

class KernelParity : public ::testing::TestWithParam<std::tuple<DType, int>> {
 protected:
  // Every width at small sizes; sizes of 1000 with mixed widths only.
  template <typename Visit>
  void ForEachCase(const Visit& visit) {
    const int how = std::get<1>(GetParam());
    for (const size_t rows : kSizes) {
      for (const size_t channels : kSizes) {
        if (channels == 0 || rows * channels > 33000) continue;
        const bool is_large = rows == 1000 || channels == 1000;
        for (uint8_t width = is_large ? kMixed : 0; width <= kUsual; ++width) {
          for (const size_t misalignment : {size_t{0}, size_t{1}, size_t{3}}) {
            for (const Input input : kInputs) {
              visit(Case{width, rows, channels, misalignment, input, std::get<0>(GetParam()),
                         how == 1 ? Rounding::kStochastic : Rounding::kNearestEven, how == 2});
            }
          }
        }
      }
    }
  }
};

TEST_P(KernelParity, EverySetGivesTheBytesAndFloatsOfTheScalarOne) {
  const std::span<const KernelSet> sets = AllKernelSets();
  uint64_t cases = 0;
  std::string names;
  for (const KernelSet& set : sets.subspan(1)) names += StrCat(" ", set.name);
  ForEachCase([&](const Case& c) {
    const Samples samples(c.input, c.dtype, c.rows, c.channels, c.misalignment);
    const Result expected = ResultOf(sets.front(), c, samples);
    for (const KernelSet& set : sets.subspan(1)) {
      ++cases;
      ASSERT_TRUE(ResultOf(set, c, samples) == expected) << set.name << ": " << c.Name();
    }
  });
  std::printf("[ sets     ] %llu cases equal to scalar's, sets run:%s\n",
              static_cast<unsigned long long>(cases), names.c_str());
}

std::string ParameterName(const ::testing::TestParamInfo<std::tuple<DType, int>>& parameter) {
  const char* const how[] = {"Nearest", "Stochastic", "Nested"};
  return std::string(DTypeName(std::get<0>(parameter.param))) + how[std::get<1>(parameter.param)];
}

INSTANTIATE_TEST_SUITE_P(All, KernelParity,
                         ::testing::Combine(::testing::Values(DType::kF32, DType::kBF16,
                                                              DType::kF16),
                                            ::testing::Values(0, 1, 2)),
                         ParameterName);

TEST(KernelsTest, OneCodeChangedByOneIsCaught) {
  const Case c{kUsual, 9, 33, 0, Input::kRandom, DType::kF32, Rounding::kNearestEven, false};
  const Samples samples(c.input, c.dtype, c.rows, c.channels, 0);
  const Result expected = ResultOf(AllKernelSets().front(), c, samples);
  Result wrong = expected;
  wrong.codes[17] = static_cast<uint8_t>(wrong.codes[17] + 1);
  EXPECT_FALSE(wrong == expected);
  wrong = expected;
  wrong.values[5] = std::nextafter(wrong.values[5], 1000.0f);
  EXPECT_FALSE(wrong == expected);
}

// Counts the calls that reach a set.
struct Calls {
  int extremes = 0, encode = 0, decode = 0;
};
Calls calls;

TEST(KernelsTest, TheSetThatIsAskedForRuns) {
  KernelSet spy = AllKernelSets().back();
  spy.extremes = [](const CodedRows& x, ChannelSlice slice, float* lo, float* hi) {
    ++calls.extremes;
    return AllKernelSets().back().extremes(x, slice, lo, hi);
  };
  spy.encode = [](const CodedRows& x, ChannelSlice slice, const ChannelTables& tables,
                  const RoundingSpec& rounding, const CodeBytes& out) {
    ++calls.encode;
    AllKernelSets().back().encode(x, slice, tables, rounding, out);
  };
  spy.decode = [](const CodeView& codes, ChannelSlice slice, const ChannelTables& tables,
                  const DecodedRows& out, const GateSumsJob* sums) {
    ++calls.decode;
    AllKernelSets().back().decode(codes, slice, tables, out, sums);
  };
  calls = {};
  const Matrix x = Activations(1, 20, 40);
  const std::vector<uint8_t> widths(40, 3);
  EncodeOptions options;
  options.kernels = &spy;
  const std::vector<Section> sections = Encode(x.view(), widths, {}, options);
  std::vector<float> out(x.values.size());
  Decode(sections, widths, {}, 20, 40, out, &spy);
  EXPECT_EQ(calls.extremes, 1);
  EXPECT_EQ(calls.encode, 1);
  EXPECT_EQ(calls.decode, 1);
}

TEST(KernelsTest, SetsHaveNamesAndCodeOfTheirOwnAndTheFirstIsScalar) {
  const std::span<const KernelSet> sets = AllKernelSets();
  EXPECT_EQ(sets.front().name, "scalar");
  for (size_t i = 0; i < sets.size(); ++i) {
    for (size_t j = 0; j < i; ++j) {
      EXPECT_NE(sets[i].name, sets[j].name);
      EXPECT_NE(sets[i].encode, sets[j].encode);
      EXPECT_NE(sets[i].decode, sets[j].decode);
      EXPECT_NE(sets[i].extremes, sets[j].extremes);
    }
  }
}

// In a process of its own, as the choice is made once.
TEST(KernelsDeathTest, TheVariableForcesTheSet) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  for (const KernelSet& set : AllKernelSets()) {
    const std::string name(set.name);
    EXPECT_EXIT(
        {
          setenv("AMAQ_SIMD", name.c_str(), 1);
          std::fprintf(stderr, "<%s>", std::string(ActiveKernelSet().name).c_str());
          std::exit(0);
        },
        ::testing::ExitedWithCode(0), "<" + name + ">");
  }
}

TEST(KernelsTest, AnUnknownSetIsRefusedNamingThoseThatThereAre) {
  EXPECT_ERROR(FindKernelSet("mmx"), Code::kInvalidArgument, "got \"mmx\"");
  EXPECT_ERROR(FindKernelSet(""), Code::kInvalidArgument, "scalar");
}

TEST(KernelsTest, EverySetNamesTheFirstValueThatIsNotFinite) {
  for (const KernelSet& set : AllKernelSets()) {
    Matrix x = Activations(3, 40, 70);
    x.at(17, 69) = std::numeric_limits<float>::infinity();
    x.at(18, 2) = std::numeric_limits<float>::quiet_NaN();
    EncodeOptions options;
    options.kernels = &set;
    const std::vector<uint8_t> widths(70, 4);
    EXPECT_ERROR(Encode(x.view(), widths, {}, options), Code::kInvalidArgument,
                 "row 17, channel 69 is inf");
  }
}

// Finite, but a sum of a few of them is not.
TEST(KernelsTest, LargeFiniteValuesAreCoded) {
  for (const KernelSet& set : AllKernelSets()) {
    Matrix x = Activations(3, 16, 64);
    for (int64_t n = 0; n < 16; ++n) x.at(n, 5) = n < 8 ? 1.5e38f : 1.4e38f;
    for (int64_t n = 0; n < 16; ++n) x.at(n, 6) = n < 8 ? -1.5e38f : -1.4e38f;
    for (int64_t n = 0; n < 16; ++n) x.at(n, 7) = n % 4 < 2 ? 1.6e38f : -1.6e38f;
    EncodeOptions options;
    const std::vector<uint8_t> widths(64, 4);
    const std::vector<Section> expected = Encode(x.view(), widths, {}, options);
    options.kernels = &set;
    const std::vector<Section> sections = Encode(x.view(), widths, {}, options);
    EXPECT_EQ(sections.back().bytes, expected.back().bytes) << set.name;
  }
}

}  // namespace
}  // namespace amaq::quant
