#ifndef AMAQ_QUANT_OCTET_H_
#define AMAQ_QUANT_OCTET_H_

// The octet layout: 8 codes of a channel of width n are exactly n bytes. Knows nothing of ranges or
// numbers. Thread-safety: pure functions. Source: docs/formats/octet.md (our choice); frozen.

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/section.h"

namespace amaq::quant {

inline constexpr size_t kGroupTokens = 8;
inline constexpr uint8_t kLargestWidth = 8;

// Bytes of one group of 8 tokens: the sum of the widths.
uint64_t GroupBytes(std::span<const uint8_t> widths);

// codes [8][H], each below 2^width. Writes GroupBytes(widths) bytes at the start of `out`; bytes
// behind them, inside `out`, may be overwritten (groups are packed in ascending order).
void PackGroup(const uint8_t* codes, std::span<const uint8_t> widths, std::span<uint8_t> out);

// The reverse: reads GroupBytes(widths) bytes at the start of `in`, writes codes [8][H].
void UnpackGroup(ByteSpan in, std::span<const uint8_t> widths, uint8_t* codes);

}  // namespace amaq::quant

#endif  // AMAQ_QUANT_OCTET_H_
