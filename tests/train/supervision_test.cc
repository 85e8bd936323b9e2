#include "train/supervision.h"

#include <gmock/gmock.h>

#include <cstring>

#include "core/error.h"
#include "tests/support/errors.h"

namespace amaq::train {
namespace {

using ::testing::ElementsAre;

constexpr uint64_t kTokens = 12;
constexpr int64_t kVocab = 100;

Supervision SomeSupervision() { return {{0, 5, 12}, {2, 3, 7, 8, 9, 11}, {4, 99, 0, 7, 7, 1}}; }

std::vector<Section> SomeSections() {
  std::vector<Section> sections;
  AppendSupervision(SomeSupervision(), &sections);
  return sections;
}

Bytes WordsOf(const std::vector<uint32_t>& words) {
  Bytes bytes(words.size() * 4);
  if (!words.empty()) std::memcpy(bytes.data(), words.data(), bytes.size());
  return bytes;
}

// SomeSections() with one of them replaced.
std::vector<Section> With(SectionKind kind, const Bytes& bytes) {
  std::vector<Section> sections = SomeSections();
  for (Section& section : sections) {
    if (section.kind == kind) section.bytes = bytes;
  }
  return sections;
}

std::vector<Section> Without(SectionKind kind) {
  std::vector<Section> sections = SomeSections();
  std::erase_if(sections, [kind](const Section& section) { return section.kind == kind; });
  return sections;
}

Supervision Parse(const std::vector<Section>& sections) {
  return ParseSupervision(sections, kTokens, kVocab);
}

void ExpectSpansRefused(const std::vector<uint32_t>& spans) {
  EXPECT_THROWS(Parse(With(SectionKind::kSpans, WordsOf(spans))), Code::kInvalidArgument,
                "supervised span");
}

TEST(SupervisionTest, ComesBackAsItWasWritten) {
  const Supervision parsed = Parse(SomeSections());

  EXPECT_EQ(parsed.segments, SomeSupervision().segments);
  EXPECT_EQ(parsed.target_rows, SomeSupervision().target_rows);
  EXPECT_EQ(parsed.targets, SomeSupervision().targets);
}

TEST(SupervisionTest, WritesOneSpanARunOfRows) {
  const std::vector<Section> sections = SomeSections();

  EXPECT_EQ(*FindSection(sections, SectionKind::kSpans), WordsOf({2, 4, 7, 10, 11, 12}));
  EXPECT_EQ(*FindSection(sections, SectionKind::kSegments), WordsOf({0, 5, 12}));
  EXPECT_EQ(*FindSection(sections, SectionKind::kTargets), WordsOf({4, 99, 0, 7, 7, 1}));
}

TEST(SupervisionTest, NothingSupervisedCrossesAsEmptySections) {
  std::vector<Section> sections;
  AppendSupervision({{0, 12}, {}, {}}, &sections);

  const Supervision parsed = Parse(sections);

  EXPECT_TRUE(parsed.target_rows.empty());
  EXPECT_TRUE(parsed.targets.empty());
}

TEST(SupervisionTest, RefusesAMissingSectionByItsName) {
  EXPECT_THROWS(Parse(Without(SectionKind::kSegments)), Code::kInvalidArgument, "segments");
  EXPECT_THROWS(Parse(Without(SectionKind::kSpans)), Code::kInvalidArgument, "spans");
  EXPECT_THROWS(Parse(Without(SectionKind::kTargets)), Code::kInvalidArgument, "targets");
}

TEST(SupervisionTest, RefusesASectionThatEndsWithinAWordOrASpan) {
  EXPECT_THROWS(Parse(With(SectionKind::kTargets, Bytes(23))), Code::kDataLoss, "23 bytes");
  EXPECT_THROWS(Parse(With(SectionKind::kSpans, WordsOf({2, 4, 7}))), Code::kDataLoss,
                "ends within a span");
}

TEST(SupervisionTest, RefusesSegmentsThatDoNotCoverTheTokens) {
  for (const std::vector<uint32_t>& segments :
       {std::vector<uint32_t>{}, {0}, {0, 5, 11}, {0, 5, 13}, {1, 12}}) {
    EXPECT_THROWS(Parse(With(SectionKind::kSegments, WordsOf(segments))), Code::kInvalidArgument,
                  "do not cover the 12 tokens");
  }
  EXPECT_THROWS(Parse(With(SectionKind::kSegments, WordsOf({0, 5, 5, 12}))), Code::kInvalidArgument,
                "segment 1 is empty");
  EXPECT_THROWS(Parse(With(SectionKind::kSegments, WordsOf({0, 5, 3, 12}))), Code::kInvalidArgument,
                "segment 1 is empty or goes back");
}

TEST(SupervisionTest, RefusesSpansThatAreEmptyBackwardsOutOfOrderTouchingOrBeyondTheTokens) {
  ExpectSpansRefused({3, 3});
  ExpectSpansRefused({4, 2});
  ExpectSpansRefused({7, 10, 2, 5});
  ExpectSpansRefused({2, 4, 3, 7});
  ExpectSpansRefused({2, 4, 4, 8});
  ExpectSpansRefused({7, 13});
  ExpectSpansRefused({0, 0xffffffff});
}

TEST(SupervisionTest, AcceptsASpanOverAllRows) {
  const Bytes targets = WordsOf(std::vector<uint32_t>(kTokens, 3));
  std::vector<Section> sections = With(SectionKind::kSpans, WordsOf({0, 12}));
  for (Section& section : sections) {
    if (section.kind == SectionKind::kTargets) section.bytes = targets;
  }

  EXPECT_EQ(Parse(sections).target_rows.size(), kTokens);
}

TEST(SupervisionTest, RefusesMoreOrFewerTargetsThanRows) {
  EXPECT_THROWS(Parse(With(SectionKind::kTargets, WordsOf({1, 2, 3, 4, 5}))),
                Code::kInvalidArgument, "5 targets for 6");
  EXPECT_THROWS(Parse(With(SectionKind::kTargets, WordsOf({1, 2, 3, 4, 5, 6, 7}))),
                Code::kInvalidArgument, "7 targets for 6");
}

TEST(SupervisionTest, RefusesATargetOutsideTheVocabularyAndOneThatWouldBeNegative) {
  EXPECT_THROWS(Parse(With(SectionKind::kTargets, WordsOf({1, 2, 100, 4, 5, 6}))),
                Code::kInvalidArgument, "target 100 is outside the vocabulary of 100");
  EXPECT_THROWS(Parse(With(SectionKind::kTargets, WordsOf({1, 2, 0xffffffff, 4, 5, 6}))),
                Code::kInvalidArgument, "target 4294967295");
  EXPECT_THAT(Parse(With(SectionKind::kTargets, WordsOf({1, 2, 99, 4, 5, 6}))).targets,
              ElementsAre(1, 2, 99, 4, 5, 6));
}

}  // namespace
}  // namespace amaq::train
