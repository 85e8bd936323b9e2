#include "train/supervision.h"

#include <cstring>

#include "core/bytes.h"

namespace amaq::train {
namespace {

Bytes WordsToBytes(const std::vector<uint32_t>& words) {
  Bytes bytes(words.size() * sizeof(uint32_t));
  if (!bytes.empty()) std::memcpy(bytes.data(), words.data(), bytes.size());
  return bytes;
}

std::vector<uint32_t> Words(const std::vector<Section>& sections, SectionKind kind,
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

void AppendSupervision(const Supervision& supervision, std::vector<Section>* sections) {
  std::vector<uint32_t> spans;
  for (const uint32_t row : supervision.target_rows) {
    if (spans.empty() || spans.back() != row) {
      spans.insert(spans.end(), {row, row + 1});
    } else {
      spans.back() = row + 1;
    }
  }
  const std::vector<uint32_t> targets(supervision.targets.begin(), supervision.targets.end());
  sections->push_back({SectionKind::kSegments, WordsToBytes(supervision.segments)});
  sections->push_back({SectionKind::kSpans, WordsToBytes(spans)});
  sections->push_back({SectionKind::kTargets, WordsToBytes(targets)});
}

Supervision ParseSupervision(const std::vector<Section>& sections, uint64_t num_tokens,
                             int64_t vocab) {
  Supervision supervision;
  supervision.segments = Words(sections, SectionKind::kSegments, "segments");
  CheckSegments(supervision.segments, num_tokens);
  supervision.target_rows = RowsOfSpans(Words(sections, SectionKind::kSpans, "spans"), num_tokens);
  const std::vector<uint32_t> targets = Words(sections, SectionKind::kTargets, "targets");
  if (targets.size() != supervision.target_rows.size()) {
    Throw(Code::kInvalidArgument, "a micro-batch has ", targets.size(), " targets for ",
          supervision.target_rows.size(), " supervised rows");
  }
  for (const uint32_t target : targets) {
    if (target >= static_cast<uint64_t>(vocab)) {
      Throw(Code::kInvalidArgument, "target ", target, " is outside the vocabulary of ", vocab);
    }
    supervision.targets.push_back(static_cast<int32_t>(target));
  }
  return supervision;
}

}  // namespace amaq::train
