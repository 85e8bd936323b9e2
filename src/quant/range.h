#ifndef AMAQ_QUANT_RANGE_H_
#define AMAQ_QUANT_RANGE_H_

// Ranges of the channels of one message: from extremes to (lo, step), and the kRanges section.
// Thread-safety: pure functions. Source: docs/formats/octet.md (our choice).

#include <cstdint>
#include <span>
#include <vector>

#include "core/section.h"
#include "quant/config.h"
#include "quant/uniform.h"

namespace amaq::quant {

// Smallest and largest value of each channel over the rows seen so far; all [H].
struct Extremes {
  explicit Extremes(size_t channels);
  void Add(std::span<const float> row);  // finite
  std::vector<float> lo;
  std::vector<float> hi;
};

// Range of a channel from its extremes. May be infinite (RangeIsFinite).
ChannelRange RangeOf(float lo, float hi, uint32_t width, Range mode, bool nested);

// The same of every channel, not nested. At least one row was added.
std::vector<ChannelRange> MakeRanges(const Extremes& extremes, std::span<const uint8_t> widths,
                                     Range mode);

Bytes WriteRanges(std::span<const ChannelRange> ranges);

// Errors: kDataLoss as docs/formats/octet.md lists them.
std::vector<ChannelRange> ParseRanges(ByteSpan bytes, std::span<const uint8_t> widths);

}  // namespace amaq::quant

#endif  // AMAQ_QUANT_RANGE_H_
