#ifndef AMAQ_QUANT_SYMBOL_KERNELS_H_
#define AMAQ_QUANT_SYMBOL_KERNELS_H_

// The loops between codes in the octet layout and symbols (symbols.h), scalar and once for each
// instruction set; all of them give the same bytes. Sizes are right when a loop is called; a loop
// never throws. Thread-safety: pure functions. Source: our choice (docs/adr/0012-kernel-sets.md).

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/section.h"
#include "quant/kernels.h"

namespace amaq::quant {

// Of all channels, an array for each number, with kPadding entries behind the last.
struct SymbolChannels {
  static constexpr size_t kPadding = ChannelTables::kPadding;
  // zero_codes [H] or empty: symbols are the codes themselves.
  SymbolChannels(std::span<const uint8_t> channel_widths, std::span<const uint8_t> zero_codes);

  size_t count;        // H
  size_t group_bytes;  // of 8 rows
  std::vector<uint8_t> widths;
  std::vector<uint8_t> masks;    // 2^width - 1
  std::vector<uint8_t> offsets;  // symbol = (code + offset) & mask
};

struct SymbolKernels {
  // Channels of `slice`, symbols [rows][H]. Codes of whole groups.
  void (*unpack)(ByteSpan codes, const SymbolChannels& channels, ChannelSlice slice, size_t rows,
                 uint8_t* symbols);
  // Rows that are missing in the last group become code 0; other slices' bytes are left alone.
  void (*pack)(const uint8_t* symbols, const SymbolChannels& channels, ChannelSlice slice,
               size_t rows, std::span<uint8_t> codes);
};

// The reference; those of an instruction set are reached through its KernelSet.
const SymbolKernels& ScalarSymbolKernels();

}  // namespace amaq::quant

#endif  // AMAQ_QUANT_SYMBOL_KERNELS_H_
