#ifndef AMAQ_MODELS_BATCH_CONTEXT_H_
#define AMAQ_MODELS_BATCH_CONTEXT_H_

// What every block of a stage needs to know of a micro-batch, made once. Value type.

#include <cstdint>
#include <vector>

#include "lora/low_rank.h"
#include "models/model_spec.h"
#include "models/rotary.h"

namespace amaq::models {

struct BatchContext {
  std::vector<uint32_t> segments;  // [S + 1] start offsets, last one = N
  RotaryTable rotary;              // positions restart at 0 in each segment
  lora::DropoutContext dropout;
  int64_t num_rows() const { return segments.back(); }
};

// Errors: kInvalidArgument when segments do not start at 0, are not ascending or exceed the
// context.
BatchContext MakeBatchContext(const ModelSpec& spec, std::vector<uint32_t> segments,
                              const lora::DropoutContext& dropout, at::ScalarType type,
                              at::Device device);

}  // namespace amaq::models

#endif  // AMAQ_MODELS_BATCH_CONTEXT_H_
