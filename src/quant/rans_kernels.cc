#include "quant/rans_kernels.h"

#include <algorithm>

#include "core/check.h"

namespace amaq::quant {
namespace {

size_t Encode(const SymbolContext& context, std::span<const uint8_t> symbols, size_t max_words,
              uint32_t* states, uint16_t* words) {
  const size_t channels = context.channel_tables.size();
  size_t used = 0;
  for (size_t row = symbols.size() / channels; row-- > 0;) {
    const RansRow at{context, context.row_class(row)};
    for (size_t end = channels; end > 0;) {
      const size_t begin = (end - 1) / kRansLanes * kRansLanes;
      used +=
          EncodeRansChannels(at, begin, end, symbols.data() + row * channels, states, words + used);
      if (used > max_words) return used;
      end = begin;
    }
  }
  return used;
}

size_t Decode(const SymbolContext& context, std::span<const uint16_t> words, uint32_t* states,
              std::span<uint8_t> symbols) {
  const size_t channels = context.channel_tables.size();
  size_t used = 0;
  for (size_t row = 0; row < symbols.size() / channels; ++row) {
    const RansRow at{context, context.row_class(row)};
    for (size_t begin = 0; begin < channels; begin += kRansLanes) {
      used += DecodeRansChannels(at, begin, std::min(begin + kRansLanes, channels),
                                 words.data() + used, states, symbols.data() + row * channels);
      if (used > words.size()) return used;
    }
  }
  return used;
}

}  // namespace

size_t EncodeRansChannels(const RansRow& row, size_t begin, size_t end, const uint8_t* symbols,
                          uint32_t* states, uint16_t* words) {
  const SymbolContext& context = row.context;
  size_t used = 0;
  for (size_t c = end; c-- > begin;) {
    uint32_t x = states[c - begin];
    const SymbolTables::Slice slice =
        context.tables.slices(context.channel_tables[c] + row.row_class)[symbols[c]];
    const uint32_t frequency = slice.frequency;
    AMAQ_CHECK(frequency != 0);
    // x is below frequency * 2^18 before the symbol, below 2^32 after it.
    const uint32_t is_full = (x >> (32 - kFrequencyBits)) >= frequency ? 1 : 0;
    words[used] = static_cast<uint16_t>(x);
    used += is_full;
    x >>= 16 * is_full;
    states[c - begin] = ((x / frequency) << kFrequencyBits) + x % frequency + slice.start;
  }
  return used;
}

size_t DecodeRansChannels(const RansRow& row, size_t begin, size_t end, const uint16_t* words,
                          uint32_t* states, uint8_t* symbols) {
  const SymbolContext& context = row.context;
  size_t used = 0;
  for (size_t c = begin; c < end; ++c) {
    uint32_t x = states[c - begin];
    const size_t table = context.channel_tables[c] + row.row_class;
    const uint32_t position = x & (kFrequencyTotal - 1);
    const uint8_t symbol = context.tables.symbols(table)[position];
    const SymbolTables::Slice slice = context.tables.slices(table)[symbol];
    // At least 4 whatever the bytes say, so one word brings it back above kRansLow.
    x = slice.frequency * (x >> kFrequencyBits) + position - slice.start;
    const uint32_t is_short = x < kRansLow ? 1 : 0;
    states[c - begin] = is_short != 0 ? (x << 16) | words[used] : x;
    used += is_short;
    symbols[c] = symbol;
  }
  return used;
}

const RansKernels& ScalarRansKernels() {
  static constexpr RansKernels kernels = {Encode, Decode};
  return kernels;
}

}  // namespace amaq::quant
