#include "quant/rows.h"

#include <algorithm>
#include <cstring>

#include "core/error.h"

namespace amaq::quant {
namespace {

void CheckSegments(const std::vector<uint32_t>& segments, uint64_t num_tokens) {
  if (segments.size() < 2 || segments.front() != 0 || segments.back() != num_tokens) {
    Throw(Code::kInvalidArgument, "the segments do not cover the ", num_tokens,
          " tokens of the micro-batch");
  }
  for (size_t s = 0; s + 1 < segments.size(); ++s) {
    if (segments[s + 1] <= segments[s]) {
      Throw(Code::kInvalidArgument, "segment ", s, " is empty or goes back");
    }
  }
}

// Rows of [begin, end) spans, which must ascend without touching.
std::vector<uint32_t> RowsOfSpans(const std::vector<uint32_t>& spans, uint64_t num_tokens) {
  if (spans.size() % 2 != 0) Throw(Code::kDataLoss, "the spans section ends within a span");
  std::vector<uint32_t> rows;
  uint32_t previous_end = 0;
  for (size_t i = 0; i < spans.size(); i += 2) {
    const uint32_t begin = spans[i];
    const uint32_t end = spans[i + 1];
    if (begin >= end || end > num_tokens || (i > 0 && begin <= previous_end)) {
      Throw(Code::kInvalidArgument, "supervised span ", i / 2, " [", begin, ", ", end,
            ") is empty, out of order or beyond the ", num_tokens, " tokens of the micro-batch");
    }
    for (uint32_t row = begin; row < end; ++row) rows.push_back(row);
    previous_end = end;
  }
  return rows;
}

}  // namespace

std::vector<uint32_t> SectionWords(const std::vector<Section>& sections, SectionKind kind,
                                   const char* name) {
  const Bytes* bytes = FindSection(sections, kind);
  if (bytes == nullptr) Throw(Code::kInvalidArgument, "a message lacks its ", name, " section");
  if (bytes->size() % sizeof(uint32_t) != 0) {
    Throw(Code::kDataLoss, "the ", name, " section has ", bytes->size(),
          " bytes, not a multiple of 4");
  }
  std::vector<uint32_t> words(bytes->size() / sizeof(uint32_t));
  if (!words.empty()) std::memcpy(words.data(), bytes->data(), bytes->size());
  return words;
}

std::vector<uint32_t> SinkRows(std::span<const uint32_t> segments, uint32_t sink_tokens) {
  std::vector<uint32_t> rows;
  for (size_t s = 0; s + 1 < segments.size(); ++s) {
    const uint32_t end = std::min(segments[s + 1], segments[s] + sink_tokens);
    for (uint32_t row = segments[s]; row < end; ++row) rows.push_back(row);
  }
  return rows;
}

GradientRows PlanGradientRows(std::span<const uint32_t> segments,
                              std::span<const uint32_t> target_rows, uint32_t sink_tokens) {
  GradientRows plan;
  size_t next = 0;
  for (size_t s = 0; s + 1 < segments.size(); ++s) {
    uint32_t end = segments[s];  // one past the segment's last supervised row
    for (; next < target_rows.size() && target_rows[next] < segments[s + 1]; ++next) {
      end = target_rows[next] + 1;
    }
    for (uint32_t row = segments[s]; row < end; ++row) {
      if (row - segments[s] < sink_tokens) {
        plan.sink_rows.push_back(static_cast<uint32_t>(plan.rows.size()));
      }
      plan.rows.push_back(row);
      plan.positions.push_back(row - segments[s]);
    }
  }
  return plan;
}

std::vector<uint32_t> ParseSegments(const std::vector<Section>& sections, uint64_t num_tokens) {
  std::vector<uint32_t> segments = SectionWords(sections, SectionKind::kSegments, "segments");
  CheckSegments(segments, num_tokens);
  return segments;
}

std::vector<uint32_t> ParseTargetRows(const std::vector<Section>& sections, uint64_t num_tokens) {
  return RowsOfSpans(SectionWords(sections, SectionKind::kSpans, "spans"), num_tokens);
}

}  // namespace amaq::quant
