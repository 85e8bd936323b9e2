// Later visits of aqsgd and amaq-delta, against the update written out once more.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "quant/coder.h"
#include "tests/quant/samples.h"
#include "tests/quant/vector_storage.h"

namespace amaq::quant {
namespace {

constexpr int64_t kChannels = 40;
const std::vector<uint32_t> kSegments = {0, 12, 30};
const std::vector<uint32_t> kSinks = {0, 12};
constexpr int64_t kRows = 30;

uint64_t BytesOf(const CodedMatrix& coded) {
  uint64_t total = 0;
  for (const Section& section : coded.sections) total += section.bytes.size();
  return total;
}

class DeltaCoderTest : public ::testing::TestWithParam<Method> {
 protected:
  static std::unique_ptr<Coder> NewCoder(Method method, uint64_t cache_bytes = 1 << 20) {
    return MakeCoder({.method = method, .cache_bytes = cache_bytes}, TensorKind::kActivation,
                     std::make_unique<VectorStorage>(cache_bytes));
  }
  DeltaCoderTest() : sender_(NewCoder(GetParam())), receiver_(NewCoder(GetParam())) {}

  MessageContext Context(uint64_t step, uint32_t attempt = 0) const {
    MessageContext context;
    context.widths = widths_;
    context.rows = {kSinks, {}};
    context.samples = SampleContext{kSegments, keys_, {step, attempt, 0}};
    return context;
  }
  // Sends x; the receiver must see what the sender thinks it sees.
  std::vector<float> Send(const Matrix& x, uint64_t step, uint32_t attempt = 0) {
    std::vector<float> seen(x.values.size());
    std::vector<float> received(x.values.size());
    sent_ = sender_->Encode(x.view(), Context(step, attempt), seen);
    receiver_->Decode(sent_.sections, sent_.raw_dtype, Context(step, attempt), x.rows, x.channels,
                      received);
    EXPECT_EQ(seen, received);
    EXPECT_EQ(sender_->MemoryDigest(), receiver_->MemoryDigest());
    return received;
  }
  static Matrix Near(const Matrix& x, uint64_t seed, float distance) {
    Matrix y = Activations(seed, x.rows, x.channels);
    for (size_t i = 0; i < y.values.size(); ++i) {
      y.values[i] = x.values[i] + distance * y.values[i];
    }
    return y;
  }

  std::vector<uint8_t> widths_ = std::vector<uint8_t>(kChannels, 3);
  std::vector<uint64_t> keys_ = {11, 22};
  std::unique_ptr<Coder> sender_, receiver_;
  CodedMatrix sent_;
};
INSTANTIATE_TEST_SUITE_P(Methods, DeltaCoderTest,
                         ::testing::Values(Method::kAqsgd, Method::kAmaqDelta),
                         [](const auto& param) {
                           return param.param == Method::kAqsgd ? "aqsgd" : "amaq_delta";
                         });

TEST_P(DeltaCoderTest, ALaterVisitIsSmallerAndErrsByAShareOfTheDifference) {
  const Matrix first = Activations(1, kRows, kChannels);
  const Matrix second = Near(first, 2, 0.01f);
  const std::vector<float> before = Send(first, 0);
  const uint64_t first_bytes = BytesOf(sent_);

  const std::vector<float> seen = Send(second, 1);

  EXPECT_LT(BytesOf(sent_), first_bytes / 2);
  for (int64_t c = 0; c < kChannels; ++c) {
    double largest = 0;  // difference of the channel over the rows that are not sinks
    for (int64_t row = 0; row < kRows; ++row) {
      if (row == 0 || row == 12) continue;
      const auto i = static_cast<size_t>(row * kChannels + c);
      largest = std::max<double>(largest, std::abs(second.values[i] - before[i]));
    }
    for (int64_t row = 0; row < kRows; ++row) {
      const auto i = static_cast<size_t>(row * kChannels + c);
      const double x = second.values[i];
      // Half of 1/7 of the range, its roundings to bf16, and the sum's rounding to bf16.
      const double bound = largest / 7 * 1.1 + std::abs(x) * 0x1p-8;
      EXPECT_LE(std::abs(seen[i] - x), bound) << "row " << row << ", channel " << c;
    }
  }
}

// m by a map, Q by the public codec: the whole of AQ-SGD in ten lines.
TEST_P(DeltaCoderTest, EveryVisitEqualsTheUpdateWrittenOut) {
  std::vector<float> m;
  Matrix x = Activations(3, kRows, kChannels);
  for (uint64_t visit = 0; visit < 5; ++visit) {
    x = Near(x, 100 + visit, 0.05f);
    std::vector<float> expected(x.values.size());
    if (visit == 0) {
      for (size_t i = 0; i < expected.size(); ++i) expected[i] = BF16ToF32(F32ToBF16(x.values[i]));
    } else {
      Matrix d = x;
      for (size_t i = 0; i < d.values.size(); ++i) d.values[i] = x.values[i] - m[i];
      for (const uint32_t row : kSinks) {
        for (int64_t c = 0; c < kChannels; ++c) d.at(row, c) = x.at(row, c);
      }
      const Range range = GetParam() == Method::kAqsgd ? Range::kAbsMax : Range::kMinMax;
      std::vector<float> q(d.values.size());
      Decode(Encode(d.view(), widths_, {kSinks, {}}, {range, Rounding::kNearestEven, 0}), widths_,
             {kSinks, {}}, kRows, kChannels, q);
      for (size_t i = 0; i < q.size(); ++i) {
        const bool is_sink = i / kChannels == 0 || i / kChannels == 12;
        expected[i] = BF16ToF32(F32ToBF16(is_sink ? q[i] : m[i] + q[i]));
      }
    }

    EXPECT_EQ(Send(x, visit), expected) << "visit " << visit;
    m = expected;
  }
}

TEST_P(DeltaCoderTest, NewAndKnownSamplesShareAMessage) {
  const Matrix first = Activations(4, kRows, kChannels);
  Send(first, 0);
  keys_ = {11, 33};  // the second segment is new

  const std::vector<float> seen = Send(Near(first, 5, 0.01f), 1);

  const Matrix x = Near(first, 5, 0.01f);
  for (size_t i = 12 * kChannels; i < seen.size(); ++i) {
    EXPECT_EQ(seen[i], BF16ToF32(F32ToBF16(x.values[i])));
  }
  EXPECT_EQ(FindSection(sent_.sections, SectionKind::kSampleKeys)->front(), 0b10);
  EXPECT_EQ(FindSection(sent_.sections, SectionKind::kSinkRows)->size(), (1 + 18) * kChannels * 2u);
}

TEST_P(DeltaCoderTest, AStepTakenBackOnBothSidesLeavesTheNextAsIfItHadNotBeen) {
  const Matrix first = Activations(6, kRows, kChannels);
  const Matrix wrong = Near(first, 7, 1);
  const Matrix second = Near(first, 8, 0.01f);
  Send(first, 0);
  const auto keep = [&](uint64_t step) {
    sender_->Keep({step, 0, 0});
    receiver_->Keep({step, 0, 0});
  };
  keep(1);
  const uint64_t before = sender_->MemoryDigest();

  Send(wrong, 1);
  EXPECT_NE(sender_->MemoryDigest(), before);
  sender_->TakeBack({1, 0, 0});
  receiver_->TakeBack({1, 0, 0});

  EXPECT_EQ(sender_->MemoryDigest(), before);
  const std::vector<float> seen = Send(second, 1, 1);
  const auto fresh_sender = NewCoder(GetParam());
  fresh_sender->Encode(first.view(), Context(0), {});
  std::vector<float> expected(seen.size());
  fresh_sender->Encode(second.view(), Context(1), expected);
  EXPECT_EQ(seen, expected);
}

// Negative control: the comparisons above notice a side that does not take back.
TEST_P(DeltaCoderTest, ASideThatForgetsToTakeBackIsSeen) {
  const Matrix first = Activations(6, kRows, kChannels);
  Send(first, 0);
  Send(Near(first, 7, 1), 1);
  sender_->TakeBack({1, 0, 0});

  const Matrix x = Near(first, 8, 0.01f);
  std::vector<float> seen(x.values.size()), received(x.values.size());
  const CodedMatrix sent = sender_->Encode(x.view(), Context(1, 1), seen);
  receiver_->Decode(sent.sections, sent.raw_dtype, Context(1, 1), kRows, kChannels, received);

  EXPECT_NE(seen, received);
  EXPECT_NE(sender_->MemoryDigest(), receiver_->MemoryDigest());
}

TEST_P(DeltaCoderTest, SamplesBeyondTheBoundCrossAsBf16EachTime) {
  constexpr uint64_t kOneSample = 12 * kChannels * 2;
  sender_ = NewCoder(GetParam(), kOneSample);
  receiver_ = NewCoder(GetParam(), kOneSample);
  const Matrix first = Activations(9, kRows, kChannels);
  Send(first, 0);

  Send(Near(first, 10, 0.01f), 1);

  EXPECT_EQ(FindSection(sent_.sections, SectionKind::kSampleKeys)->front(), 0b10);
}

TEST_P(DeltaCoderTest, ADifferenceForAnUnknownSampleIsRefused) {
  const Matrix first = Activations(11, kRows, kChannels);
  Send(first, 0);
  const CodedMatrix later = sender_->Encode(Near(first, 12, 0.01f).view(), Context(1), {});
  const auto stranger = NewCoder(GetParam());
  std::vector<float> out(first.values.size(), kUntouched);

  EXPECT_ERROR(stranger->Decode(later.sections, {}, Context(1), kRows, kChannels, out),
               Code::kDataLoss, "never seen");
  EXPECT_THAT(out, ::testing::Each(kUntouched));
}

TEST_P(DeltaCoderTest, ASampleNamedTwiceIsRefusedByBothSides) {
  const Matrix x = Activations(13, kRows, kChannels);
  Send(x, 0);
  std::vector<Section> twice = sent_.sections;
  std::copy_n(twice[0].bytes.begin() + 1, 8, twice[0].bytes.begin() + 9);
  std::vector<float> out(x.values.size());
  EXPECT_ERROR(receiver_->Decode(twice, {}, Context(1), kRows, kChannels, out), Code::kDataLoss,
               "twice");
  keys_ = {11, 11};
  EXPECT_ERROR(sender_->Encode(x.view(), Context(1), {}), Code::kInvalidArgument, "twice");
}

TEST_P(DeltaCoderTest, ADifferenceOutsideTrainingIsRefused) {
  const Matrix x = Activations(14, kRows, kChannels);
  Send(x, 0);
  MessageContext evaluation = Context(0);
  evaluation.samples.reset();
  std::vector<float> out(x.values.size());

  EXPECT_ERROR(receiver_->Decode(sent_.sections, {}, evaluation, kRows, kChannels, out),
               Code::kInvalidArgument, "training only");
}

TEST(AqsgdTest, OneBitKeepsTheSignOfTheDifference) {
  const auto storage = [] { return std::make_unique<VectorStorage>(1 << 16); };
  const CoderConfig config = {.method = Method::kAqsgd, .cache_bytes = 1 << 16};
  const auto coder = MakeCoder(config, TensorKind::kActivation, storage());
  const std::vector<uint8_t> widths = {1};
  const std::vector<uint32_t> segments = {0, 64};
  const std::vector<uint64_t> keys = {1};
  MessageContext context{.widths = widths, .samples = SampleContext{segments, keys, {0, 0, 0}}};
  Matrix x{64, 1, std::vector<float>(64, 4)};
  coder->Encode(x.view(), context, {});
  for (size_t i = 0; i < 64; ++i) x.values[i] = i % 2 == 0 ? 4.5f : 3.5f;
  std::vector<float> seen(64);

  coder->Encode(x.view(), context, seen);

  EXPECT_EQ(seen, x.values);
}

TEST(MakeCoderTest, ACacheNeedsAPlace) {
  EXPECT_ERROR(MakeCoder({.method = Method::kAqsgd}, TensorKind::kActivation, {}),
               Code::kInvalidArgument, "needs a place");
  EXPECT_NE(MakeCoder({.method = Method::kAqsgd}, TensorKind::kGradient, {}), nullptr);
}

TEST(MakeCoderTest, RefusesGroupSizesOutsideTheLayout) {
  for (const uint32_t size : {0u, 24u, 33u, 136u}) {
    EXPECT_ERROR(
        MakeCoder({.method = Method::kGroup, .group_size = size}, TensorKind::kActivation, {}),
        Code::kInvalidArgument, "quant.group_size");
  }
}

}  // namespace
}  // namespace amaq::quant
