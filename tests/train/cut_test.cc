#include "train/cut.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/rng.h"
#include "tensor/bridge.h"
#include "tests/support/tensor_matchers.h"
#include "tests/support/tiny_model.h"

namespace amaq::train {
namespace {

using test::BitEqual;
using test::NamedTensor;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr int64_t kChannels = 13;
const std::vector<uint32_t> kSegments = {0, 1, 30, 34, 61};  // 1, 29, 4 and 27 rows
constexpr int64_t kRows = 61;

std::vector<uint8_t> Widths() {  // 2...8 and again
  std::vector<uint8_t> widths(kChannels);
  for (size_t c = 0; c < widths.size(); ++c) widths[c] = static_cast<uint8_t>(2 + c % 7);
  return widths;
}

at::Tensor Sample(at::ScalarType type = at::kFloat) {
  return NamedTensor("activation", kRows, kChannels, 3, type);
}

at::Tensor DecodedActivation(const CutOptions& options, const CodedTensor& coded,
                             std::span<const uint8_t> widths, at::ScalarType type = at::kFloat) {
  return CutCoder(options).DecodeActivation(coded.sections, coded.raw_dtype, kSegments, widths,
                                            kChannels, at::kCPU, type);
}

// Of each segment, what was supervised: nothing, a span, the last row but one, a span.
GradientRows SomePlan(uint32_t sink_tokens = 1) {
  return PlanGradientRows(kSegments, std::vector<uint32_t>{10, 11, 12, 32, 40, 41}, sink_tokens);
}

at::Tensor DecodedGradient(const CutOptions& options, const CodedTensor& coded,
                           const GradientRows& plan, std::span<const uint8_t> widths) {
  return CutCoder(options).DecodeGradient(coded.sections, coded.raw_dtype, plan, kRows, widths,
                                          kChannels, at::kCPU, at::kFloat);
}

// Everything but the coded rows of `actual` within the format's error bound of `expected`, where
// half_steps is 1 for rounding to nearest and 2 for stochastic rounding; ranges as ReadRanges.
void ExpectWithinBound(const at::Tensor& actual, const at::Tensor& expected,
                       const std::vector<uint32_t>& rows, const quant::DecodedRanges& ranges,
                       std::span<const uint8_t> widths, double half_steps) {
  for (const uint32_t row : rows) {
    for (int64_t c = 0; c < kChannels; ++c) {
      const auto channel = static_cast<size_t>(c);
      const auto x = actual[row][c].item<double>();
      const auto error = std::abs(x - expected[row][c].item<double>());
      const double levels = std::exp2(widths[channel]) - 1;
      const double step = ranges.step[channel];
      const double bound =
          step * (half_steps / 2 + levels * 0x1p-22) +
          0x1p-23 * std::max(std::abs(static_cast<double>(ranges.lo[channel])), std::abs(x));
      ASSERT_LE(error, bound) << "row " << row << ", channel " << c;
    }
  }
}

std::vector<uint32_t> Without(const std::vector<uint32_t>& rows,
                              const std::vector<uint32_t>& removed) {
  std::vector<uint32_t> left;
  std::set_difference(rows.begin(), rows.end(), removed.begin(), removed.end(),
                      std::back_inserter(left));
  return left;
}

std::vector<uint32_t> AllRows() {
  std::vector<uint32_t> rows(kRows);
  std::iota(rows.begin(), rows.end(), 0u);
  return rows;
}

TEST(SinkRowsTest, AreTheFirstRowsOfEverySegment) {
  EXPECT_THAT(SinkRows(kSegments, 1), ElementsAre(0, 1, 30, 34));
  EXPECT_THAT(SinkRows(kSegments, 2), ElementsAre(0, 1, 2, 30, 31, 34, 35));
  EXPECT_THAT(SinkRows(kSegments, 0), IsEmpty());
}

TEST(PlanGradientRowsTest, EndsEachSegmentAtItsLastSupervisedRow) {
  const std::vector<uint32_t> segments = {0, 5, 9, 12};

  const GradientRows plan = PlanGradientRows(segments, std::vector<uint32_t>{2, 5, 10}, 1);

  EXPECT_THAT(plan.rows, ElementsAre(0, 1, 2, 5, 9, 10));
  EXPECT_THAT(plan.sink_rows, ElementsAre(0, 3, 4));  // places of rows 0, 5 and 9
}

TEST(PlanGradientRowsTest, SkipsASegmentWithoutSupervisedRows) {
  const std::vector<uint32_t> segments = {0, 5, 9, 12};

  const GradientRows plan = PlanGradientRows(segments, std::vector<uint32_t>{1, 11}, 1);

  EXPECT_THAT(plan.rows, ElementsAre(0, 1, 9, 10, 11));
  EXPECT_THAT(plan.sink_rows, ElementsAre(0, 2));
}

TEST(PlanGradientRowsTest, TakesOneTokenSegmentsAsSinksAlone) {
  const std::vector<uint32_t> segments = {0, 1, 2, 4};

  const GradientRows plan = PlanGradientRows(segments, std::vector<uint32_t>{1, 2}, 1);

  EXPECT_THAT(plan.rows, ElementsAre(1, 2));
  EXPECT_THAT(plan.sink_rows, ElementsAre(0, 1));
}

TEST(PlanGradientRowsTest, IsEmptyWithoutSupervisionAndHasNoSinksWhenNoneAreWanted) {
  EXPECT_THAT(PlanGradientRows(kSegments, {}, 1).rows, IsEmpty());
  EXPECT_THAT(SomePlan(0).sink_rows, IsEmpty());
  EXPECT_EQ(SomePlan(0).rows, SomePlan(1).rows);
}

// The rest of amaq-rd is in rd_activation_test.cc.
TEST(CutCoderTest, RdOptionsReachItsActivations) {
  CutOptions options;
  options.method = quant::Method::kAmaqRd;
  options.rd_rate.target_bits = 3;
  const auto state = [&](bool remembers, double dead_zone) {
    options.rd_memory = remembers;
    options.rd_dead_zone = dead_zone;
    CutCoder coder(options);
    Moments moments(kChannels);
    moments.Add(Sample(), SinkRows(kSegments, 1));
    coder.rd()->SetBasis(FitBasis(quant::Transform::kNone, moments, 1), at::kCPU);
    const quant::SampleContext samples = {kSegments, {}, {0, 0, 0}};
    coder.EncodeActivation(Sample(), kSegments, {}, samples);
    coder.KeepSteps(1);
    return coder.rd()->State();
  };
  EXPECT_TRUE(state(true, 0.15).contains("rd.kinds"));
  EXPECT_FALSE(state(false, 0.15).contains("rd.kinds"));
  EXPECT_NE(state(false, 0.15).at("rd.model"), state(false, 0.3).at("rd.model"));
}

TEST(CutCoderTest, WhoAgreedOnNoMemoryOfRowsRefusesKinds) {
  for (const bool remembers : {true, false}) {
    CutOptions options;
    options.method = quant::Method::kAmaqRd;
    options.rd_rate.target_bits = 3;
    Moments moments(kChannels);
    moments.Add(Sample(), SinkRows(kSegments, 1));
    CutCoder sender(options);
    options.rd_memory = remembers;
    CutCoder receiver(options);
    for (CutCoder* coder : {&sender, &receiver}) {
      coder->rd()->SetBasis(FitBasis(quant::Transform::kNone, moments, 1), at::kCPU);
    }
    const quant::MessagePlace place = {0, 0, 0};
    const auto sections = sender.rd()->Encode(Sample(), kSegments, place).value();
    if (remembers) {
      EXPECT_NO_THROW(receiver.rd()->Decode(sections, kSegments, place));
    } else {
      EXPECT_THROWS(receiver.rd()->Decode(sections, kSegments, place), Code::kDataLoss,
                    "without a memory are of kinds");
    }
  }
}

TEST(CoderBytesTest, CountsWhatGrowsWithTheModelsWidth) {
  CutOptions options;
  EXPECT_EQ(CoderBytes(options, 4096), 0u);
  options.gradient_rate = 1;
  const uint64_t gradient = CoderBytes(options, 4096);
  EXPECT_GT(gradient, uint64_t{1} << 20);
  EXPECT_LT(gradient, uint64_t{4} << 20);
  options.method = quant::Method::kAmaqRd;
  const uint64_t with_memory = CoderBytes(options, 4096);
  options.rd_memory = false;
  const uint64_t without = CoderBytes(options, 4096);
  EXPECT_GE(without - gradient, uint64_t{14} * 4096 * 4096);
  EXPECT_GE(with_memory - without, uint64_t{2} * 4095 * 4096 * 4);
}

TEST(GradientWidthsTest, AreTheForwardWidthsUnlessANumberOrAnOffsetSaysOtherwise) {
  CutOptions options;
  const std::vector<uint8_t> forward = {2, 4, 7, 8};

  EXPECT_THAT(GradientWidths(options, forward), ElementsAre(2, 4, 7, 8));
  options.gradient_bits_offset = 1;
  EXPECT_THAT(GradientWidths(options, forward), ElementsAre(3, 5, 8, 8));
  options.gradient_bits_offset = -3;
  EXPECT_THAT(GradientWidths(options, forward), ElementsAre(2, 2, 4, 5));
  options.gradient_bits = 6;
  EXPECT_THAT(GradientWidths(options, forward), ElementsAre(6, 6, 6, 6));
}

TEST(GradientWidthsTest, StayEmptyWhenTheForwardTensorWasRaw) {
  CutOptions options;
  options.gradient_bits = 4;

  EXPECT_THAT(GradientWidths(options, {}), IsEmpty());
}

TEST(ActivationTest, RawFp32ComesBackBitForBit) {
  CutOptions options;
  options.wire_dtype = DType::kF32;
  const at::Tensor x = Sample();

  const CodedTensor coded = CutCoder(options).EncodeActivation(x, kSegments, {});

  EXPECT_EQ(coded.raw_dtype, DType::kF32);
  EXPECT_TRUE(BitEqual(DecodedActivation(options, coded, {}), x));
}

TEST(ActivationTest, RawBf16OfABf16ModelComesBackBitForBitAndRoundsFp32) {
  const CutOptions options;
  const at::Tensor x = Sample(at::kBFloat16);

  const CodedTensor coded = CutCoder(options).EncodeActivation(x, kSegments, {});
  const CodedTensor rounded = CutCoder(options).EncodeActivation(Sample(), kSegments, {});

  EXPECT_EQ(coded.raw_dtype, DType::kBF16);
  EXPECT_TRUE(BitEqual(DecodedActivation(options, coded, {}, at::kBFloat16), x));
  EXPECT_TRUE(BitEqual(DecodedActivation(options, rounded, {}, at::kBFloat16), x));
}

TEST(ActivationTest, CodedRowsComeBackWithinTheirBoundAndSinksAsBf16) {
  const CutOptions options;
  const std::vector<uint8_t> widths = Widths();
  const at::Tensor x = Sample();

  const CodedTensor coded = CutCoder(options).EncodeActivation(x, kSegments, widths);
  const at::Tensor decoded = DecodedActivation(options, coded, widths);

  ASSERT_FALSE(coded.raw_dtype.has_value());
  const std::vector<uint32_t> sinks = SinkRows(kSegments, 1);
  ExpectWithinBound(decoded, x, Without(AllRows(), sinks),
                    quant::ReadRanges(coded.sections, widths), widths, 1);
  for (const uint32_t row : sinks) {
    EXPECT_TRUE(BitEqual(decoded[row], x[row].to(at::kBFloat16).to(at::kFloat))) << row;
  }
}

TEST(ActivationTest, ASinkRowDoesNotWidenTheRanges) {
  const CutOptions options;
  const std::vector<uint8_t> widths = Widths();
  const at::Tensor x = Sample();
  const CodedTensor before = CutCoder(options).EncodeActivation(x, kSegments, widths);

  x[30].mul_(1000);
  const CodedTensor after = CutCoder(options).EncodeActivation(x, kSegments, widths);
  x[31].mul_(1000);
  const CodedTensor widened = CutCoder(options).EncodeActivation(x, kSegments, widths);

  const auto steps = [&](const CodedTensor& coded) {
    return quant::ReadRanges(coded.sections, widths).step;
  };
  EXPECT_EQ(steps(after), steps(before));
  EXPECT_NE(steps(widened), steps(before));
}

TEST(ActivationTest, AMessageThatWouldNotBeSmallerThanBf16IsSentAsBf16) {
  const CutOptions options;
  const std::vector<uint8_t> widths(kChannels, 8);
  const std::vector<uint32_t> two_rows = {0, 2};  // one sink row and one coded row
  const at::Tensor x = Sample().narrow(0, 0, 2);

  const CodedTensor coded = CutCoder(options).EncodeActivation(x, two_rows, widths);
  const at::Tensor decoded = CutCoder(options).DecodeActivation(
      coded.sections, coded.raw_dtype, two_rows, widths, kChannels, at::kCPU, at::kFloat);

  ASSERT_EQ(coded.raw_dtype, DType::kBF16);
  ASSERT_EQ(coded.sections.size(), 1u);
  EXPECT_EQ(coded.sections[0].bytes.size(), 2u * kChannels * 2);
  EXPECT_TRUE(BitEqual(decoded, x.to(at::kBFloat16).to(at::kFloat)));
}

TEST(ActivationTest, FallsBackExactlyWhereTheCodedMessageWouldReachBf16) {
  const CutOptions options;
  const std::vector<uint8_t> widths(kChannels, 8);
  for (uint32_t rows = 2; rows < 40; ++rows) {
    const std::vector<uint32_t> segments = {0, rows};
    const at::Tensor x = Sample().narrow(0, 0, rows);
    const std::vector<uint32_t> sinks = SinkRows(segments, 1);
    uint64_t coded_bytes = 0;
    for (const Section& section : quant::Encode(tensor::ViewMatrix(x), widths, {sinks, {}}, {})) {
      coded_bytes += section.bytes.size();
    }

    const bool is_raw =
        CutCoder(options).EncodeActivation(x, segments, widths).raw_dtype.has_value();

    EXPECT_EQ(is_raw, coded_bytes >= rows * kChannels * 2) << rows << " rows";
  }
}

TEST(ActivationTest, OfTwoMessagesOfTheSameSizeTheExactOneIsSent) {
  // A bitmap of 1 byte, 8 ranges of 4, a sink row of 16 and one group of 31 bits in 8 rows: 80
  // bytes, as are 5 rows of 8 channels in bf16.
  const std::vector<uint8_t> widths = {4, 4, 4, 4, 4, 4, 4, 3};
  const std::vector<uint32_t> segments = {0, 5};
  const at::Tensor x = NamedTensor("even", 5, 8, 3, at::kFloat);
  x[1].fill_(-4);  // so that every lo is a bf16 number
  const std::vector<uint32_t> sinks = {0};
  uint64_t coded_bytes = 0;
  for (const Section& section : quant::Encode(tensor::ViewMatrix(x), widths, {sinks, {}}, {})) {
    coded_bytes += section.bytes.size();
  }
  ASSERT_EQ(coded_bytes, 80u);

  EXPECT_EQ(CutCoder({}).EncodeActivation(x, segments, widths).raw_dtype, DType::kBF16);
}

TEST(ActivationTest, SegmentsOfOneTokenCrossAsSinksAlone) {
  const CutOptions options;
  const std::vector<uint32_t> segments = {0, 1, 2, 3};
  const at::Tensor x = Sample().narrow(0, 0, 3);

  const CodedTensor coded = CutCoder(options).EncodeActivation(x, segments, Widths());
  const at::Tensor decoded = CutCoder(options).DecodeActivation(
      coded.sections, coded.raw_dtype, segments, Widths(), kChannels, at::kCPU, at::kFloat);

  EXPECT_TRUE(BitEqual(decoded, x.to(at::kBFloat16).to(at::kFloat)));
}

TEST(ActivationTest, AnFp64TensorIsNarrowedAndDecodesIntoTheAskedType) {
  CutOptions options;
  options.wire_dtype = DType::kF32;

  const CodedTensor coded = CutCoder(options).EncodeActivation(Sample(at::kDouble), kSegments, {});

  EXPECT_TRUE(BitEqual(DecodedActivation(options, coded, {}, at::kDouble), Sample(at::kDouble)));
}

TEST(ActivationTest, AValueThatIsNotFiniteIsRefusedWithItsRowAndChannel) {
  const at::Tensor x = Sample();
  x[17][4].fill_(NAN);

  for (const std::vector<uint8_t>& widths : {Widths(), std::vector<uint8_t>{}}) {
    try {
      CutCoder({}).EncodeActivation(x, kSegments, widths);
      FAIL() << "a NaN was coded";
    } catch (const quant::NonFiniteError& error) {
      EXPECT_EQ(error.row(), 17u);
      EXPECT_EQ(error.channel(), 4u);
    }
  }
}

TEST(GradientTest, RawFp32ComesBackBitForBitWithZerosWhereNothingWasSent) {
  CutOptions options;
  options.wire_dtype = DType::kF32;
  const GradientRows plan = SomePlan();
  const at::Tensor gradient = Sample();

  const CodedTensor coded = CutCoder(options).EncodeGradient(gradient, plan, {}, {7, 1});
  const at::Tensor decoded = DecodedGradient(options, coded, plan, {});

  EXPECT_EQ(coded.sections[0].bytes.size(), plan.rows.size() * kChannels * 4);
  for (uint32_t row = 0; row < kRows; ++row) {
    const bool sent = std::binary_search(plan.rows.begin(), plan.rows.end(), row);
    const at::Tensor expected = sent ? gradient[row] : (gradient[row] * 0).abs();
    EXPECT_TRUE(BitEqual(decoded[row], expected)) << row;
  }
}

TEST(GradientTest, CodedRowsComeBackWithinAStepAndSinksAsBf16) {
  const CutOptions options;  // stochastic rounding
  const std::vector<uint8_t> widths = Widths();
  const GradientRows plan = SomePlan();
  const at::Tensor gradient = Sample();

  const CodedTensor coded = CutCoder(options).EncodeGradient(gradient, plan, widths, {7, 1});
  const at::Tensor decoded = DecodedGradient(options, coded, plan, widths);

  ASSERT_FALSE(coded.raw_dtype.has_value());
  std::vector<uint32_t> sinks;
  for (const uint32_t place : plan.sink_rows) sinks.push_back(plan.rows[place]);
  EXPECT_THAT(sinks, ElementsAre(1, 30, 34));
  ExpectWithinBound(decoded, gradient, Without(plan.rows, sinks),
                    quant::ReadRanges(coded.sections, widths), widths, 2);
  for (const uint32_t row : sinks) {
    EXPECT_TRUE(BitEqual(decoded[row], gradient[row].to(at::kBFloat16).to(at::kFloat))) << row;
  }
  for (const uint32_t row : Without(AllRows(), plan.rows)) {
    EXPECT_EQ(decoded[row].abs().max().item<float>(), 0) << row;
  }
}

TEST(GradientTest, RoundsToNearestWhenToldSo) {
  CutOptions options;
  options.gradient_rounding = quant::Rounding::kNearestEven;
  const std::vector<uint8_t> widths = Widths();
  const GradientRows plan = SomePlan(0);

  const CodedTensor coded = CutCoder(options).EncodeGradient(Sample(), plan, widths, {7, 1});

  ExpectWithinBound(DecodedGradient(options, coded, plan, widths), Sample(), plan.rows,
                    quant::ReadRanges(coded.sections, widths), widths, 1);
}

TEST(GradientTest, StochasticRoundingIsKeyedBySeedCutStepAndMicroBatch) {
  CutOptions options;
  options.seed = 11;
  options.cut = 2;
  const std::vector<uint8_t> widths = Widths();
  const GradientRows plan = SomePlan();
  const auto codes = [&](const CutOptions& with, const MicroBatchId& id) {
    return *FindSection(CutCoder(with).EncodeGradient(Sample(), plan, widths, id).sections,
                        SectionKind::kCodes);
  };
  const Bytes before = codes(options, {7, 1});
  CutOptions other_seed = options;
  other_seed.seed = 12;
  CutOptions other_cut = options;
  other_cut.cut = 3;

  EXPECT_EQ(codes(options, {7, 1}), before);
  EXPECT_NE(codes(options, {8, 1}), before);
  EXPECT_NE(codes(options, {7, 2}), before);
  EXPECT_NE(codes(other_seed, {7, 1}), before);
  EXPECT_NE(codes(other_cut, {7, 1}), before);
}

TEST(GradientTest, TheCounterOfARowIsItsNumberInTheWholeMicroBatch) {
  // The design's key and counters, written out: direction 2 is backward, rows count over all N.
  CutOptions options;
  options.seed = 11;
  options.cut = 2;
  const std::vector<uint8_t> widths = Widths();
  const GradientRows plan = SomePlan();
  const at::Tensor sent = Sample().index_select(0, tensor::FromRows(plan.rows, at::kCPU));

  const CodedTensor coded = CutCoder(options).EncodeGradient(Sample(), plan, widths, {7, 1});

  const std::vector<Section> expected = quant::Encode(
      tensor::ViewMatrix(sent), widths, {plan.sink_rows, plan.rows},
      {options.range, quant::Rounding::kStochastic, StochasticRoundingKey(11, 2, 2, 7, 1)});
  ASSERT_EQ(coded.sections.size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_EQ(coded.sections[i].bytes, expected[i].bytes) << i;
  }
}

TEST(GradientTest, WithoutSupervisedRowsAnEmptyMessageDecodesToZeros) {
  const GradientRows plan = PlanGradientRows(kSegments, {}, 1);
  for (const std::vector<uint8_t>& widths : {Widths(), std::vector<uint8_t>{}}) {
    const CodedTensor coded = CutCoder({}).EncodeGradient(Sample(), plan, widths, {7, 1});

    const at::Tensor decoded = DecodedGradient({}, coded, plan, widths);

    EXPECT_EQ(decoded.sizes(), (std::vector<int64_t>{kRows, kChannels}));
    EXPECT_EQ(decoded.abs().max().item<float>(), 0);
  }
}

TEST(GradientTest, AValueThatIsNotFiniteIsNamedByItsPlaceAmongTheRowsSent) {
  const GradientRows plan = SomePlan();
  const at::Tensor gradient = Sample();
  gradient[32][5].fill_(INFINITY);

  try {
    CutCoder({}).EncodeGradient(gradient, plan, Widths(), {7, 1});
    FAIL() << "an infinity was coded";
  } catch (const quant::NonFiniteError& error) {
    EXPECT_EQ(plan.rows[error.row()], 32u);
    EXPECT_EQ(error.channel(), 5u);
  }
}

TEST(GradientTest, ARowThatIsNotSentMayHoldAnything) {
  const GradientRows plan = SomePlan();
  const at::Tensor gradient = Sample();
  gradient[60].fill_(NAN);

  EXPECT_NO_THROW(CutCoder({}).EncodeGradient(gradient, plan, Widths(), {7, 1}));
}

}  // namespace
}  // namespace amaq::train
