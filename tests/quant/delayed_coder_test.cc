// range delayed behind a Coder: the ranges of a message are predicted from the steps that were
// kept, and from nothing else.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "quant/coder.h"
#include "tests/quant/samples.h"
#include "tests/quant/vector_storage.h"

namespace amaq::quant {
namespace {

constexpr int64_t kRows = 40;
constexpr int64_t kChannels = 21;

class DelayedCoderTest : public ::testing::TestWithParam<TensorKind> {
 protected:
  DelayedCoderTest() : coder_(NewCoder()) {}

  static std::unique_ptr<Coder> NewCoder() {
    return MakeCoder({.range = Range::kDelayed, .range_margin = 1.5, .range_max_clipped = 0.5},
                     GetParam(), nullptr);
  }
  // Widths of 4; step: nullopt for an evaluation.
  std::vector<Section> Send(const Matrix& x, std::optional<uint64_t> step) const {
    MessageContext context;
    context.widths = widths_;
    if (step) context.samples = SampleContext{{}, {}, {*step, 0, 0}};
    return coder_->Encode(x.view(), context, {}).sections;
  }
  static bool SameRanges(const std::vector<Section>& a, const std::vector<Section>& b) {
    return *FindSection(a, SectionKind::kRanges) == *FindSection(b, SectionKind::kRanges);
  }
  std::vector<Section> OwnRanges(const Matrix& x) const {
    return Encode(x.view(), widths_, {}, {});
  }

  const std::vector<uint8_t> widths_ = std::vector<uint8_t>(kChannels, 4);
  const Matrix wide_ = Scaled(4), narrow_ = Scaled(1);
  const std::unique_ptr<Coder> coder_;

 private:
  static Matrix Scaled(float scale) {
    Matrix x{kRows, kChannels, std::vector<float>(kRows * kChannels)};
    Random random(3);
    for (float& value : x.values) value = scale * static_cast<float>(random.Normal());
    return x;
  }
};

TEST_P(DelayedCoderTest, AStepThatIsKeptSetsTheRangesOfTheNext) {
  EXPECT_TRUE(SameRanges(Send(wide_, 0), OwnRanges(wide_))) << "nothing to predict from";
  coder_->Keep({1, 0, 0});

  const DecodedRanges sent = ReadRanges(Send(narrow_, 1), widths_);

  for (size_t c = 0; c < widths_.size(); ++c) {
    float lo = HUGE_VALF, hi = -HUGE_VALF;
    for (int64_t row = 0; row < kRows; ++row) {
      lo = std::min(lo, wide_.at(row, static_cast<int64_t>(c)));
      hi = std::max(hi, wide_.at(row, static_cast<int64_t>(c)));
    }
    const double length = static_cast<double>(hi) - lo;
    EXPECT_NEAR(sent.step[c] * 15.0, 1.5 * length, 0.02 * (length + std::abs(lo)));
    EXPECT_NEAR(sent.lo[c], 0.5 * (lo + hi) - 0.75 * length, 0.02 * (length + std::abs(lo)));
  }
}

TEST_P(DelayedCoderTest, AStepThatIsTakenBackLeavesNoTrace) {
  Send(wide_, 0);
  coder_->TakeBack({0, 0, 0});
  coder_->Keep({1, 0, 0});

  EXPECT_TRUE(SameRanges(Send(narrow_, 1), OwnRanges(narrow_)));
  coder_->Keep({2, 0, 0});
  EXPECT_FALSE(SameRanges(Send(wide_, 2), OwnRanges(wide_))) << "negative control: a kept one does";
}

TEST_P(DelayedCoderTest, WithinAStepAllMessagesHaveTheRangesOfItsStart) {
  Send(narrow_, 0);
  coder_->Keep({1, 0, 0});
  const std::vector<Section> first = Send(narrow_, 1);
  Send(wide_, 1);

  EXPECT_TRUE(SameRanges(Send(narrow_, 1), first));
  coder_->Keep({2, 0, 0});
  EXPECT_FALSE(SameRanges(Send(narrow_, 2), first)) << "the wide one counts from now on";
}

TEST_P(DelayedCoderTest, AnEvaluationIsCodedWithinThePredictionAndForgotten) {
  Send(narrow_, 0);
  coder_->Keep({1, 0, 0});
  const std::vector<Section> training = Send(narrow_, 1);
  coder_->TakeBack({1, 0, 0});

  EXPECT_TRUE(SameRanges(Send(narrow_, std::nullopt), training));
  EXPECT_FALSE(SameRanges(training, OwnRanges(narrow_)));
  Send(wide_, std::nullopt);
  coder_->Keep({2, 0, 0});

  EXPECT_TRUE(SameRanges(Send(narrow_, 2), training));
}

// A range of 1.5 times the narrow one against values four times as wide.
TEST_P(DelayedCoderTest, ValuesOutsideThePredictionAreCountedInTrainingAlone) {
  constexpr auto kValues = static_cast<uint64_t>(kRows * kChannels);
  Send(narrow_, 0);
  EXPECT_EQ(coder_->clip_counts().values, kValues);
  EXPECT_EQ(coder_->clip_counts().clipped, 0u) << "nothing was predicted";
  coder_->Keep({1, 0, 0});
  Send(wide_, std::nullopt);
  EXPECT_EQ(coder_->clip_counts().values, kValues) << "an evaluation is not counted";

  const DecodedRanges ranges = ReadRanges(Send(wide_, 1), widths_);

  uint64_t outside = 0;
  for (int64_t row = 0; row < kRows; ++row) {
    for (int64_t c = 0; c < kChannels; ++c) {
      const auto at = static_cast<size_t>(c);
      const float x = wide_.at(row, c);
      outside += x < ranges.lo[at] || x > ranges.lo[at] + 15 * ranges.step[at] ? 1 : 0;
    }
  }
  EXPECT_EQ(coder_->clip_counts().values, 2 * kValues);
  EXPECT_GT(coder_->clip_counts().clipped, 0u);
  EXPECT_NEAR(static_cast<double>(coder_->clip_counts().clipped), static_cast<double>(outside),
              0.1 * static_cast<double>(outside))
      << "lo and step are rounded outwards";
}

TEST_P(DelayedCoderTest, AMessageThatFailsLeavesNoTrace) {
  Send(narrow_, 0);
  coder_->Keep({1, 0, 0});
  const std::vector<Section> before = Send(narrow_, std::nullopt);
  Matrix bad = wide_;
  for (int64_t row = 0; row < kRows; ++row) bad.at(row, 5) = row % 2 == 0 ? 3e38f : -3e38f;

  EXPECT_THROW(Send(bad, 1), NonFiniteError) << "channel 5's own range overflows";
  coder_->Keep({2, 0, 0});

  EXPECT_TRUE(SameRanges(Send(narrow_, 2), before));
}

INSTANTIATE_TEST_SUITE_P(Tensors, DelayedCoderTest,
                         ::testing::Values(TensorKind::kActivation, TensorKind::kGradient),
                         [](const auto& test) {
                           return test.param == TensorKind::kGradient ? "Gradient" : "Activation";
                         });

// amaq-delta's differences have ranges, too; what the cache keeps is not changed by them.
TEST(DelayedDeltaTest, DifferencesArePredictedAndTakenBackWithTheirVisits) {
  const CoderConfig config{.method = Method::kAmaqDelta,
                           .range = Range::kDelayed,
                           .cache_bytes = 1 << 20,
                           .range_margin = 2,
                           .range_max_clipped = 1};
  const std::vector<uint8_t> widths(kChannels, 4);
  const std::vector<uint32_t> segments = {0, kRows};
  const std::vector<uint64_t> keys = {7};
  const auto coder = MakeCoder(config, TensorKind::kActivation,
                               std::make_unique<VectorStorage>(config.cache_bytes));
  const auto send = [&](uint64_t seed, uint64_t step) {
    MessageContext context;
    context.widths = widths;
    context.samples = SampleContext{segments, keys, {step, 0, 0}};
    return ReadRanges(
               coder->Encode(Activations(seed, kRows, kChannels).view(), context, {}).sections,
               widths)
        .step;
  };
  send(1, 0);  // a first visit has no ranges
  coder->Keep({1, 0, 0});
  const std::vector<float> own = send(2, 1);
  coder->TakeBack({1, 0, 0});
  EXPECT_EQ(send(2, 1), own) << "nothing was learned from the step that was taken back";
  coder->Keep({2, 0, 0});

  const std::vector<float> next = send(1, 2);

  for (size_t c = 0; c < next.size(); ++c) EXPECT_NEAR(next[c], 2 * own[c], 0.05 * own[c]) << c;
}

}  // namespace
}  // namespace amaq::quant
