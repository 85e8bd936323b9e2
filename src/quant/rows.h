#ifndef AMAQ_QUANT_ROWS_H_
#define AMAQ_QUANT_ROWS_H_

// Which rows of a micro-batch cross, and which of them are sink rows: both parties and whoever
// looks at a captured message derive the same from the sections kSegments and kSpans.
// Thread-safety: pure functions. Source: docs/formats/octet.md, design "The wire" (our choice).

#include <cstdint>
#include <span>
#include <vector>

#include "core/section.h"

namespace amaq::quant {

// The first `sink_tokens` rows of every segment. segments: [S + 1] start offsets, last one = N.
std::vector<uint32_t> SinkRows(std::span<const uint32_t> segments, uint32_t sink_tokens);

// Rows of a micro-batch's gradient that may differ from zero: of each segment, those up to its last
// supervised row.
struct GradientRows {
  std::vector<uint32_t> rows;       // ascending rows of the micro-batch
  std::vector<uint32_t> sink_rows;  // places within `rows`
  std::vector<uint32_t> positions;  // of each of `rows` in its segment
  uint64_t num_coded() const { return rows.size() - sink_rows.size(); }
};
GradientRows PlanGradientRows(std::span<const uint32_t> segments,
                              std::span<const uint32_t> target_rows, uint32_t sink_tokens);

// The kSegments section: start offsets that ascend from 0 to num_tokens. The kSpans section: the
// supervised rows, ascending.
// Errors: kInvalidArgument or kDataLoss naming the section and what is wrong with it.
std::vector<uint32_t> ParseSegments(const std::vector<Section>& sections, uint64_t num_tokens);
std::vector<uint32_t> ParseTargetRows(const std::vector<Section>& sections, uint64_t num_tokens);

// The 32-bit words of a section, named `name` in errors.
std::vector<uint32_t> SectionWords(const std::vector<Section>& sections, SectionKind kind,
                                   const char* name);

}  // namespace amaq::quant

#endif  // AMAQ_QUANT_ROWS_H_
