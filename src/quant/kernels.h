#ifndef AMAQ_QUANT_KERNELS_H_
#define AMAQ_QUANT_KERNELS_H_

// The loops of the codec: extremes, codes, values, and the gate's sums, once for each instruction
// set. All sets give the same bytes; "scalar" is the reference. The codec picks one set a message.
// Rows are checked and sizes are right when a kernel is called; a kernel never throws.
// Thread-safety: pure functions. Source: our choice (docs/adr/0012-kernel-sets.md).

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "core/dtype.h"
#include "quant/config.h"
#include "quant/uniform.h"

namespace amaq::quant {

// Rows of a row-major matrix in fp32, bf16 or fp16 that share groups of 8, in ascending order.
struct CodedRows {
  const void* data = nullptr;
  DType dtype = DType::kF32;
  size_t channels = 0;             // of a row of the matrix
  std::span<const uint32_t> rows;  // numbers of the coded rows
};

// Channels [begin, end) of a message.
struct ChannelSlice {
  size_t begin = 0;
  size_t end = 0;
};

// Ranges and widths of all channels, an array for each number. Behind the last channel stand
// kPadding channels of width 0, so that a vector may be loaded at any channel.
struct ChannelTables {
  static constexpr size_t kPadding = 64;
  // nested: codes are made at 8 bits and shifted down to their width (docs/formats/octet.md).
  ChannelTables(std::span<const uint8_t> channel_widths, bool is_nested);
  void Set(size_t channel, const ChannelRange& range);

  bool nested;
  // False: every value of the slice lies between its channel's extremes, from which the range was
  // made as uniform.h does, so no code can leave [0, 2^width - 1] and kernels need not clamp.
  bool clips = true;
  std::vector<float> lo, step;
  std::vector<float> inverse_step;  // of the 8-bit step when nested
  std::vector<float> largest;       // largest code before the shift: 255 when nested
  std::vector<uint8_t> widths;
  std::vector<uint8_t> masks;  // 2^width - 1: the largest code
};

struct RoundingSpec {
  Rounding rounding = Rounding::kNearestEven;
  uint64_t key = 0;                   // stochastic
  std::span<const uint32_t> row_ids;  // stochastic: of every matrix row; empty: its own number
};

// Codes of a slice: group g of it starts at data + g * group_bytes and has as many bytes as the
// slice's widths add up to. What lies between is left alone.
struct CodeBytes {
  uint8_t* data = nullptr;
  size_t group_bytes = 0;
};
struct CodeView {
  const uint8_t* data = nullptr;
  size_t bytes = 0;  // that may be read
  size_t group_bytes = 0;
};

// Where decoded rows go: rows of a row-major fp32 matrix.
struct DecodedRows {
  float* data = nullptr;  // nullptr: only the sums are wanted
  size_t channels = 0;    // of a row of the matrix
  std::span<const uint32_t> rows;
};

// The gate's sums over the rows of a decoded gradient g, a double product and a double sum for each
// row in row order, so that every set gives the same number.
struct GateSumsJob {
  CodedRows x;                  // the activation's row for each coded row of the gradient
  const ChannelTables* tables;  // of the activation's message
  double* error_dot;  // [H] += g * (x_hat - x); nullptr: not wanted; 0 where x was clipped
  double* energy;     // [H] += g * g
};

// What one decoded element of the gradient adds; row: of the activation.
void AddToSums(const GateSumsJob& job, uint32_t row, size_t channel, float gradient);

struct SymbolKernels;  // symbol_kernels.h
struct RansKernels;    // rans_kernels.h

struct KernelSet {
  std::string_view name;
  // Widens lo and hi ([H], finite or infinite) to the slice's values. False: one of them may not be
  // finite, and lo and hi are then of no use.
  bool (*extremes)(const CodedRows& x, ChannelSlice slice, float* lo, float* hi);
  void (*encode)(const CodedRows& x, ChannelSlice slice, const ChannelTables& tables,
                 const RoundingSpec& rounding, const CodeBytes& out);
  // `sums` may be null.
  void (*decode)(const CodeView& codes, ChannelSlice slice, const ChannelTables& tables,
                 const DecodedRows& out, const GateSumsJob* sums);
  const SymbolKernels* symbols;
  const RansKernels* rans;  // the scalar ones where the instruction set cannot gather
};

// The sets that were built and that this machine can run, slowest first; "scalar" is the first.
std::span<const KernelSet> AllKernelSets();

// The set that AMAQ_SIMD names, else the last of AllKernelSets(). Errors: kInvalidArgument, naming
// the sets that there are, for any other name. Programs call it at start.
const KernelSet& ActiveKernelSet();

// The set of that name. Errors: as above.
const KernelSet& FindKernelSet(std::string_view name);

// Each source's own; called by kernels.cc.
KernelSet ScalarKernelSet();
std::vector<KernelSet> SimdKernelSets();

}  // namespace amaq::quant

#endif  // AMAQ_QUANT_KERNELS_H_
