// What the rate-distortion coder remembers of rows, and what that saves.

#include "quant/rd_memory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <numeric>

#include "core/bytes.h"
#include "quant/rd_format.h"
#include "tests/quant/rd_samples.h"

namespace amaq::quant {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;

constexpr size_t kChannels = 96;

// Rows of `kinds` directions, with noise.
class KindSource {
 public:
  KindSource(uint64_t seed, size_t kinds, double noise) : random_(seed), noise_(noise) {
    for (size_t i = 0; i < kinds * kChannels; ++i) means_.push_back(8 * random_.Normal());
  }
  std::vector<float> Next(size_t rows) {
    std::vector<float> y;
    for (size_t r = 0; r < rows; ++r) {
      const size_t kind = static_cast<size_t>(random_.Uniform() * 0.999 *
                                              static_cast<double>(means_.size() / kChannels));
      for (size_t c = 0; c < kChannels; ++c) {
        y.push_back(static_cast<float>(means_[kind * kChannels + c] + noise_ * random_.Normal()));
      }
    }
    return y;
  }

 private:
  Random random_;
  double noise_;
  std::vector<double> means_;
};

RdOptions Learning(int32_t index) {
  RdOptions options = DeadZone(index);
  options.kinds = RdKinds::kLearn;
  return options;
}

TEST(RdMemory, AMeanIsThatOfItsRowsAndBelievedMoreTheMoreItSaw) {
  RdMemory memory(2);
  RdMemoryChanges changes;
  memory.Learn(std::vector<uint16_t>{2, 0, 2}, std::vector<float>{3, 6, 99, 99, 5, 2}, {},
               &changes);
  EXPECT_EQ(memory.size(), 0u);
  memory.Apply(changes);
  EXPECT_EQ(memory.size(), 2u);
  EXPECT_THAT(memory.counts(), ElementsAre(0, 2));
  std::vector<float> row = {1, 1};
  memory.AddExpectation(2, -1, row);
  const float belief = 4.0f / 5.0f;
  EXPECT_THAT(row, ElementsAre(1 - 4 * belief, 1 - 4 * belief));
  for (const uint16_t nothing : {uint16_t{0}, uint16_t{1}, uint16_t{3}}) {
    std::vector<float> same = {7, 8};
    memory.AddExpectation(nothing, 1, same);
    EXPECT_THAT(same, ElementsAre(7, 8));
  }
}

Bytes StateOf(uint32_t size, uint32_t count, const std::vector<float>& means) {
  Bytes state;
  AppendLittleEndian(&state, size);
  AppendLittleEndian(&state, count);
  for (const float mean : means) AppendLittleEndian(&state, mean);
  return state;
}

RdMemory FromBytes(const Bytes& state) {
  ByteReader reader(state, "state");
  return RdMemory::FromState(&reader, 2);
}

TEST(RdMemory, WhatIsNoStateIsRefused) {
  const RdMemory memory = FromBytes(StateOf(1, 3, {-5, 0.5f}));
  EXPECT_THAT(memory.counts(), ElementsAre(3));
  EXPECT_THAT(memory.means(), ElementsAre(-5, 0.5f));
  EXPECT_ERROR(FromBytes(StateOf(4096, 3, {})), Code::kDataLoss, "4096 kinds, at most 4095");
  EXPECT_ERROR(FromBytes(StateOf(1, 1 << 20, {1, 1})), Code::kDataLoss, "was seen 1048576 times");
  EXPECT_ERROR(FromBytes(StateOf(1, 3, {1})), Code::kDataLoss, "ends early");
  for (const float mean : {kRdLargestRow, -kRdLargestRow, NAN}) {
    EXPECT_ERROR(FromBytes(StateOf(1, 3, {1, mean})), Code::kDataLoss, "a mean in a memory");
  }
}

TEST(RdMemory, ItHoldsNoMoreThan64MiB) {
  EXPECT_EQ(RdMemory::LargestKind(576), 4095u);
  EXPECT_EQ(RdMemory::LargestKind(16384), 1024u);
}

// A peer may send any number of rows before it commits a step, or never do so.
TEST(RdMemory, WhatIsPendingGrowsWithTheKindsNotWithTheRows) {
  KindSource source(47, 5, 0.1);
  RdMemory memory(kChannels);
  RdMemoryChanges changes;
  for (int message = 0; message < 100; ++message) {
    memory.Learn(std::vector<uint16_t>{1, 0, 3, 3, 0}, source.Next(5), {}, &changes);
  }
  EXPECT_EQ(changes.kinds.size(), 2u);
  EXPECT_EQ(changes.largest(), 3u);
  EXPECT_EQ(changes.kinds.at(3).mean.size(), kChannels);
}

RdCounts CountsOf(std::vector<uint16_t> kinds, std::vector<float> rows) {
  RdCounts counts;
  counts.channel_sums.assign(kChannels, 1);
  counts.symbols.assign(RdCountOffsets()[kRdTables], 0);
  counts.kinds = std::move(kinds);
  counts.rows = std::move(rows);
  return counts;
}

TEST(RdMemory, AModelNeedsNoMoreThanItSays) {
  const size_t kinds = RdMemory::LargestKind(kChannels);
  std::vector<uint16_t> all(kinds);
  std::iota(all.begin(), all.end(), uint16_t{1});
  RdModel model(kChannels);
  model.Add({0, 0, 0}, CountsOf(all, std::vector<float>(kinds * kChannels, 1)));
  model.Keep({1, 0, 0});
  const uint64_t kept = model.State().size();
  EXPECT_LE(3 * kept, RdModel::LargestBytes(kChannels, true));  // grown while a step is pending
  EXPECT_GT(4 * kept + (2 << 20), RdModel::LargestBytes(kChannels, true));
  EXPECT_LT(RdModel::LargestBytes(kChannels, false), uint64_t{2} << 20);
}

TEST(RdMemory, TheDigestKnowsWhatIsPending) {
  const auto digest = [](int8_t centroid, uint16_t kind, float value) {
    RdCounts counts = CountsOf({kind}, std::vector<float>(kChannels, value));
    counts.has_centroids = true;
    counts.centroids[3][1] = centroid;
    RdModel model(kChannels);
    model.Add({0, 0, 0}, std::move(counts));
    return model.Digest();
  };
  EXPECT_EQ(digest(5, 2, 1), digest(5, 2, 1));
  EXPECT_NE(digest(6, 2, 1), digest(5, 2, 1));
  EXPECT_NE(digest(5, 1, 1), digest(5, 2, 1));
  EXPECT_NE(digest(5, 2, 3), digest(5, 2, 1));
  EXPECT_EQ(digest(5, 0, 3), digest(5, 0, 1));  // of no kind: nothing is kept
}

// The memory by its definition: the rows of kept steps, one by one.
class ReplayedMemory {
 public:
  void Learn(const std::vector<uint16_t>& kinds, const std::vector<float>& rows) {
    for (size_t r = 0; r < kinds.size(); ++r) {
      if (kinds[r] == 0) continue;
      if (kinds[r] > counts.size()) {
        counts.resize(kinds[r]);
        means.resize(kinds[r] * kChannels);
      }
      counts[kinds[r] - 1] = std::min(counts[kinds[r] - 1] + 1, 64u);
      for (size_t c = 0; c < kChannels; ++c) {
        float& mean = means[(kinds[r] - 1) * kChannels + c];
        mean += (rows[r * kChannels + c] - mean) / static_cast<float>(counts[kinds[r] - 1]);
      }
    }
  }
  std::vector<uint32_t> counts;
  std::vector<float> means;
};

TEST(RdMemory, KeptStepsChangeItAsTheirRowsOneByOneWhateverIsTakenBack) {
  Random random(48);
  KindSource source(48, 9, 0.5);
  RdModel model(kChannels);
  ReplayedMemory expected;
  struct Message {
    std::vector<uint16_t> kinds;
    std::vector<float> rows;
  };
  std::map<uint64_t, std::vector<Message>> pending;
  uint64_t kept = 0;
  for (uint64_t step = 0; step < 60; ++step) {
    for (uint32_t micro_batch = 0; micro_batch <= random.Below(3); ++micro_batch) {
      Message message;
      for (int r = 0; r < 8; ++r) {
        message.kinds.push_back(
            static_cast<uint16_t>(random.Below(static_cast<uint32_t>(step) + 2)));
      }
      message.rows = source.Next(8);
      model.Add({step, 0, micro_batch}, CountsOf(message.kinds, message.rows));
      pending[step].push_back(std::move(message));
    }
    if (random.Below(4) == 0) {
      model.TakeBack({step, 0, 0});
      pending.erase(step);
    }
    if (random.Below(2) == 0) continue;  // two steps and more may be pending
    for (; kept <= step; ++kept) {
      for (const Message& message : pending[kept]) expected.Learn(message.kinds, message.rows);
    }
    model.Keep({step + 1, 0, 0});
    ASSERT_THAT(model.memory().counts(), ::testing::ElementsAreArray(expected.counts)) << step;
    ASSERT_TRUE(std::ranges::equal(model.memory().means(), expected.means)) << step;
  }
  EXPECT_GT(expected.counts.size(), 30u);
}

TEST(RdMemory, RowsThatComeAgainNeedFewerBitsAndOthersNoMore) {
  for (const bool is_repeating : {true, false}) {
    KindSource source(41, is_repeating ? 20 : 20000, 1);
    RdEnds plain(kChannels), remembering(kChannels);
    double plain_bits = 0, remembering_bits = 0;
    for (uint64_t step = 0; step < 5; ++step) {
      const std::vector<float> y = source.Next(200);
      plain_bits += BitsOf(plain.Send(y, DeadZone(16), {step, 0, 0}).coded.sections);
      remembering_bits += BitsOf(remembering.Send(y, Learning(16), {step, 0, 0}).coded.sections);
      plain.Keep(step + 1);
      remembering.Keep(step + 1);
      EXPECT_EQ(remembering.sender.Digest(), remembering.receiver.Digest());
    }
    if (is_repeating) {
      EXPECT_LT(remembering_bits, 0.6 * plain_bits);
    } else {
      EXPECT_LT(remembering_bits, 1.06 * plain_bits);
    }
  }
}

TEST(RdMemory, TheErrorIsThatOfTheStepWhateverIsRemembered) {
  KindSource source(42, 5, 0.5);
  RdEnds ends(kChannels);
  for (uint64_t step = 0; step < 3; ++step) {
    const std::vector<float> y = source.Next(40);
    const auto sent = ends.Send(y, Learning(0), {step, 0, 0});
    ends.Keep(step + 1);
    for (size_t i = 0; i < y.size(); ++i) ASSERT_NEAR(sent.decoded[i], y[i], 1.001);
  }
}

TEST(RdMemory, MessagesOfOneStepDoNotShareTheirNewKinds) {
  RdEnds ends(kChannels);
  KindSource first(43, 6, 0.1), second(44, 6, 0.1);
  const auto a = ends.Send(first.Next(50), Learning(0), {0, 0, 0}).coded.counts.kinds;
  const auto b = ends.Send(second.Next(50), Learning(0), {0, 0, 1}).coded.counts.kinds;
  EXPECT_GT(*std::min_element(b.begin(), b.end()), *std::max_element(a.begin(), a.end()));
  EXPECT_EQ(ends.sender.memory().size(), 0u);
  ends.TakeBack(0);
  EXPECT_EQ(ends.sender.num_kinds(), 0u);
}

TEST(RdMemory, EvaluationUsesWhatIsKnownAndAddsNothing) {
  KindSource source(45, 4, 0.5);
  RdEnds ends(kChannels);
  RdOptions only_use = DeadZone(0);
  only_use.kinds = RdKinds::kUse;
  const std::vector<float> y = source.Next(60);
  const double unknown = BitsOf(RdEncode(y, only_use, ends.sender, {}).value().sections);
  ends.Send(source.Next(60), Learning(0), {});
  ends.Keep(1);
  const size_t known = ends.sender.memory().size();
  const RdEncoded coded = RdEncode(y, only_use, ends.sender, {}).value();
  EXPECT_LT(BitsOf(coded.sections), 0.7 * unknown);
  EXPECT_THAT(coded.counts.kinds, Each(::testing::Le(known)));
}

TEST(RdMemory, RowsTooLargeToCompareAreOfNoKind) {
  std::vector<float> y(2 * kChannels, 1.0f);
  y[3] = 0x1p55f;
  RdOptions options = Learning(640);
  EXPECT_TRUE(RdEncode(y, options, RdModel(kChannels), {}).value().counts.kinds.empty());
  y[3] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THROW(RdEncode(y, options, RdModel(kChannels), {}), Error);
}

class RdKindsHostile : public ::testing::Test {
 protected:
  static constexpr size_t kRows = 9, kFlags = 6, kWidth = 11;

  RdKindsHostile() {
    RdOptions options = Learning(0);
    sent_ = RdEncode(KindSource(46, 3, 0.1).Next(kRows), options, model_, {}).value().sections;
    // Head, flags without centroids; row classes, if any, lie before the kinds.
    Bytes& bytes = codes();
    place_ = kWidth + ((bytes[kFlags] & kRdHasRowClasses) != 0 ? (3 * kRows + 7) / 8 : 0);
  }
  Bytes& codes() { return sent_.back().bytes; }
  void ExpectRefused(const std::string& text) {
    std::vector<float> out(kRows * kChannels, 7.0f);
    EXPECT_ERROR(RdDecode(sent_, model_, out), Code::kDataLoss, text);
    EXPECT_THAT(out, Each(7.0f));
  }

  const RdModel model_{kChannels};
  std::vector<Section> sent_;
  size_t place_ = 0;
};

TEST_F(RdKindsHostile, TheMessageItselfIsTaken) {
  std::vector<float> out(kRows * kChannels);
  EXPECT_NO_THROW(RdDecode(sent_, model_, out));
}

TEST_F(RdKindsHostile, WhoHasNoMemoryTakesNoKinds) {
  std::vector<float> out(kRows * kChannels, 7.0f);
  EXPECT_ERROR(RdDecode(sent_, model_, out, {.takes_kinds = false}), Code::kDataLoss,
               "without a memory are of kinds");
  EXPECT_THAT(out, Each(7.0f));
}

TEST_F(RdKindsHostile, WidthsHaveALimit) {
  for (const uint8_t width : {uint8_t{0}, uint8_t{13}, uint8_t{255}}) {
    codes()[place_] = width;
    ExpectRefused("they have 1 to 12");
  }
}

TEST_F(RdKindsHostile, NewKindsFollowOnThoseKnown) {
  codes()[place_] = 8;  // and what follows is read as kinds
  for (size_t i = 0; i < kRows; ++i) codes()[place_ + 1 + i] = static_cast<uint8_t>(i + 1);
  codes()[place_ + kRows] = kRows + 1;
  ExpectRefused("a row is of kind 10; the largest can be 9");
}

TEST_F(RdKindsHostile, SpareBitsAreZeros) {
  codes()[place_ + (codes()[place_] * kRows + 7) / 8] |= 0x80u;
  ExpectRefused("spare bits");
}

TEST_F(RdKindsHostile, ValuesThatCannotBeLearntAreRefused) {
  const float huge = 0x1p104f;
  std::memcpy(codes().data(), &huge, sizeof(huge));
  ExpectRefused("2^100 or more");
}

}  // namespace
}  // namespace amaq::quant
