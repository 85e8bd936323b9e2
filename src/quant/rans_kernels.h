#ifndef AMAQ_QUANT_RANS_KERNELS_H_
#define AMAQ_QUANT_RANS_KERNELS_H_

// The loops of the range coder (rans.h), scalar and once for each instruction set that can gather;
// all of them give the same bytes. Sizes are checked and bytes are padded when a loop is called; a
// loop never throws on bytes from outside. Thread-safety: pure functions. Source: our choice
// (docs/adr/0012-kernel-sets.md).

#include <cstddef>
#include <cstdint>
#include <span>

#include "quant/rans.h"

namespace amaq::quant {

// A state x is in [kRansLow, 2^32) between two symbols; it gives or takes 16 bits at a time.
inline constexpr uint32_t kRansLow = uint32_t{1} << 16;

struct RansKernels {
  // Codes `symbols` [rows][channels] from the last to the first. `words` receives the words in the
  // order in which the states give them up, the reverse of that of a block; it has room for
  // max_words + kRansLanes. Returns their number; one above max_words means that the coder gave up.
  size_t (*encode)(const SymbolContext& context, std::span<const uint8_t> symbols, size_t max_words,
                   uint32_t* states, uint16_t* words);
  // Fills `symbols`. Behind `words` kRansLanes more may be read. Returns the number of words used;
  // one above words.size() means that there were too few.
  size_t (*decode)(const SymbolContext& context, std::span<const uint16_t> words, uint32_t* states,
                   std::span<uint8_t> symbols);
};

// The reference; those of an instruction set are reached through its KernelSet.
const RansKernels& ScalarRansKernels();

// Channels [begin, end) of one row, at most kRansLanes and within one turn of the lanes, in the
// order of a coder. Return the number of words.
struct RansRow {
  const SymbolContext& context;
  size_t row_class;
};
size_t EncodeRansChannels(const RansRow& row, size_t begin, size_t end, const uint8_t* symbols,
                          uint32_t* states, uint16_t* words);
size_t DecodeRansChannels(const RansRow& row, size_t begin, size_t end, const uint16_t* words,
                          uint32_t* states, uint8_t* symbols);

}  // namespace amaq::quant

#endif  // AMAQ_QUANT_RANS_KERNELS_H_
