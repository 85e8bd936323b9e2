#include "train/rd_activation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <string>

#include "io/safetensors.h"
#include "quant/codec.h"
#include "quant/rd.h"
#include "quant/rows.h"
#include "quant/sections.h"
#include "tensor/bridge.h"
#include "tests/support/errors.h"
#include "tests/support/tensor_matchers.h"

namespace amaq::train {
namespace {

using quant::MessagePlace;
using test::BitEqual;
using ::testing::HasSubstr;

constexpr int64_t kWide = 32;
const std::vector<uint32_t> kSegments = {0, 1, 40, 90};  // 1, 39 and 50 rows
constexpr int64_t kRows = 90;

// Uniform rows whose channels' scales fall; the first of each segment is an outlier.
at::Tensor Activation(uint64_t key, double scale = 1) {
  at::Tensor x = tensor::UniformTensor(kRows, kWide, scale, key, at::kCPU);
  for (int64_t c = 0; c < kWide; ++c) x.select(1, c) *= 16 * std::pow(0.85, c);
  for (size_t s = 0; s + 1 < kSegments.size(); ++s) x.select(0, kSegments[s]) *= 1000;
  return x + 1;
}

Basis SomeBasis(Transform transform = Transform::kEigen) {
  Moments moments(kWide);
  for (uint64_t key = 100; key < 104; ++key) {
    moments.Add(Activation(key), std::vector<uint32_t>{0, 1, 40});
  }
  return FitBasis(transform, moments, 1'000'000);
}

RdActivationOptions OptionsAt(double bits) {
  RdActivationOptions options;
  options.rate.target_bits = bits;
  return options;
}

// Both ends of a cut with one basis.
struct Ends {
  explicit Ends(double bits = 2.5, Transform transform = Transform::kEigen)
      : sender(OptionsAt(bits)), receiver(OptionsAt(bits)) {
    sender.SetBasis(SomeBasis(transform), at::kCPU);
    receiver.SetBasis(ReadBasis(WriteBasis(SomeBasis(transform)), kWide), at::kCPU);
  }
  std::vector<Section> Send(const at::Tensor& x, const std::optional<MessagePlace>& place) {
    std::vector<Section> sections = sender.Encode(x, kSegments, place).value();
    if (place) sender.CountBytes(quant::TotalBytes(sections), static_cast<uint64_t>(x.size(0)));
    return sections;
  }
  at::Tensor Cross(const at::Tensor& x, const std::optional<MessagePlace>& place) {
    return receiver.Decode(Send(x, place), kSegments, place);
  }
  void Keep(uint64_t steps) {
    sender.Keep(steps);
    receiver.Keep(steps);
  }
  void Train(uint64_t steps) {
    for (uint64_t step = 0; step < steps; ++step) {
      Cross(Activation(step), MessagePlace{step, 0, 0});
      Keep(step + 1);
    }
  }
  RdActivation sender, receiver;
};

TEST(RdActivationTest, WhatCrossedIsWithinAStepInEveryComponent) {
  for (const Transform transform : {Transform::kNone, Transform::kEigen, Transform::kHadamard}) {
    Ends ends(2.5, transform);
    const at::Tensor x = Activation(1);
    const auto sections = ends.Send(x, MessagePlace{0, 0, 0});
    const at::Tensor received = ends.receiver.Decode(sections, kSegments, MessagePlace{0, 0, 0});
    const float step = quant::RdStepOf(*FindSection(sections, SectionKind::kRdCodes)).value();
    const Basis basis = SomeBasis(transform);
    const at::Tensor error = basis.Analyse(received - x, {}) - basis.Analyse(x * 0.0, {});
    EXPECT_LT(error.abs().max().item<float>(), 1.01f * step);
    EXPECT_GT(error.abs().max().item<float>(), 0.3f * step);
    EXPECT_EQ(ends.sender.Digest(), ends.receiver.Digest());
  }
}

// Sink rows far away and all alike are as small as any other row about their own mean.
TEST(RdActivationTest, SinkRowsThatAreAlikeCostNoMoreThanOthers) {
  const auto activation = [](uint64_t key) {
    at::Tensor x = Activation(key, 1e-3);
    for (const uint32_t row : quant::SinkRows(kSegments, 1)) {
      x.select(0, row).copy_(x.select(0, 2) + 5000.0);
    }
    return x;
  };
  const auto bytes = [&](uint32_t sink_tokens) {
    Moments moments(kWide);
    moments.Add(activation(7), quant::SinkRows(kSegments, sink_tokens));
    RdActivationOptions options = OptionsAt(3);
    options.sink_tokens = sink_tokens;
    RdActivation sender(options);
    sender.SetBasis(FitBasis(Transform::kNone, moments, 1), at::kCPU);
    const std::vector<uint32_t> no_sinks = {0, 39};
    sender.Encode(activation(1).narrow(0, 41, 39), no_sinks, MessagePlace{0, 0, 0});
    return quant::TotalBytes(sender.Encode(activation(1), kSegments, {}).value());
  };
  EXPECT_LT(static_cast<double>(bytes(1)), 0.9 * static_cast<double>(bytes(0)));
}

TEST(RdActivationTest, RowsAreRememberedUnlessTheOptionsSayNot) {
  for (const bool remembers : {true, false}) {
    RdActivationOptions options = OptionsAt(2.5);
    options.remembers = remembers;
    RdActivation sender(options);
    sender.SetBasis(SomeBasis(), at::kCPU);
    sender.Encode(Activation(1), kSegments, MessagePlace{0, 0, 0});
    sender.Keep(1);
    EXPECT_EQ(sender.State().contains("rd.kinds"), remembers);
  }
}

TEST(RdActivationTest, AStepThatIsTakenBackLeavesNoTrace) {
  Ends ends, undisturbed;
  // The very first one, too: its step size was solved on a message that does not count.
  for (uint64_t step = 0; step < 4; ++step) {
    ends.Cross(Activation(50 + step, 30), MessagePlace{step, 0, 0});
    ends.sender.TakeBack(step);
    ends.receiver.TakeBack(step);
    const at::Tensor x = Activation(step);
    const at::Tensor expected = undisturbed.Cross(x, MessagePlace{step, 0, 0});
    EXPECT_TRUE(BitEqual(ends.Cross(x, MessagePlace{step, 1, 0}), expected)) << step;
    ends.Keep(step + 1);
    undisturbed.Keep(step + 1);
    EXPECT_EQ(ends.sender.rate(), undisturbed.sender.rate());
    EXPECT_EQ(ends.sender.State(), undisturbed.sender.State());
  }
}

TEST(RdActivationTest, EvaluationChangesNothing) {
  Ends ends;
  ends.Train(2);
  const uint64_t before = ends.sender.Digest();
  const auto state = ends.sender.State();
  ends.Cross(Activation(9), {});
  EXPECT_EQ(ends.sender.Digest(), before);
  EXPECT_EQ(ends.receiver.Digest(), before);
  EXPECT_EQ(ends.sender.State(), state);
}

TEST(RdActivationTest, AMessageOfAnotherGenerationIsRefused) {
  Ends ends;
  ends.Train(1);
  const auto sections = ends.Send(Activation(7), {});
  EXPECT_NO_THROW(ends.receiver.Decode(sections, kSegments, {}));
  ends.Cross(Activation(1), MessagePlace{1, 0, 0});
  ends.Keep(2);
  EXPECT_THROWS(ends.receiver.Decode(sections, kSegments, {}), Code::kDataLoss, "generation");
}

TEST(RdActivationTest, ValuesThatAreNotFiniteAreNamedAndLeaveNoTrace) {
  Ends ends;
  const uint64_t before = ends.sender.Digest();
  at::Tensor x = Activation(1);
  x[17][5] = INFINITY;
  try {
    ends.sender.Encode(x, kSegments, MessagePlace{0, 0, 0});
    FAIL();
  } catch (const quant::NonFiniteError& error) {
    EXPECT_EQ(error.row(), 17u);
    EXPECT_EQ(error.channel(), 5u);
  }
  EXPECT_EQ(ends.sender.Digest(), before);
  EXPECT_FALSE(ends.sender.State().contains("rd.log2_step"));
}

TEST(RdActivationTest, NothingCrossesBeforeTheBasis) {
  RdActivation early(OptionsAt(2));
  EXPECT_THROWS(early.Encode(Activation(1), kSegments, {}), Code::kFailedPrecondition,
                "before its basis");
  EXPECT_THROWS(early.Decode({}, kSegments, {}), Code::kFailedPrecondition, "before its basis");
  early.Keep(1);
  early.TakeBack(1);
  EXPECT_EQ(early.Digest(), 0u);
  EXPECT_TRUE(early.State().empty());
}

TEST(RdActivationTest, AMessageThatIsNoSmallerThanBf16IsHandedBack) {
  Ends ends(8);
  // Values of all magnitudes in one channel after a step for small ones.
  ends.Train(1);
  EXPECT_FALSE(
      ends.sender.Encode(Activation(5, 1e9), kSegments, MessagePlace{1, 0, 0}).has_value());
  EXPECT_TRUE(ends.sender.Encode(Activation(5), kSegments, MessagePlace{1, 0, 0}).has_value());
}

TEST(RdActivationTest, TenStepsOffTheTargetAreSaidOnce) {
  const auto said = [](uint64_t steps, uint64_t bytes) {
    Ends ends;
    ::testing::internal::CaptureStderr();
    for (uint64_t step = 0; step < steps; ++step) {
      const auto sections =
          ends.sender.Encode(Activation(step), kSegments, MessagePlace{step, 0, 0}).value();
      ends.sender.CountBytes(bytes == 0 ? quant::TotalBytes(sections) : bytes, kRows);
      ends.sender.Keep(step + 1);
    }
    return ::testing::internal::GetCapturedStderr();
  };
  const std::string often = said(25, kRows * kWide);  // 8 bits an element, whatever the step
  EXPECT_THAT(often, HasSubstr("need 8 bits an element, the target is 2.5 (quant.target_bits)"));
  EXPECT_EQ(often.find("an element"), often.rfind("an element"));
  EXPECT_EQ(said(9, kRows * kWide), "");
  EXPECT_EQ(said(25, 0), "");
}

using State = std::map<std::string, std::vector<float>>;

// As it comes back from amaq_gate.safetensors.
State ThroughAFile(const State& state) {
  std::vector<io::F32Tensor> tensors;
  for (const auto& [name, values] : state) {
    tensors.push_back({name, {static_cast<int64_t>(values.size())}, values});
  }
  const Bytes bytes = io::SerializeSafetensors(tensors, {});
  const auto file = io::SafetensorsFile::FromBytes(bytes, "state");
  State read;
  for (const auto& [name, values] : state) {
    read[name].resize(file->Get(name).num_elements);
    file->ReadF32(name, read[name]);
  }
  return read;
}

TEST(RdActivationTest, WhoHasTheStateOfAFileDecodesAndEncodesWhatFollows) {
  for (const Transform transform : {Transform::kNone, Transform::kEigen, Transform::kHadamard}) {
    Ends ends(2.5, transform);
    ends.Train(5);
    const State state = ThroughAFile(ends.sender.State());
    RdActivation late_receiver(OptionsAt(2.5)), late_sender(OptionsAt(2.5));
    late_receiver.Restore(state, at::kCPU);
    late_sender.Restore(state, at::kCPU);

    const auto sections = ends.Send(Activation(7), {});
    EXPECT_TRUE(BitEqual(late_receiver.Decode(sections, kSegments, {}),
                         ends.receiver.Decode(sections, kSegments, {})));
    const auto again = late_sender.Encode(Activation(7), kSegments, {}).value();
    ASSERT_EQ(again.size(), sections.size());
    for (size_t i = 0; i < again.size(); ++i) EXPECT_EQ(again[i].bytes, sections[i].bytes);
    EXPECT_EQ(late_receiver.Digest(), ends.receiver.Digest());
    EXPECT_EQ(late_sender.State(), ends.sender.State());
  }
}

// A target that falls goes on falling from where it was, and an abort is no more than one.
TEST(RdActivationTest, WhoHasTheStateOfAFileTrainsOnLikeTheOneThatLeftIt) {
  RdActivationOptions options = OptionsAt(1.5);
  options.rate.b_start = 6;
  options.rate.adapt_steps = 8;
  const auto step = [](RdActivation* sender, uint64_t number) {
    const auto sections =
        sender->Encode(Activation(number), kSegments, MessagePlace{number, 0, 0}).value();
    sender->CountBytes(quant::TotalBytes(sections), kRows);
    sender->Keep(number + 1);
    return sections.back().bytes;
  };
  RdActivation whole(options), late(options);
  whole.SetBasis(SomeBasis(), at::kCPU);
  for (uint64_t number = 0; number < 4; ++number) step(&whole, number);
  late.Restore(ThroughAFile(whole.State()), at::kCPU);
  late.Encode(Activation(60), kSegments, MessagePlace{4, 0, 0});
  late.CountBytes(100'000, kRows);
  late.TakeBack(4);
  for (uint64_t number = 4; number < 12; ++number) {
    EXPECT_EQ(late.target_bits(), whole.target_bits());
    EXPECT_EQ(step(&late, number), step(&whole, number)) << number;
  }
}

// What was not kept is no part of it; the negative control of the test above.
TEST(RdActivationTest, AStateFromBeforeAStepDoesNotDecodeWhatFollowsIt) {
  Ends ends;
  ends.Train(1);
  const State before = ends.sender.State();
  ends.Cross(Activation(1), MessagePlace{1, 0, 0});
  EXPECT_EQ(ends.sender.State(), before);
  ends.Keep(2);
  EXPECT_NE(ends.sender.State(), before);
  RdActivation late(OptionsAt(2.5));
  late.Restore(before, at::kCPU);
  EXPECT_THROWS(late.Decode(ends.Send(Activation(7), {}), kSegments, {}), Code::kDataLoss,
                "generation");
}

TEST(RdActivationTest, WhatIsNoStateIsRefused) {
  Ends ends;
  ends.Train(1);
  const State state = ends.sender.State();
  const auto refused = [&](const std::string& name, const auto& change, const std::string& text) {
    State other = state;
    change(&other.at(name));
    RdActivation late(OptionsAt(2.5));
    EXPECT_THROWS(late.Restore(other, at::kCPU), Code::kDataLoss, text);
    EXPECT_FALSE(late.has_basis());
  };
  for (const auto& [name, values] : state) {
    if (name == "rd.classes") continue;  // for people
    refused(
        name, [](std::vector<float>* v) { v->clear(); }, "");
    refused(
        name, [](std::vector<float>* v) { v->front() = NAN; }, "");
  }
  using Values = std::vector<float>;
  refused(
      "rd.transform", [](Values* v) { v->front() = 4; }, "rd.transform");
  refused(
      "rd.log2_step", [](Values* v) { v->front() = 40.0625f; }, "rd.log2_step");
  refused(
      "rd.steps", [](Values* v) { v->front() = 1.5f; }, "rd.steps");
  refused(
      "rd.model", [](Values* v) { v->back() = 256; }, "rd.model");
  refused(
      "rd.model", [](Values* v) { v->pop_back(); }, "");
  refused(
      "rd.model", [](Values* v) { v->push_back(0); }, "");
  refused(
      "rd.kinds", [](Values* v) { v->pop_back(); }, "ends early");
  refused(
      "rd.kinds", [](Values* v) { v->push_back(0); }, "too many");
  refused(
      "rd.mean", [](Values* v) { v->pop_back(); }, "");
  refused(
      "rd.weights", [](Values* v) { v->front() = 73; }, "weight 73");
}

}  // namespace
}  // namespace amaq::train
