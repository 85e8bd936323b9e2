#ifndef AMAQ_TRAIN_SUPERVISION_H_
#define AMAQ_TRAIN_SUPERVISION_H_

// The sections that say where sequences begin and what is to be predicted: kSegments, kSpans,
// kTargets. Token ids of the prompt never cross; targets are already shifted. Value type and pure
// functions. Source: design "The wire", section 2 (our choice).

#include <cstdint>
#include <vector>

#include "core/section.h"

namespace amaq::train {

struct Supervision {
  std::vector<uint32_t> segments;     // [S + 1] start offsets, last one = N
  std::vector<uint32_t> target_rows;  // [K] ascending
  std::vector<int32_t> targets;       // [K]
};

void AppendSupervision(const Supervision& supervision, std::vector<Section>* sections);

// num_tokens: N of the message's tensor; vocab: V.
// Errors: kInvalidArgument or kDataLoss naming the section and what is wrong with it: segments that
// do not cover [0, N), spans that are empty, out of order or out of range, a target outside the
// vocabulary, counts that disagree.
Supervision ParseSupervision(const std::vector<Section>& sections, uint64_t num_tokens,
                             int64_t vocab);

}  // namespace amaq::train

#endif  // AMAQ_TRAIN_SUPERVISION_H_
