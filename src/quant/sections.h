#ifndef AMAQ_QUANT_SECTIONS_H_
#define AMAQ_QUANT_SECTIONS_H_

// What every decoder of sections asks of them. Thread-safety: pure functions.

#include <cstdint>
#include <string_view>
#include <vector>

#include "core/section.h"

namespace amaq::quant {

// The section of that kind. Errors: kDataLoss naming it when it is missing.
const Bytes& RequireSection(const std::vector<Section>& sections, SectionKind kind,
                            std::string_view name);
// The same, which must have that many bytes.
const Bytes& RequireSection(const std::vector<Section>& sections, SectionKind kind,
                            std::string_view name, uint64_t bytes);

uint64_t TotalBytes(const std::vector<Section>& sections);

}  // namespace amaq::quant

#endif  // AMAQ_QUANT_SECTIONS_H_
