#include "core/section.h"

#include <gtest/gtest.h>

namespace amaq {
namespace {

TEST(SectionTest, FindReturnsTheFirstOfItsKindOrNothing) {
  const std::vector<Section> sections = {
      {SectionKind::kCodes, {1}}, {SectionKind::kRanges, {2}}, {SectionKind::kCodes, {3}}};
  ASSERT_NE(FindSection(sections, SectionKind::kCodes), nullptr);
  EXPECT_EQ(FindSection(sections, SectionKind::kCodes)->at(0), 1);
  EXPECT_EQ(FindSection(sections, SectionKind::kRanges)->at(0), 2);
  EXPECT_EQ(FindSection(sections, SectionKind::kWidths), nullptr);
  EXPECT_EQ(FindSection({}, SectionKind::kCodes), nullptr);
}

TEST(SectionTest, NumbersAreThoseOfTheWire) {
  const SectionKind in_order[] = {
      SectionKind::kWidths,       SectionKind::kRanges,        SectionKind::kSinkRows,
      SectionKind::kCodes,        SectionKind::kRaw,           SectionKind::kTargets,
      SectionKind::kSpans,        SectionKind::kSegments,      SectionKind::kNorms,
      SectionKind::kEntropyCodes, SectionKind::kEntropyTables, SectionKind::kSampleKeys,
      SectionKind::kScales,       SectionKind::kTiles,         SectionKind::kRdCodes,
      SectionKind::kRdClasses,    SectionKind::kRdBasis};
  uint32_t number = 1;
  for (SectionKind kind : in_order) EXPECT_EQ(static_cast<uint32_t>(kind), number++);
}

}  // namespace
}  // namespace amaq
