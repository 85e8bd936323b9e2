#include "quant/sections.h"

#include "core/error.h"

namespace amaq::quant {

uint64_t TotalBytes(const std::vector<Section>& sections) {
  uint64_t total = 0;
  for (const Section& section : sections) total += section.bytes.size();
  return total;
}

const Bytes& RequireSection(const std::vector<Section>& sections, SectionKind kind,
                            std::string_view name) {
  const Bytes* found = FindSection(sections, kind);
  if (found == nullptr) Throw(Code::kDataLoss, "the message has no ", name, " section");
  return *found;
}

const Bytes& RequireSection(const std::vector<Section>& sections, SectionKind kind,
                            std::string_view name, uint64_t bytes) {
  const Bytes& found = RequireSection(sections, kind, name);
  if (found.size() != bytes) {
    Throw(Code::kDataLoss, "the ", name, " section must have ", bytes, " bytes, has ",
          found.size());
  }
  return found;
}

}  // namespace amaq::quant
