// gradient.method: rd as a Coder: rate, what is remembered at both ends.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "quant/coder.h"
#include "tests/quant/rd_samples.h"

namespace amaq::quant {
namespace {

constexpr int64_t kChannels = 48;
constexpr int64_t kRows = 60;
const std::vector<uint32_t> kSinks = {0, 25};

std::unique_ptr<Coder> NewCoder(double rate = 1.6, Method method = Method::kAmaq) {
  return MakeCoder({.method = method, .gradient_rate = rate}, TensorKind::kGradient, nullptr);
}

class RdCoderTest : public ::testing::Test {
 protected:
  RdCoderTest() : source_(51, kChannels, Shape::kLaplace) {
    for (uint32_t row = 0; row < kRows; ++row) row_ids_.push_back(3 * row);
  }

  MessageContext Context(uint64_t step, uint32_t micro_batch = 0) const {
    MessageContext context;
    context.rows = {kSinks, row_ids_};
    context.rounding = Rounding::kStochastic;
    context.rounding_key = 100 * step + micro_batch;
    context.samples = SampleContext{{}, {}, {step, 0, micro_batch}};
    context.micro_batch_rows = 2 * kRows;
    return context;
  }
  static MatrixView View(const std::vector<float>& y) {
    return {y.data(), DType::kF32, kRows, kChannels};
  }
  // What the receiver sees, which the sender must know.
  std::vector<float> Send(const std::vector<float>& y, const MessageContext& context) {
    std::vector<float> seen(y.size()), received(y.size());
    sent_ = sender_->Encode(View(y), context, seen);
    receiver_->Decode(sent_.sections, sent_.raw_dtype, context, kRows, kChannels, received);
    EXPECT_EQ(seen, received);
    EXPECT_EQ(sender_->MemoryDigest(), receiver_->MemoryDigest());
    return received;
  }
  void Keep(uint64_t steps) {
    sender_->Keep({steps, 0, 0});
    receiver_->Keep({steps, 0, 0});
    EXPECT_EQ(sender_->MemoryDigest(), receiver_->MemoryDigest());
  }
  void TakeBack(uint64_t step) {
    sender_->TakeBack({step, 0, 0});
    receiver_->TakeBack({step, 0, 0});
  }
  std::vector<float> Gradient(double scale = 1e-4) { return source_.Next(kRows, scale); }
  // Few large values: at the same rate its step size is another one.
  std::vector<float> SparseGradient() {
    std::vector<float> y = Gradient();
    for (size_t i = 0; i < y.size(); ++i) y[i] *= i % 16 == 0 ? 100 : 0.01f;
    return y;
  }

  RdSource source_;
  std::vector<uint32_t> row_ids_;
  std::unique_ptr<Coder> sender_ = NewCoder();
  std::unique_ptr<Coder> receiver_ = NewCoder();
  CodedMatrix sent_;
};

TEST_F(RdCoderTest, AllRowsCrossWithinOneStepSinkRowsToo) {
  const std::vector<float> y = Gradient();
  const std::vector<float> seen = Send(y, Context(0));
  ASSERT_FALSE(sent_.raw_dtype);
  const float step = RdStepOf(*FindSection(sent_.sections, SectionKind::kRdCodes)).value();
  EXPECT_EQ(FindSection(sent_.sections, SectionKind::kSinkRows), nullptr);
  for (size_t i = 0; i < y.size(); ++i) {
    ASSERT_LE(std::fabs(seen[i] - y[i]), 1.0001 * step) << "row " << i / kChannels;
  }
}

TEST_F(RdCoderTest, AllSectionsOverAllRowsOfTheMicroBatchMeetTheRate) {
  double bits = 0;
  for (uint64_t step = 0; step < 40; ++step) {
    Send(Gradient(1e-4 * std::exp2(0.2 * static_cast<double>(step))), Context(step));
    Keep(step + 1);
    if (step >= 20) bits += BitsOf(sent_.sections) / (2 * kRows * kChannels) / 20;
  }
  EXPECT_NEAR(bits, 1.6, 0.06);
}

TEST_F(RdCoderTest, WhatIsTakenBackLeavesNoTrace) {
  const std::unique_ptr<Coder> undisturbed = NewCoder();
  for (uint64_t step = 0; step < 60; ++step) {
    const std::vector<float> other = SparseGradient();
    const std::vector<float> y = Gradient();
    if (step % 3 == 0) {  // the first one, whose step size was solved, too
      Send(other, Context(step));
      TakeBack(step);
    }
    Send(y, Context(step, 1));
    const CodedMatrix expected = undisturbed->Encode(View(y), Context(step, 1), {});
    ASSERT_EQ(sent_.sections.size(), expected.sections.size());
    for (size_t i = 0; i < expected.sections.size(); ++i) {
      ASSERT_EQ(sent_.sections[i].bytes, expected.sections[i].bytes) << "step " << step;
    }
    Keep(step + 1);
    undisturbed->Keep({step + 1, 0, 0});
  }
}

// Negative control of the digest: a receiver that missed a Keep is another, and refuses.
TEST_F(RdCoderTest, AReceiverThatMissedACommitRefuses) {
  Send(Gradient(), Context(0));
  sender_->Keep({1, 0, 0});
  EXPECT_NE(sender_->MemoryDigest(), receiver_->MemoryDigest());
  const std::vector<float> y = Gradient();
  const CodedMatrix sent = sender_->Encode(View(y), Context(1), {});
  std::vector<float> out(y.size());
  EXPECT_ERROR(receiver_->Decode(sent.sections, sent.raw_dtype, Context(1), kRows, kChannels, out),
               Code::kDataLoss, "generation 1");
}

TEST_F(RdCoderTest, MessagesOutsideTrainingAreNotRemembered) {
  Send(Gradient(), Context(0));
  Keep(1);
  const uint64_t before = sender_->MemoryDigest();
  MessageContext context = Context(1);
  context.samples.reset();
  Send(Gradient(), context);
  EXPECT_EQ(sender_->MemoryDigest(), before);
}

TEST_F(RdCoderTest, WhatIsNotSmallerOrOutOfReachCrossesAsBf16) {
  std::vector<float> y = Gradient();
  Send(y, Context(0));
  Keep(1);
  y[5 * kChannels] = 1e30f;
  Send(y, Context(1));
  EXPECT_EQ(sent_.raw_dtype, DType::kBF16);
  Keep(2);
  Send(Gradient(), Context(2));
  EXPECT_FALSE(sent_.raw_dtype);
  sender_ = NewCoder(8);
  const std::vector<float> tiny = {1.0f};
  const CodedMatrix sent = sender_->Encode({tiny.data(), DType::kF32, 1, 1}, {}, {});
  EXPECT_EQ(sent.raw_dtype, DType::kBF16);
}

TEST_F(RdCoderTest, NanIsRefusedAndChangesNothing) {
  Send(Gradient(), Context(0));
  Keep(1);
  const uint64_t before = sender_->MemoryDigest();
  std::vector<float> y = Gradient();
  y[7 * kChannels + 3] = NAN;
  try {
    sender_->Encode(View(y), Context(1), {});
    FAIL();
  } catch (const NonFiniteError& error) {
    EXPECT_EQ(error.row(), 7u);
    EXPECT_EQ(error.channel(), 3u);
  }
  EXPECT_EQ(sender_->MemoryDigest(), before);
}

TEST_F(RdCoderTest, EvaluationDoesNotChooseTheStepSizeOfTraining) {
  const std::unique_ptr<Coder> undisturbed = NewCoder();
  MessageContext evaluation = Context(0);
  evaluation.samples.reset();
  Send(SparseGradient(), evaluation);
  const std::vector<float> y = Gradient();
  Send(y, Context(0));
  const CodedMatrix expected = undisturbed->Encode(View(y), Context(0), {});
  EXPECT_EQ(sent_.sections.back().bytes, expected.sections.back().bytes);
}

TEST_F(RdCoderTest, RoundedToNearestAValueIsAtMostADeadZoneFurtherThanHalfAStepOff) {
  MessageContext context = Context(0);
  context.rounding = Rounding::kNearestEven;
  const std::vector<float> y = Gradient();
  const std::vector<float> seen = Send(y, context);
  ASSERT_FALSE(sent_.raw_dtype);
  const float step = RdStepOf(*FindSection(sent_.sections, SectionKind::kRdCodes)).value();
  size_t zeros = 0;
  for (size_t i = 0; i < y.size(); ++i) {
    if (seen[i] == 0) {
      ++zeros;
      ASSERT_LE(std::fabs(y[i]), 0.6501f * step) << "value " << i;
    } else {
      // A centroid moves it by half a step at most.
      ASSERT_LE(std::fabs(seen[i] - y[i]), 1.1501f * step) << "value " << i;
      ASSERT_GE(std::fabs(y[i]), 0.6499f * step) << "value " << i;
    }
  }
  EXPECT_GT(zeros, 0u);
  EXPECT_LT(zeros, y.size());
}

TEST_F(RdCoderTest, EveryTruncationAndExcessIsRefusedAndChangesNothing) {
  Send(Gradient(), Context(0));
  Keep(1);
  const std::vector<float> y = Gradient();
  const CodedMatrix sent = sender_->Encode(View(y), Context(1), {});
  const uint64_t before = receiver_->MemoryDigest();
  const auto is_refused = [&](const std::vector<Section>& sections) {
    std::vector<float> out(y.size(), 7);
    EXPECT_ERROR(receiver_->Decode(sections, sent.raw_dtype, Context(1), kRows, kChannels, out),
                 Code::kDataLoss, "");
    EXPECT_THAT(out, ::testing::Each(7));
    EXPECT_EQ(receiver_->MemoryDigest(), before);
  };
  for (size_t i = 0; i < sent.sections.size(); ++i) {
    const size_t whole = sent.sections[i].bytes.size();
    for (size_t size = 0; size < whole; size += 1 + whole / 97) {
      std::vector<Section> cut = sent.sections;
      cut[i].bytes.resize(size);
      is_refused(cut);
    }
    std::vector<Section> longer = sent.sections;
    longer[i].bytes.push_back(0);
    is_refused(longer);
  }
  is_refused({});
  std::vector<float> out(y.size());
  EXPECT_NO_THROW(  // the control
      receiver_->Decode(sent.sections, sent.raw_dtype, Context(1), kRows, kChannels, out));
}

// No sender of gradients makes them, and a receiver would have to remember them.
TEST_F(RdCoderTest, RowsOfKindsAreRefused) {
  const std::vector<float> y = Gradient(1);
  RdOptions options;
  options.step.index = -16;
  options.kinds = RdKinds::kLearn;
  const RdEncoded sent = RdEncode(y, options, RdModel(kChannels), {}).value();
  ASSERT_FALSE(sent.counts.kinds.empty());
  std::vector<float> out(y.size());
  EXPECT_ERROR(receiver_->Decode(sent.sections, {}, Context(0), kRows, kChannels, out),
               Code::kDataLoss, "without a memory are of kinds");
}

TEST_F(RdCoderTest, AMessageWithoutRowsCrosses) {
  const CodedMatrix sent = sender_->Encode({nullptr, DType::kF32, 0, kChannels}, {}, {});
  std::vector<float> out;
  EXPECT_NO_THROW(receiver_->Decode(sent.sections, sent.raw_dtype, {}, 0, kChannels, out));
}

TEST_F(RdCoderTest, EveryForwardMethodHasIt) {
  for (const Method method : {Method::kNone, Method::kGroup, Method::kTahquant, Method::kAqsgd}) {
    const std::vector<float> y = Gradient();
    const CodedMatrix sent = NewCoder(1.6, method)->Encode(View(y), Context(0), {});
    EXPECT_NE(FindSection(sent.sections, SectionKind::kRdCodes), nullptr);
  }
}

TEST(RdRoundingNoise, IsWhatStochasticRoundingAdds) {
  Random random(52);
  for (const double mean : {0.01, 0.1, 0.5, 2.0, 40.0}) {
    double added = 0;
    constexpr int kDraws = 400000;
    for (int i = 0; i < kDraws; ++i) {
      const double t = -mean * std::log(random.Uniform());
      const double fraction = t - std::floor(t);
      added += fraction * (1 - fraction) / kDraws;
    }
    EXPECT_NEAR(RdRoundingNoise(mean), added, 0.02 * added) << mean;
  }
}

}  // namespace
}  // namespace amaq::quant
