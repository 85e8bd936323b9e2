#include "train/supervision.h"

#include <cstring>

#include "core/error.h"
#include "quant/rows.h"

namespace amaq::train {
namespace {

Bytes WordsToBytes(const std::vector<uint32_t>& words) {
  Bytes bytes(words.size() * sizeof(uint32_t));
  if (!bytes.empty()) std::memcpy(bytes.data(), words.data(), bytes.size());
  return bytes;
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
  supervision.segments = quant::ParseSegments(sections, num_tokens);
  supervision.target_rows = quant::ParseTargetRows(sections, num_tokens);
  const std::vector<uint32_t> targets =
      quant::SectionWords(sections, SectionKind::kTargets, "targets");
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
