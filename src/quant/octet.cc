#include "quant/octet.h"

#include <cstring>

#include "core/bytes.h"
#include "core/check.h"

namespace amaq::quant {

uint64_t GroupBytes(std::span<const uint8_t> widths) {
  uint64_t bytes = 0;
  for (const uint8_t width : widths) bytes += width;
  return bytes;
}

void PackGroup(const uint8_t* codes, std::span<const uint8_t> widths, std::span<uint8_t> out) {
  AMAQ_CHECK(out.size() >= GroupBytes(widths));
  const size_t channels = widths.size();
  size_t offset = 0;
  for (size_t c = 0; c < channels; ++c) {
    const size_t width = widths[c];
    if (width == 0) continue;
    uint64_t word = 0;
    for (size_t k = 0; k < kGroupTokens; ++k) {
      word |= uint64_t{codes[k * channels + c]} << (k * width);
    }
    // Eight bytes at once where they fit: what is too much is overwritten by the next channel.
    const size_t count = out.size() - offset >= sizeof(word) ? sizeof(word) : width;
    std::memcpy(out.data() + offset, &word, count);
    offset += width;
  }
}

void UnpackGroup(ByteSpan in, std::span<const uint8_t> widths, uint8_t* codes) {
  AMAQ_CHECK(in.size() >= GroupBytes(widths));
  const size_t channels = widths.size();
  size_t offset = 0;
  for (size_t c = 0; c < channels; ++c) {
    const size_t width = widths[c];
    const uint64_t mask = (uint64_t{1} << width) - 1;
    uint64_t word = 0;  // width 0: every code is 0
    const size_t count = in.size() - offset >= sizeof(word) ? sizeof(word) : width;
    if (width != 0) std::memcpy(&word, in.data() + offset, count);
    for (size_t k = 0; k < kGroupTokens; ++k) {
      codes[k * channels + c] = static_cast<uint8_t>((word >> (k * width)) & mask);
    }
    offset += width;
  }
}

}  // namespace amaq::quant
