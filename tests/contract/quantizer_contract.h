#ifndef AMAQ_TESTS_CONTRACT_QUANTIZER_CONTRACT_H_
#define AMAQ_TESTS_CONTRACT_QUANTIZER_CONTRACT_H_

// What every Coder must do, whatever the method. A case names a method, one of its tensors and the
// error that it may make, stated from the input alone:
//
//   INSTANTIATE_TEST_SUITE_P(Methods, QuantizerContract, ::testing::ValuesIn(AllCases()),
//   CaseName);

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "core/dtype.h"
#include "quant/coder.h"
#include "quant/entropy.h"
#include "tests/quant/samples.h"
#include "tests/quant/vector_storage.h"

namespace amaq::quant {

// Largest error of element (row, c), given the rows that are not sinks.
using ErrorBound = std::function<double(const Matrix& x, const std::vector<uint32_t>& coded,
                                        int64_t row, int64_t c)>;

struct QuantizerCase {
  std::string name;
  CoderConfig config;
  TensorKind kind = TensorKind::kActivation;
  uint8_t width = 3;  // 0: raw
  Rounding rounding = Rounding::kNearestEven;
  ErrorBound bound;
  bool is_exact_for_zeros = true;  // a channel or tile of zeros comes back as zeros
};

inline void PrintTo(const QuantizerCase& method, std::ostream* out) { *out << method.name; }

inline std::string CaseName(const ::testing::TestParamInfo<QuantizerCase>& info) {
  return info.param.name;
}

class QuantizerContract : public ::testing::TestWithParam<QuantizerCase> {
 protected:
  static constexpr uint64_t kCacheBytes = 1 << 20;

  std::unique_ptr<Coder> NewCoder() const {
    CoderConfig config = GetParam().config;
    config.cache_bytes = kCacheBytes;
    return MakeCoder(config, GetParam().kind, std::make_unique<VectorStorage>(kCacheBytes));
  }

  // A message of these segments; the first row of each is a sink.
  struct Shape {
    std::vector<uint32_t> segments, sinks, row_ids, coded;
    std::vector<uint64_t> keys;
    std::vector<uint8_t> widths;
  };
  Shape ShapeOf(const std::vector<uint32_t>& segments, int64_t channels,
                bool has_sinks = true) const {
    Shape shape;
    shape.segments = segments;
    for (uint32_t row = 0; row < segments.back(); ++row) {
      const bool is_sink = has_sinks && std::ranges::find(segments, row) != segments.end();
      (is_sink ? shape.sinks : shape.coded).push_back(row);
    }
    for (size_t s = 0; s + 1 < segments.size(); ++s) shape.keys.push_back(1000 + s);
    if (GetParam().kind == TensorKind::kGradient) {
      for (uint32_t row = 0; row < segments.back(); ++row) shape.row_ids.push_back(2 * row + 5);
    }
    if (GetParam().width > 0) shape.widths.assign(static_cast<size_t>(channels), GetParam().width);
    return shape;
  }
  MessageContext ContextOf(const Shape& shape, uint32_t micro_batch = 0) const {
    MessageContext context;
    context.widths = shape.widths;
    context.rows = {shape.sinks, shape.row_ids};
    context.rounding = GetParam().rounding;
    context.rounding_key = 99;
    context.samples = SampleContext{shape.segments, shape.keys, {0, 0, micro_batch}};
    return context;
  }

  struct Trip {
    CodedMatrix sent;
    std::vector<float> decoded, received;
  };
  Trip Send(Coder& sender, Coder& receiver, const Matrix& x, const MessageContext& context) const {
    Trip trip;
    trip.decoded.assign(x.values.size(), kUntouched);
    trip.received.assign(x.values.size(), kUntouched);
    trip.sent = sender.Encode(x.view(), context, trip.decoded);
    receiver.Decode(trip.sent.sections, trip.sent.raw_dtype, context, x.rows, x.channels,
                    trip.received);
    return trip;
  }
  Trip Send(const Matrix& x, const Shape& shape) const {
    return Send(*NewCoder(), *NewCoder(), x, ContextOf(shape));
  }

  void ExpectWithinBound(const Matrix& x, const Shape& shape, const std::vector<float>& got) const {
    for (int64_t row = 0; row < x.rows; ++row) {
      const bool is_sink = std::ranges::binary_search(shape.sinks, static_cast<uint32_t>(row));
      for (int64_t c = 0; c < x.channels; ++c) {
        const double value = x.at(row, c);
        const double error = std::abs(value - got[static_cast<size_t>(row * x.channels + c)]);
        const double bf16 = std::abs(value) * 0x1p-8 + 0x1p-133;
        const double bound =
            is_sink ? bf16 : std::max(bf16, GetParam().bound(x, shape.coded, row, c));
        ASSERT_LE(error, bound) << "row " << row << ", channel " << c << ", value " << value;
      }
    }
  }

  // True when it decoded, to finite numbers everywhere; otherwise nothing was written and the
  // receiver is as new.
  bool DecodesOrRefuses(const std::vector<Section>& sections, std::optional<DType> raw_dtype,
                        const Shape& shape, int64_t channels) const {
    const auto rows = static_cast<int64_t>(shape.segments.back());
    std::vector<float> out(static_cast<size_t>(rows * channels), kUntouched);
    const auto receiver = NewCoder();
    const std::optional<Error> error = ErrorOf(
        [&] { receiver->Decode(sections, raw_dtype, ContextOf(shape), rows, channels, out); });
    if (error.has_value()) {
      EXPECT_EQ(error->code(), Code::kDataLoss) << error->message();
      EXPECT_FALSE(error->message().empty());
      EXPECT_THAT(out, ::testing::Each(kUntouched));
      // A memory of nothing has one digest, made or not.
      EXPECT_TRUE(receiver->MemoryDigest() == 0 || receiver->MemoryDigest() == kEmptyDigest);
      return false;
    }
    EXPECT_TRUE(std::ranges::all_of(out, [](float v) { return std::isfinite(v); }));
    EXPECT_EQ(std::ranges::count(out, kUntouched), 0);
    return true;
  }
  static constexpr uint64_t kEmptyDigest = 0x2d06800538d394c2;  // XXH3-64 of no bytes
};

const std::vector<uint32_t> kContractSegments = {0, 9, 10, 31};
inline constexpr int64_t kContractChannels = 83;  // not a multiple of 8, 32 or 64

TEST_P(QuantizerContract, ComesBackWithinItsBoundAndTheSenderKnowsWhatIsSeen) {
  const Matrix x = Activations(1, 31, kContractChannels);
  const Shape shape = ShapeOf(kContractSegments, kContractChannels);

  const Trip trip = Send(x, shape);

  ExpectWithinBound(x, shape, trip.received);
  EXPECT_EQ(trip.decoded, trip.received);
}

TEST_P(QuantizerContract, TheSameMessageHasTheSameBytes) {
  const Matrix x = Activations(2, 31, kContractChannels);
  const Shape shape = ShapeOf(kContractSegments, kContractChannels);

  const Trip first = Send(x, shape);
  const Trip second = Send(x, shape);

  ASSERT_EQ(first.sent.sections.size(), second.sent.sections.size());
  for (size_t i = 0; i < first.sent.sections.size(); ++i) {
    EXPECT_EQ(first.sent.sections[i].kind, second.sent.sections[i].kind);
    EXPECT_EQ(first.sent.sections[i].bytes, second.sent.sections[i].bytes);
  }
  Matrix other = x;
  other.at(20, 3) += 100;
  EXPECT_FALSE(Send(other, shape).received == first.received) << "negative control";
}

TEST_P(QuantizerContract, Bf16InputIsCodedAsItsWidenedValues) {
  Matrix x = Activations(3, 31, kContractChannels);
  std::vector<uint16_t> half;
  for (float& value : x.values) {
    half.push_back(F32ToBF16(value));
    value = BF16ToF32(half.back());
  }
  const Shape shape = ShapeOf(kContractSegments, kContractChannels);

  std::vector<float> decoded(x.values.size());
  NewCoder()->Encode({half.data(), DType::kBF16, x.rows, x.channels}, ContextOf(shape), decoded);

  EXPECT_EQ(decoded, Send(x, shape).received);
}

TEST_P(QuantizerContract, ConstantChannelsStayWithinTheBoundAndZerosAreZeros) {
  Matrix x = Activations(4, 31, kContractChannels);
  for (int64_t row = 0; row < x.rows; ++row) {
    for (int64_t c = 0; c < 64; ++c) x.at(row, c) = 0;  // whole groups and tiles
    x.at(row, 70) = 1234.5f;
  }
  const Shape shape = ShapeOf(kContractSegments, kContractChannels);

  const Trip trip = Send(x, shape);

  ExpectWithinBound(x, shape, trip.received);
  if (!GetParam().is_exact_for_zeros) return;
  for (int64_t row = 0; row < x.rows; ++row) {
    for (int64_t c = 0; c < 64; ++c) {
      EXPECT_EQ(trip.received[static_cast<size_t>(row * x.channels + c)], 0);
    }
  }
}

TEST_P(QuantizerContract, SinkRowsComeBackAsBf16WhateverTheyHold) {
  Matrix x = Activations(5, 31, kContractChannels);
  const Shape shape = ShapeOf(kContractSegments, kContractChannels);
  for (const uint32_t row : shape.sinks) {
    for (int64_t c = 0; c < x.channels; ++c) x.at(row, c) *= 1000;
  }

  const Trip trip = Send(x, shape);

  ExpectWithinBound(x, shape, trip.received);  // the others' ranges do not see them
}

TEST_P(QuantizerContract, OneTokenAndOneTokenSegmentsCross) {
  for (const auto& segments :
       std::vector<std::vector<uint32_t>>{{0, 1}, {0, 1, 2, 3}, {0, 1, 12}}) {
    for (const bool has_sinks : {true, false}) {
      const Matrix x = Activations(6, segments.back(), kContractChannels);
      const Shape shape = ShapeOf(segments, kContractChannels, has_sinks);

      ExpectWithinBound(x, shape, Send(x, shape).received);
    }
  }
}

TEST_P(QuantizerContract, OneChannelCrosses) {
  const Matrix x = Activations(7, 40, 1);
  const Shape shape = ShapeOf({0, 40}, 1);

  ExpectWithinBound(x, shape, Send(x, shape).received);
}

TEST_P(QuantizerContract, NothingIsLargerThanBf16ButForTheNamesOfSamples) {
  for (const uint32_t rows : {1u, 2u, 9u, 60u}) {
    const Matrix x = Activations(8, rows, kContractChannels);
    const Trip trip = Send(x, ShapeOf({0, rows}, kContractChannels));
    uint64_t bytes = 0;
    for (const Section& section : trip.sent.sections) bytes += section.bytes.size();
    const uint64_t raw = SizeOf(GetParam().width > 0 ? DType::kBF16 : GetParam().config.wire_dtype);
    EXPECT_LE(bytes, rows * kContractChannels * raw + 9);
  }
}

TEST_P(QuantizerContract, ValuesThatAreNotFiniteAreNamedAndLeaveNoTrace) {
  const Shape shape = ShapeOf(kContractSegments, kContractChannels);
  const Matrix good = Activations(9, 31, kContractChannels);
  for (const float bad : {std::nanf(""), HUGE_VALF, -HUGE_VALF}) {
    Matrix x = good;
    x.at(12, 81) = bad;
    const auto coder = NewCoder();
    const uint64_t before = coder->MemoryDigest();

    try {
      coder->Encode(x.view(), ContextOf(shape), {});
      ADD_FAILURE() << "no error";
    } catch (const NonFiniteError& error) {
      EXPECT_EQ(error.row(), 12u);
      EXPECT_EQ(error.channel(), 81u);
    }

    EXPECT_TRUE(coder->MemoryDigest() == before || coder->MemoryDigest() == kEmptyDigest);
    EXPECT_EQ(Send(*coder, *NewCoder(), good, ContextOf(shape)).received,
              Send(good, shape).received);
  }
}

TEST_P(QuantizerContract, EvaluationNeedsNoSamplesAndIsForgotten) {
  const Matrix x = Activations(10, 31, kContractChannels);
  const Shape shape = ShapeOf(kContractSegments, kContractChannels);
  MessageContext evaluation = ContextOf(shape);
  evaluation.samples.reset();
  const auto sender = NewCoder();
  const auto receiver = NewCoder();

  const Trip trip = Send(*sender, *receiver, x, evaluation);

  ExpectWithinBound(x, shape, trip.received);
  EXPECT_EQ(trip.decoded, trip.received);
  EXPECT_EQ(sender->MemoryDigest(), NewCoder()->MemoryDigest());
  EXPECT_EQ(receiver->MemoryDigest(), NewCoder()->MemoryDigest());
}

TEST_P(QuantizerContract, EveryTruncationAndExcessOfASectionIsRefused) {
  const Matrix x = Activations(11, 31, kContractChannels);
  const Shape shape = ShapeOf(kContractSegments, kContractChannels);
  const CodedMatrix sent = Send(x, shape).sent;
  ASSERT_TRUE(DecodesOrRefuses(sent.sections, sent.raw_dtype, shape, kContractChannels));
  for (size_t i = 0; i < sent.sections.size(); ++i) {
    SCOPED_TRACE(StrCat("section ", static_cast<uint32_t>(sent.sections[i].kind)));
    const size_t whole = sent.sections[i].bytes.size();
    for (size_t size = 0; size < whole; size += 1 + whole / 97) {
      std::vector<Section> cut = sent.sections;
      cut[i].bytes.resize(size);
      EXPECT_FALSE(DecodesOrRefuses(cut, sent.raw_dtype, shape, kContractChannels)) << size;
    }
    std::vector<Section> longer = sent.sections;
    longer[i].bytes.push_back(0);
    EXPECT_FALSE(DecodesOrRefuses(longer, sent.raw_dtype, shape, kContractChannels));
    std::vector<Section> without = sent.sections;
    without.erase(without.begin() + static_cast<std::ptrdiff_t>(i));
    EXPECT_FALSE(DecodesOrRefuses(without, sent.raw_dtype, shape, kContractChannels));
  }
}

TEST_P(QuantizerContract, ChangedBytesAreRefusedOrDecodeToFiniteNumbers) {
  const Matrix x = Activations(12, 31, kContractChannels);
  const Shape shape = ShapeOf(kContractSegments, kContractChannels);
  const CodedMatrix sent = Send(x, shape).sent;
  Random random(13);
  for (int round = 0; round < 2000; ++round) {
    std::vector<Section> changed = sent.sections;
    Bytes& bytes = changed[random.Below(static_cast<uint32_t>(changed.size()))].bytes;
    if (bytes.empty()) continue;
    constexpr uint8_t kLimits[] = {0x00, 0x01, 0x7f, 0x80, 0xff};
    for (uint32_t i = 0; i <= random.Below(4); ++i) {
      bytes[random.Below(static_cast<uint32_t>(bytes.size()))] = kLimits[random.Below(5)];
    }
    DecodesOrRefuses(changed, sent.raw_dtype, shape, kContractChannels);
  }
}

// Values of a heavy tail, whose codes are far from uniform.
inline Matrix HeavyTail(uint64_t seed, int64_t rows, int64_t channels) {
  Matrix x{rows, channels, std::vector<float>(static_cast<size_t>(rows * channels))};
  Random random(seed);
  for (float& value : x.values) {
    const double normal = random.Normal();
    value = static_cast<float>(normal * std::abs(normal));
  }
  return x;
}

TEST_P(QuantizerContract, ItsCodesPassTheEntropyStageBitForBit) {
  const Shape shape = ShapeOf({0, 9, 10, 300}, kContractChannels);
  const auto sender = NewCoder();
  const auto receiver = NewCoder();
  EntropySender compressor;
  EntropyReceiver restorer;
  for (uint32_t visit = 0; visit < 3; ++visit) {
    const Matrix x = HeavyTail(15 + visit, 300, kContractChannels);
    const MessageContext context = ContextOf(shape, visit);
    std::vector<float> seen(x.values.size());
    const CodedMatrix sent = sender->Encode(x.view(), context, seen);
    std::vector<Section> sections = sent.sections;
    if (!sent.raw_dtype) {
      const CodesShape codes = sender->ShapeOf(sections, context, x.rows);
      ASSERT_EQ(FindSection(sections, SectionKind::kCodes)->size(), codes.CodesBytes());
      compressor.Compress(codes, &sections);
      restorer.Restore(receiver->ShapeOf(sections, context, x.rows), &sections);
    }
    ASSERT_EQ(sections.size(), sent.sections.size());
    for (size_t i = 0; i < sections.size(); ++i) {
      EXPECT_EQ(sections[i].kind, sent.sections[i].kind);
      EXPECT_TRUE(sections[i].bytes == sent.sections[i].bytes) << "section " << i;
    }
    std::vector<float> received(x.values.size());
    receiver->Decode(sections, sent.raw_dtype, context, x.rows, x.channels, received);
    EXPECT_TRUE(received == seen);
  }
  const uint64_t saved = compressor.bytes_in() - compressor.bytes_out();
  EXPECT_EQ(saved > 0, GetParam().width > 0);
  if (saved > 0)
    RecordProperty("saved_percent", static_cast<int>(100 * saved / compressor.bytes_in()));
}

TEST_P(QuantizerContract, AnOutputOrWidthsOfAnotherShapeAreRefused) {
  const Matrix x = Activations(14, 31, kContractChannels);
  const Shape shape = ShapeOf(kContractSegments, kContractChannels);
  const CodedMatrix sent = Send(x, shape).sent;
  std::vector<float> small(x.values.size() - 1, kUntouched);

  EXPECT_ERROR(NewCoder()->Decode(sent.sections, sent.raw_dtype, ContextOf(shape), x.rows,
                                  x.channels, small),
               Code::kInvalidArgument, "does not fit");
  EXPECT_THAT(small, ::testing::Each(kUntouched));
  if (GetParam().width == 0) return;
  Shape narrow = shape;
  narrow.widths.pop_back();
  EXPECT_ERROR(NewCoder()->Encode(x.view(), ContextOf(narrow), {}), Code::kInvalidArgument,
               "one width a channel");
}

}  // namespace amaq::quant

#endif  // AMAQ_TESTS_CONTRACT_QUANTIZER_CONTRACT_H_
