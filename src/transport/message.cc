#include "transport/message.h"

#include <array>

#include "core/error.h"
#include "transport/limits.h"

namespace amaq::transport {

std::string_view PhaseName(Phase phase) {
  static constexpr std::array<std::string_view, 11> kNames = {
      "UNSPECIFIED", "FORWARD",  "BACKWARD", "NORM",     "COMMIT", "COMMITTED",
      "ABORT",       "EVALUATE", "DECODE",   "PROGRESS", "BASIS"};
  const auto index = static_cast<size_t>(phase);
  return index < kNames.size() ? kNames[index] : "phase outside the table";
}

std::string ToString(const MessageKey& key) {
  if (key.phase == Phase::kEvaluate || key.phase == Phase::kDecode) {
    return StrCat(PhaseName(key.phase), " request ", key.request_id);
  }
  return StrCat(PhaseName(key.phase), " step ", key.step, ".", key.attempt, " micro-batch ",
                key.micro_batch);
}

void CheckChunkBytes(uint32_t chunk_bytes) {
  if (chunk_bytes < kMinChunkBytes || chunk_bytes > kMaxChunkBytes) {
    Throw(Code::kInvalidArgument, "wire.chunk_bytes must be in [", kMinChunkBytes, ", ",
          kMaxChunkBytes, "], got ", chunk_bytes);
  }
}

}  // namespace amaq::transport
