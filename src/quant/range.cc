#include "quant/range.h"

#include <bit>
#include <limits>

#include "core/bytes.h"
#include "core/dtype.h"

namespace amaq::quant {
namespace {

uint16_t ExactBF16(float value) {
  return static_cast<uint16_t>(std::bit_cast<uint32_t>(value) >> 16);
}

}  // namespace

Extremes::Extremes(size_t channels)
    : lo(channels, std::numeric_limits<float>::infinity()),
      hi(channels, -std::numeric_limits<float>::infinity()) {}

void Extremes::Add(std::span<const float> row) {
  for (size_t c = 0; c < row.size(); ++c) {
    lo[c] = row[c] < lo[c] ? row[c] : lo[c];
    hi[c] = row[c] > hi[c] ? row[c] : hi[c];
  }
}

ChannelRange RangeOf(float lo, float hi, uint32_t width, Range mode, bool nested) {
  if (mode == Range::kAbsMax) {
    hi = LargestMagnitude(lo, hi);
    lo = -hi;
  }
  return nested ? MakeNestedRange(lo, hi, width) : MakeRange(lo, hi, width);
}

std::vector<ChannelRange> MakeRanges(const Extremes& extremes, std::span<const uint8_t> widths,
                                     Range mode) {
  std::vector<ChannelRange> ranges(widths.size());
  for (size_t c = 0; c < widths.size(); ++c) {
    ranges[c] = RangeOf(extremes.lo[c], extremes.hi[c], widths[c], mode, false);
  }
  return ranges;
}

Bytes WriteRanges(std::span<const ChannelRange> ranges) {
  Bytes out((ranges.size() + 7) / 8, 0);
  out.reserve(out.size() + ranges.size() * 6);
  for (size_t c = 0; c < ranges.size(); ++c) {
    if (ranges[c].lo_is_fp32) out[c / 8] = static_cast<uint8_t>(out[c / 8] | (1u << (c % 8)));
  }
  for (const ChannelRange& range : ranges) {
    if (range.lo_is_fp32) {
      AppendLittleEndian(&out, range.lo);
    } else {
      AppendLittleEndian(&out, ExactBF16(range.lo));
    }
  }
  for (const ChannelRange& range : ranges) AppendLittleEndian(&out, ExactBF16(range.step));
  return out;
}

std::vector<ChannelRange> ParseRanges(ByteSpan bytes, std::span<const uint8_t> widths) {
  const size_t channels = widths.size();
  ByteReader reader(bytes, "ranges section");
  const ByteSpan bitmap = reader.Take((channels + 7) / 8);
  for (size_t bit = channels; bit < bitmap.size() * 8; ++bit) {
    if ((bitmap[bit / 8] >> (bit % 8) & 1) != 0) {
      Throw(Code::kDataLoss, "ranges section sets bit ", bit, " of a bitmap of ", channels,
            " channels");
    }
  }
  std::vector<ChannelRange> ranges(channels);
  for (size_t c = 0; c < channels; ++c) {
    ranges[c].lo_is_fp32 = (bitmap[c / 8] >> (c % 8) & 1) != 0;
    ranges[c].lo = ranges[c].lo_is_fp32 ? reader.Read<float>() : BF16ToF32(reader.Read<uint16_t>());
  }
  for (size_t c = 0; c < channels; ++c) {
    const auto bits = reader.Read<uint16_t>();
    ranges[c].step = BF16ToF32(bits);
    if (bits != 0 && !(ranges[c].step >= kSmallestStep && IsFinite(ranges[c].step))) {
      Throw(Code::kDataLoss, "ranges section: step of channel ", c, " is ", ranges[c].step,
            ", must be 0 or in [2^-126, inf)");
    }
    if (!RangeIsFinite(ranges[c], widths[c])) {
      Throw(Code::kDataLoss, "ranges section: channel ", c, " with lo ", ranges[c].lo, " and step ",
            ranges[c].step, " leaves the fp32 numbers");
    }
  }
  reader.ExpectEnd();
  return ranges;
}

}  // namespace amaq::quant
