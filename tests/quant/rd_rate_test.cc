// The controller of the step size, by itself and around the coder.

#include "quant/rd_rate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/quant/rd_samples.h"

namespace amaq::quant {
namespace {

WidthConfig Constant(double bits) {
  WidthConfig config;
  config.target_bits = bits;
  return config;
}

WidthConfig Falling(double from, double to, uint64_t steps) {
  WidthConfig config = Constant(to);
  config.b_start = from;
  config.adapt_steps = steps;
  config.schedule = TargetSchedule::kLinear;
  return config;
}

TEST(RdRate, StepMovesByHalfOfTheDifferenceAndCarriesWhatTheGridLeavesOver) {
  RdRateControl control(Constant(2));
  EXPECT_EQ(control.index(), std::nullopt);
  control.Start(10);
  const int16_t expected[] = {10, 11, 11, 12};  // 0.4 a step
  for (const int16_t index : expected) {
    control.Observe(205, 100);
    control.Commit();
    EXPECT_EQ(*control.index(), index);
    EXPECT_DOUBLE_EQ(control.rate(), 2.05);
  }
}

TEST(RdRate, AChangeIsLimitedToAQuarterOfAnOctave) {
  RdRateControl control(Constant(1));
  control.Start(0);
  control.Observe(900, 100);
  control.Commit();
  EXPECT_EQ(*control.index(), 4);
  control.Observe(0, 100);
  control.Commit();
  control.Observe(0, 100);
  control.Commit();
  EXPECT_EQ(*control.index(), -4);
}

TEST(RdRate, AFallingTargetMovesTheStepAtOnce) {
  RdRateControl control(Falling(5, 3, 10));  // reached after 8 steps
  control.Start(0);
  EXPECT_DOUBLE_EQ(control.target_bits(), 5);
  for (int step = 0; step < 8; ++step) {
    control.Observe(static_cast<uint64_t>(1000 * control.target_bits()), 1000);
    control.Commit();
  }
  EXPECT_DOUBLE_EQ(control.target_bits(), 3);
  EXPECT_EQ(*control.index(), 32);
}

TEST(RdRate, SkippedStepsDoNotMoveIt) {
  RdRateControl control(Constant(1));
  control.Start(3);
  control.Observe(100, 100);
  control.Commit();
  control.Observe(900, 100);
  control.Discard();
  control.Commit();  // a step without messages
  EXPECT_EQ(*control.index(), 3);
  control.Observe(900, 100);
  control.Commit();
  EXPECT_EQ(*control.index(), 7);  // the control
}

TEST(RdRate, AStepSizeOfAFirstStepThatIsDiscardedGoesWithIt) {
  RdRateControl control(Constant(1));
  control.Start(3);
  EXPECT_EQ(control.index(), 3);
  control.Observe(900, 100);
  control.Discard();
  EXPECT_EQ(control.index(), std::nullopt);
  control.Start(-5);
  control.Observe(100, 100);
  control.Commit();
  control.Discard();
  EXPECT_EQ(control.index(), -5);
}

// Bits of a step, such that the wanted step size falls between two indices.
uint64_t SomeBits(uint64_t step) { return 1500 + 37 * (step * step % 17); }

TEST(RdRate, GoesOnFromItsState) {
  const auto run = [](RdRateControl* c, uint64_t begin, uint64_t end) {
    for (uint64_t step = begin; step < end; ++step) {
      if (!c->index()) c->Start(20);
      c->Observe(SomeBits(step), 1000);
      c->Commit();
    }
  };
  for (const uint64_t steps : {0u, 1u, 5u, 20u}) {
    RdRateControl whole(Falling(7, 1.5, 12)), first(Falling(7, 1.5, 12));
    RdRateControl rest(Falling(7, 1.5, 12)), reset(Falling(7, 1.5, 12));
    run(&whole, 0, 30);
    run(&first, 0, steps);
    first.Observe(9999, 1000);  // of a step that was not committed
    rest.Restore(first.state());
    run(&rest, steps, 30);
    EXPECT_EQ(rest.state().wanted_index, whole.state().wanted_index) << steps;
    EXPECT_EQ(rest.target_bits(), whole.target_bits()) << steps;
    run(&reset, steps, 30);  // negative control
    EXPECT_EQ(reset.state().wanted_index == whole.state().wanted_index, steps == 0) << steps;
  }
}

TEST(RdRate, TenCommitsOffTargetAreSeen) {
  RdRateControl control(Constant(1));
  control.Start(0);
  for (int i = 0; i < 10; ++i) {
    EXPECT_FALSE(control.is_off_target());
    control.Observe(160, 100);
    control.Commit();
  }
  EXPECT_TRUE(control.is_off_target());
  control.Observe(110, 100);
  control.Commit();
  EXPECT_FALSE(control.is_off_target());
}

TEST(RdRate, TargetsOutOfRangeAreRefused) {
  EXPECT_ERROR(RdRateControl(Constant(0.01)), Code::kInvalidArgument, "target_bits");
  EXPECT_ERROR(RdRateControl(Constant(NAN)), Code::kInvalidArgument, "target_bits");
  EXPECT_ERROR(RdRateControl(Falling(9, 3, 4)), Code::kInvalidArgument, "b_start");
}

// Around the coder --------------------------------------------------------------------------------

constexpr size_t kChannels = 128;
constexpr size_t kRows = 150;

struct Loop {
  explicit Loop(const WidthConfig& config) : control(config), ends(kChannels) {}

  // One step; the bits an element that it took.
  double Step(const std::vector<float>& y, RdOptions options) {
    const auto elements = static_cast<double>(y.size());
    if (!control.index()) {
      control.Start(RdSolveIndex(y, options, ends.sender, control.target_bits() * elements));
    }
    options.step.index = *control.index();
    const auto sent = ends.Send(y, options, {step, 0, 0});
    ends.Keep(++step);
    control.Observe(8 * BytesOf(sent.coded.sections), y.size());
    control.Commit();
    return control.rate();
  }

  RdRateControl control;
  RdEnds ends;
  uint64_t step = 0;
};

TEST(RdRate, MeasuredBitsMeetTheTarget) {
  for (const Shape shape : {Shape::kLaplace, Shape::kGauss}) {
    for (const double target : {0.7, 1.6, 4.0}) {
      RdSource source(21, kChannels, shape);
      Loop loop(Constant(target));
      double sum = 0;
      for (uint64_t step = 0; step < 24; ++step) {
        const std::vector<float> y = source.Next(kRows, std::exp2(0.1 * static_cast<double>(step)));
        const double rate = loop.Step(y, Stochastic(y, 0, step));
        EXPECT_NEAR(rate, target, 0.1 * target + 0.1) << "step " << step;
        if (step >= 8) sum += rate / 16;
      }
      EXPECT_NEAR(sum, target, 0.02 * target + 0.01);
    }
  }
}

// The trap of a reference run: the target falls while the data grow fourfold. A coder whose tables
// were made once runs away in the very same loop, so the test can fail.
double ScaleAt(uint64_t step) { return step < 30 || step >= 60 ? 1 : 4; }

TEST(RdRate, NothingRunsAwayWhenTheTargetFallsAndTheDataGrow) {
  RdSource source(22, kChannels, Shape::kLaplace, 2);
  Loop loop(Falling(3, 1.2, 40));
  for (uint64_t step = 0; step < 90; ++step) {
    const double target = loop.control.target_bits();
    const double rate = loop.Step(source.Next(kRows, ScaleAt(step)), DeadZone(0));
    const bool has_settled = step % 30 >= 15;
    if (has_settled) {
      EXPECT_NEAR(rate, target, 0.15) << "step " << step;
    }
    EXPECT_FALSE(loop.control.is_off_target()) << "step " << step;
  }
}

// Bits of a message in tables counted in another one, those that it never used being even.
double StaticBits(const RdCounts& counts, const RdCounts& learned) {
  const auto offsets = RdCountOffsets();
  double bits = 0;
  for (size_t t = 0; t < kRdTables; ++t) {
    double total = 0;
    for (size_t i = offsets[t]; i < offsets[t + 1]; ++i) total += learned.symbols[i];
    const auto bins = static_cast<double>(offsets[t + 1] - offsets[t]);
    for (size_t i = offsets[t]; i < offsets[t + 1]; ++i) {
      const double share =
          total == 0 ? 1 / bins : (learned.symbols[i] + 0.5) / (total + 0.5 * bins);
      bits += counts.symbols[i] * (std::log2(1 / share) + (i == offsets[t] ? 0 : 1));
    }
  }
  return bits;
}

TEST(RdRate, StaticTablesDoRunAwayInTheSameLoop) {
  RdSource source(22, kChannels, Shape::kLaplace, 2);
  RdRateControl control(Falling(3, 1.2, 40));
  RdModel model(kChannels);
  std::optional<RdCounts> learned;
  double last_rate = 0;
  for (uint64_t step = 0; step < 90; ++step) {
    const std::vector<float> y = source.Next(kRows, ScaleAt(step));
    RdOptions options = DeadZone(0);
    const auto elements = static_cast<double>(y.size());
    if (!control.index()) {
      control.Start(RdSolveIndex(y, options, model, control.target_bits() * elements));
    }
    options.step.index = *control.index();
    const RdEncoded coded = RdEncode(y, options, model, {}).value();
    if (!learned) learned = coded.counts;
    model.Add({step, 0, 0}, coded.counts);  // classes follow the data, tables do not
    model.Keep({step + 1, 0, 0});
    last_rate = StaticBits(coded.counts, *learned) / elements;
    control.Observe(static_cast<uint64_t>(last_rate * elements), y.size());
    control.Commit();
  }
  EXPECT_GT(last_rate, 1.2 + 0.5);
  EXPECT_TRUE(control.is_off_target());
}

}  // namespace
}  // namespace amaq::quant
