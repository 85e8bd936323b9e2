#ifndef AMAQ_CORE_SECTION_H_
#define AMAQ_CORE_SECTION_H_

// A message's payload is a list of sections: what grows with tokens or channels. The transport
// moves them without looking inside; the codec and the training step write and read them. Source:
// design "The wire", section 2 (our choice).

#include <cstdint>
#include <span>
#include <vector>

namespace amaq {

using Bytes = std::vector<uint8_t>;
using ByteSpan = std::span<const uint8_t>;

// On the wire; never renumber.
enum class SectionKind : uint32_t {
  kWidths = 1,          // one byte a channel; only when the gate's version changed
  kRanges = 2,          // per-channel lo and step (docs/formats/octet.md)
  kSinkRows = 3,        // bf16 rows that stay out of the octet stream
  kCodes = 4,           // octet layout
  kRaw = 5,             // a tensor as it is, in TensorSpec.dtype
  kTargets = 6,         // uint32 a supervised row
  kSpans = 7,           // supervised spans: pairs of uint32 [begin, end) in rows of the message
  kSegments = 8,        // uint32 start offsets of the sequences, last one = N
  kNorms = 9,           // double squared norm per tensor, in the order of global names
  kEntropyCodes = 10,   // kCodes, entropy-coded (docs/formats/entropy.md)
  kEntropyTables = 11,  // the tables that kEntropyCodes names; only when their version changed
  kSampleKeys = 12,     // a key a segment and which are first visits (docs/formats/aqsgd.md)
  kScales = 13,         // lo and step of each tile of a token (docs/formats/tiles.md)
  kTiles = 14,          // tahquant: tokens of fewer bits, tiles that are transformed
  kRdCodes = 15,        // integers of one step size, entropy-coded (docs/formats/rd.md)
  kRdClasses = 16,      // the class of each channel for kRdCodes, where the model does not say it
  kRdBasis = 17,        // the transform of amaq-rd (docs/formats/rd_basis.md)
};

struct Section {
  SectionKind kind;
  Bytes bytes;
};

// The section of that kind, or nullptr.
inline const Bytes* FindSection(const std::vector<Section>& sections, SectionKind kind) {
  for (const Section& section : sections) {
    if (section.kind == kind) return &section.bytes;
  }
  return nullptr;
}

}  // namespace amaq

#endif  // AMAQ_CORE_SECTION_H_
