#include "models/batch_context.h"

#include "core/error.h"
#include "tensor/bridge.h"

namespace amaq::models {

BatchContext MakeBatchContext(const ModelSpec& spec, std::vector<uint32_t> segments,
                              const lora::DropoutContext& dropout, at::ScalarType type,
                              at::Device device) {
  if (segments.size() < 2 || segments.front() != 0) {
    Throw(Code::kInvalidArgument, "a micro-batch needs segments that start at row 0");
  }
  std::vector<int32_t> positions;
  positions.reserve(segments.back());
  for (size_t s = 0; s + 1 < segments.size(); ++s) {
    if (segments[s + 1] <= segments[s]) {
      Throw(Code::kInvalidArgument, "segment ", s, " of a micro-batch is empty or goes back");
    }
    const uint32_t length = segments[s + 1] - segments[s];
    if (length > spec.max_positions) {
      Throw(Code::kInvalidArgument, "a sequence of ", length,
            " tokens exceeds the model's context of ", spec.max_positions);
    }
    for (uint32_t t = 0; t < length; ++t) positions.push_back(static_cast<int32_t>(t));
  }
  BatchContext context;
  context.rotary =
      MakeRotaryTable(tensor::FromInts(positions, device), spec.head_dim, spec.rope_theta, type);
  context.segments = std::move(segments);
  context.dropout = dropout;
  return context;
}

}  // namespace amaq::models
