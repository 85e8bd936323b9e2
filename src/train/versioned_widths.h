#ifndef AMAQ_TRAIN_VERSIONED_WIDTHS_H_
#define AMAQ_TRAIN_VERSIONED_WIDTHS_H_

// The widths that the sender of a tensor has announced, by version: what a receiver decodes with.
// Thread-compatible. Source: docs/formats/gate.md (our choice).

#include <cstdint>
#include <map>
#include <span>
#include <string_view>
#include <vector>

#include "core/section.h"

namespace amaq::train {

class VersionedWidths {
 public:
  // The widths of `version` (not 0), valid until the next call. sent: the message's kWidths section
  // or nullptr; units: how many widths there must be. The newest two versions are kept.
  // Errors: kInvalidArgument for another number of widths or two sets under one version;
  // kFailedPrecondition for a version that is not held.
  std::span<const uint8_t> Take(std::string_view message, uint64_t version, const Bytes* sent,
                                uint64_t units);

 private:
  std::map<uint64_t, std::vector<uint8_t>> by_version_;
};

}  // namespace amaq::train

#endif  // AMAQ_TRAIN_VERSIONED_WIDTHS_H_
