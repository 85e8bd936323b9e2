// The reference, plain loops over octet.h.

#include "quant/symbol_kernels.h"

#include <algorithm>

#include "core/check.h"
#include "quant/octet.h"

namespace amaq::quant {
namespace {

// Where the slice's bytes begin in a group, and what it takes of one.
struct SlicePlace {
  SlicePlace(const SymbolChannels& channels, ChannelSlice slice)
      : offset(GroupBytes(std::span(channels.widths).first(slice.begin))),
        widths(std::span(channels.widths).subspan(slice.begin, slice.end - slice.begin)),
        bytes(GroupBytes(widths)) {}
  size_t offset;
  std::span<const uint8_t> widths;
  size_t bytes;
};

void Unpack(ByteSpan codes, const SymbolChannels& channels, ChannelSlice slice, size_t rows,
            uint8_t* symbols) {
  const SlicePlace place(channels, slice);
  const size_t width = slice.end - slice.begin;
  std::vector<uint8_t> group(kGroupTokens * width);
  for (size_t first = 0; first < rows; first += kGroupTokens) {
    const size_t at = first / kGroupTokens * channels.group_bytes + place.offset;
    UnpackGroup(codes.subspan(at), place.widths, group.data());
    for (size_t k = 0; k < std::min(kGroupTokens, rows - first); ++k) {
      uint8_t* row = symbols + (first + k) * channels.count;
      for (size_t c = slice.begin; c < slice.end; ++c) {
        row[c] = static_cast<uint8_t>((group[k * width + c - slice.begin] + channels.offsets[c]) &
                                      channels.masks[c]);
      }
    }
  }
}

void Pack(const uint8_t* symbols, const SymbolChannels& channels, ChannelSlice slice, size_t rows,
          std::span<uint8_t> codes) {
  const SlicePlace place(channels, slice);
  const size_t width = slice.end - slice.begin;
  std::vector<uint8_t> group(kGroupTokens * width);
  for (size_t first = 0; first < rows; first += kGroupTokens) {
    std::fill(group.begin(), group.end(), uint8_t{0});
    for (size_t k = 0; k < std::min(kGroupTokens, rows - first); ++k) {
      const uint8_t* row = symbols + (first + k) * channels.count;
      for (size_t c = slice.begin; c < slice.end; ++c) {
        group[k * width + c - slice.begin] =
            static_cast<uint8_t>((row[c] - channels.offsets[c]) & channels.masks[c]);
      }
    }
    const size_t at = first / kGroupTokens * channels.group_bytes + place.offset;
    PackGroup(group.data(), place.widths, codes.subspan(at, place.bytes));
  }
}

}  // namespace

SymbolChannels::SymbolChannels(std::span<const uint8_t> channel_widths,
                               std::span<const uint8_t> zero_codes)
    : count(channel_widths.size()),
      group_bytes(GroupBytes(channel_widths)),
      widths(channel_widths.begin(), channel_widths.end()) {
  widths.resize(count + kPadding, 0);
  masks.reserve(widths.size());
  offsets.resize(widths.size(), 0);
  for (const uint8_t width : widths) masks.push_back(static_cast<uint8_t>((1u << width) - 1u));
  for (size_t c = 0; c < zero_codes.size(); ++c) {
    const uint32_t middle = (1u << widths[c]) / 2;
    offsets[c] = static_cast<uint8_t>(middle - zero_codes[c]);
  }
}

const SymbolKernels& ScalarSymbolKernels() {
  static constexpr SymbolKernels kernels = {Unpack, Pack};
  return kernels;
}

}  // namespace amaq::quant
