#include "train/versioned_widths.h"

#include "core/error.h"

namespace amaq::train {
namespace {

constexpr size_t kKeptVersions = 2;

}  // namespace

std::span<const uint8_t> VersionedWidths::Take(std::string_view message, uint64_t version,
                                               const Bytes* sent, uint64_t units) {
  if (sent != nullptr) {
    if (sent->size() != units) {
      Throw(Code::kInvalidArgument, "gate version ", version, " comes with ", sent->size(),
            " widths; there must be ", units);
    }
    const auto [known, is_new] = by_version_.try_emplace(version, *sent);
    if (!is_new && known->second != *sent) {
      Throw(Code::kInvalidArgument, "gate version ", version,
            " came with two different sets of widths");
    }
    while (by_version_.size() > kKeptVersions) by_version_.erase(by_version_.begin());
  }
  const auto found = by_version_.find(version);
  if (found == by_version_.end()) {
    Throw(Code::kFailedPrecondition, message, " is coded with gate version ", version,
          ", which this party does not hold");
  }
  return found->second;
}

}  // namespace amaq::train
