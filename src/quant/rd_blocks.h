#ifndef AMAQ_QUANT_RD_BLOCKS_H_
#define AMAQ_QUANT_RD_BLOCKS_H_

// The integers of a message to blocks of symbols, low bits and escapes, and back. Blocks are coded
// one by one, on several threads; the same bytes and values on any number of them. Thread-safety:
// pure functions. Source: docs/formats/rd.md, "kRdCodes".

#include <cstdint>
#include <span>
#include <vector>

#include "core/bytes.h"
#include "core/section.h"
#include "quant/rans_kernels.h"
#include "quant/rd_format.h"

namespace amaq::quant {

// What both directions go by. Borrows.
struct RdCoding {
  const RdClasses& classes;
  const SymbolTables& tables;
  const RansKernels& kernels;
  size_t threads = 1;
};

// Appends q [R, H].
void RdWriteIntegers(std::span<const int32_t> q, const RdCoding& coding, Bytes* out);

// q [R, H], from where the blocks begin to the end. Errors: kDataLoss for bytes that
// RdWriteIntegers would not have made; the first damaged block is named. Allocates in proportion to
// R * H.
std::vector<int32_t> RdReadIntegers(ByteReader* reader, const RdCoding& coding);

}  // namespace amaq::quant

#endif  // AMAQ_QUANT_RD_BLOCKS_H_
