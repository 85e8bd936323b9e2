#include <gtest/gtest.h>

#include "quant/codec.h"
#include "quant/entropy.h"
#include "tests/quant/samples.h"
#include "tests/support/errors.h"

namespace amaq::quant {
namespace {

constexpr int64_t kRows = 200;
constexpr int64_t kChannels = 96;

// Values of a heavy tail, whose codes are far from uniform.
std::vector<Section> Message(uint64_t seed, std::span<const uint8_t> widths, int64_t rows = kRows,
                             double power = 2) {
  Matrix x = Activations(seed, rows, kChannels);
  Random random(seed);
  for (float& value : x.values) {
    const double normal = random.Normal();
    value = static_cast<float>(std::copysign(std::pow(std::fabs(normal), power), normal));
  }
  return Encode(x.view(), widths, {}, {});
}

uint64_t Total(const std::vector<Section>& sections) {
  uint64_t total = 0;
  for (const Section& section : sections) total += section.bytes.size();
  return total;
}

bool Same(const std::vector<Section>& a, const std::vector<Section>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const Section& x, const Section& y) {
    return x.kind == y.kind && x.bytes == y.bytes;
  });
}

bool Has(const std::vector<Section>& sections, SectionKind kind) {
  return FindSection(sections, kind) != nullptr;
}

class EntropyStreamTest : public ::testing::Test {
 protected:
  // Compresses, checks what crosses, restores; returns what crossed.
  std::vector<Section> Pass(const std::vector<Section>& message, const std::vector<uint8_t>& widths,
                            uint64_t rows = kRows) {
    std::vector<Section> sections = message;
    sender_.Compress({.widths = widths, .rows = rows}, &sections);
    const std::vector<Section> crossed = sections;
    EXPECT_LE(Total(crossed), Total(message));
    receiver_.Restore({.widths = widths, .rows = rows}, &sections);
    EXPECT_TRUE(Same(sections, message));
    return crossed;
  }

  EntropySender sender_;
  EntropyReceiver receiver_;
  const std::vector<uint8_t> widths_ = std::vector<uint8_t>(kChannels, 4);
  const CodesShape shape_ = {.widths = widths_, .rows = kRows};
};

TEST_F(EntropyStreamTest, TablesCrossWithTheFirstMessageAndNotWithItsLikes) {
  const std::vector<Section> first = Pass(Message(1, widths_), widths_);
  const std::vector<Section> second = Pass(Message(2, widths_), widths_);

  EXPECT_TRUE(Has(first, SectionKind::kEntropyTables));
  EXPECT_TRUE(Has(first, SectionKind::kEntropyCodes));
  EXPECT_FALSE(Has(first, SectionKind::kCodes));
  EXPECT_FALSE(Has(second, SectionKind::kEntropyTables));
  EXPECT_TRUE(Has(second, SectionKind::kEntropyCodes));
  EXPECT_LT(sender_.bytes_out(), sender_.bytes_in() * 9 / 10);
  const uint64_t raw = 2 * CodesBytes(kRows, widths_);
  EXPECT_EQ(sender_.bytes_in(), raw);
  EXPECT_EQ(sender_.bytes_out(), raw + Total(first) + Total(second) - Total(Message(1, widths_)) -
                                     Total(Message(2, widths_)));
}

TEST_F(EntropyStreamTest, NewWidthsBringNewTables) {
  Pass(Message(1, widths_), widths_);
  const std::vector<uint8_t> others(kChannels, 3);

  EXPECT_TRUE(Has(Pass(Message(2, others), others), SectionKind::kEntropyTables));
  EXPECT_FALSE(Has(Pass(Message(3, others), others), SectionKind::kEntropyTables));
}

TEST_F(EntropyStreamTest, AgedTablesAreMadeAnew) {
  Pass(Message(1, widths_, kRows, 3), widths_);

  EXPECT_TRUE(Has(Pass(Message(2, widths_, kRows, 1), widths_), SectionKind::kEntropyTables));
}

TEST_F(EntropyStreamTest, WhatDoesNotShrinkCrossesPacked) {
  // Uniform codes: nothing to be had.
  Matrix x{kRows, kChannels, std::vector<float>(kRows * kChannels)};
  Random random(5);
  for (float& value : x.values) value = static_cast<float>(random.Uniform());
  const std::vector<Section> uniform = Encode(x.view(), widths_, {}, {});
  EXPECT_TRUE(Same(Pass(uniform, widths_), uniform));
  // One token of few channels: the coder's states alone are larger.
  const std::vector<uint8_t> few(8, 4);
  const std::vector<Section> token = Encode(Activations(3, 1, 8).view(), few, {}, {});
  EXPECT_TRUE(Same(Pass(token, few, 1), token));
  EXPECT_EQ(sender_.bytes_out(), sender_.bytes_in());
}

TEST_F(EntropyStreamTest, MessagesWithoutCodesOfTheseWidthsAreLeftAlone) {
  const std::vector<Section> raw = {{SectionKind::kRaw, Bytes(100)}};
  EXPECT_TRUE(Same(Pass(raw, {}), raw));
  const std::vector<Section> other = {{SectionKind::kCodes, Bytes(100)}};
  EXPECT_TRUE(Same(Pass(other, widths_), other));
  const std::vector<Section> empty = {{SectionKind::kCodes, {}}};
  EXPECT_TRUE(Same(Pass(empty, widths_, 0), empty));
}

TEST_F(EntropyStreamTest, ATableThatNeverCameIsAnErrorAndChangesNothing) {
  std::vector<Section> first = Message(1, widths_);
  sender_.Compress(shape_, &first);
  std::vector<Section> second = Message(2, widths_);
  sender_.Compress(shape_, &second);
  const std::vector<Section> before = second;

  EXPECT_THROWS(receiver_.Restore(shape_, &second), Code::kDataLoss, "never came");
  EXPECT_TRUE(Same(second, before));
  receiver_.Restore(shape_, &first);
  EXPECT_NO_THROW(receiver_.Restore(shape_, &second));
}

TEST_F(EntropyStreamTest, AnUnknownVersionOrWrongSectionsAreErrors) {
  std::vector<Section> message = Message(1, widths_);
  sender_.Compress(shape_, &message);
  const auto restore = [&](std::vector<Section> sections) { receiver_.Restore(shape_, &sections); };
  restore(message);
  const std::vector<Section> good = Message(2, widths_);
  std::vector<Section> next = good;
  sender_.Compress(shape_, &next);
  ASSERT_FALSE(Has(next, SectionKind::kEntropyTables));

  std::vector<Section> future = next;
  for (Section& section : future) {
    if (section.kind == SectionKind::kEntropyCodes) ++section.bytes[0];
  }
  EXPECT_THROWS(restore(future), Code::kDataLoss, "version 2 of the entropy tables");
  std::vector<Section> twice = next;
  twice.push_back(good.back());
  EXPECT_THROWS(restore(twice), Code::kDataLoss, "twice");
  EXPECT_THROWS(restore({{SectionKind::kEntropyTables, {}}}), Code::kDataLoss, "without codes");
  std::vector<Section> bare = next;
  std::erase_if(bare, [](const Section& s) { return s.kind == SectionKind::kRanges; });
  EXPECT_NO_THROW(restore(next));
}

}  // namespace
}  // namespace amaq::quant
