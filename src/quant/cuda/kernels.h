#ifndef AMAQ_QUANT_CUDA_KERNELS_H_
#define AMAQ_QUANT_CUDA_KERNELS_H_

// The codec of one tensor on a GPU: the ranges, codes and values of quant::Encode and
// quant::Decode, and below the integers, counts and values of quant::RdEncode and quant::RdDecode,
// bit for bit. Every pointer is device memory of the caller, aligned to its element; `stream` is a
// cudaStream_t (nullptr: the default stream). A launch returns before the GPU is done. Sink rows
// and sections stay with the caller: rows that are not listed are neither read nor written, and
// ranges become bytes by WriteRanges / ParseRanges on the host. Thread-safety: pure functions.
// Errors: kUnimplemented where the build has no CUDA (no_cuda.cc); kInvalidArgument for a dtype, a
// size or a range mode that is not coded here; kInternal when CUDA refuses the launch. Source:
// docs/formats/octet.md, docs/formats/rd.md (our choice), docs/adr/0011.

#include <cstdint>

#include "core/dtype.h"
#include "quant/config.h"
#include "quant/rd_tables.h"
#include "quant/uniform.h"

namespace amaq::quant::cuda {

inline constexpr uint32_t kMaxChannels = 1u << 20;
inline constexpr uint64_t kNone = ~uint64_t{0};

// The rows of a matrix [N, channels] that are coded.
struct CodedRows {
  const uint32_t* rows = nullptr;  // [count], ascending, each below N; nullptr: rows 0...count-1
  uint32_t count = 0;
  const uint32_t* ids = nullptr;  // [N], see RowPlan::row_ids; nullptr: the identity
};

// A matrix [N, channels], row-major, fp32, bf16 or fp16.
struct Input {
  const void* data = nullptr;
  DType dtype = DType::kF32;
  uint32_t channels = 0;  // 1...kMaxChannels
  CodedRows coded;
};

// What LaunchRanges found. A tensor with anything but kNone in it must not be sent: quant::Encode
// of a copy on the host says what is wrong with it.
struct Status {
  uint64_t non_finite = kNone;  // row << 32 | channel of the first NaN or Inf, row by row
  uint64_t overflow = kNone;    // lowest channel whose range leaves fp32
};

// Codes, and what places and reads them.
struct Layout {
  const uint8_t* widths = nullptr;    // [channels], each 0...8 (not checked here)
  const uint32_t* offsets = nullptr;  // [channels + 1], by LaunchOffsets
};

// offsets[c] = widths[0] + ... + widths[c-1]: where channel c starts in a group of 8 tokens. Once
// for each version of the widths.
void LaunchOffsets(const uint8_t* widths, uint32_t channels, uint32_t* offsets, void* stream);

uint64_t RangeWorkspaceBytes(uint32_t coded_rows, uint32_t channels);

// Writes ranges [channels] and *status; reads the tensor once. No coded row: writes neither.
// `mode`: kMinMax or kAbsMax. `workspace`: RangeWorkspaceBytes, aligned to 4.
void LaunchRanges(const Input& x, const uint8_t* widths, Range mode, void* workspace,
                  ChannelRange* ranges, Status* status, void* stream);

// Writes `codes`: ceil(count / 8) * offsets[channels] bytes, at any alignment. Writes nothing when
// *status (may be nullptr) reports something. `key` is that of stochastic rounding.
void LaunchEncode(const Input& x, const Layout& layout, const ChannelRange* ranges,
                  const Status* status, Rounding rounding, uint64_t key, uint8_t* codes,
                  void* stream);

// Writes the coded rows of out [N, channels], fp32. `codes` may have any alignment; the caller has
// checked its size.
void LaunchDecode(const uint8_t* codes, const Layout& layout, const ChannelRange* ranges,
                  const CodedRows& coded, uint32_t channels, float* out, void* stream);

// The rate-distortion coder (quant/rd.h): LaunchRdQuantize, on the host the choice of classes,
// LaunchRdCount, on the host the blocks of symbols and the rest of the bytes; back:
// LaunchRdDequantize. Kinds of rows and escapes stay with the caller.

// Copies of RdShapes(), RdCountOffsets() and RdSymbolCosts() (quant/rd_format.h).
struct RdFamily {
  const RdTableShape* shapes = nullptr;     // [kRdTables]
  const uint32_t* count_offsets = nullptr;  // [kRdTables + 1]
  const uint32_t* symbol_costs = nullptr;   // [kRdTables][256]; LaunchRdQuantize only
};
// As in quant::RdOptions.
struct RdRounding {
  Rounding rounding = Rounding::kNearestEven;
  float inverse_step = 1;  // 1.0f / RdStep::value()
  float offset = 0.35f;    // 0.5f less the dead zone
  uint64_t key = 0;
};
// A message with anything but kNone in it must not be made: row << 32 | channel of the first such
// value, row by row.
struct RdStatus {
  uint64_t non_finite = kNone;
  uint64_t too_large = kNone;
};
struct RdQuantized {
  int32_t* q = nullptr;              // [R, H]; 0 for what cannot be coded
  uint64_t* channel_sums = nullptr;  // [H], of |q|
  uint64_t* row_costs = nullptr;     // [R, kRdRowClasses] in 1/256 bit: what each class would cost
  RdStatus* status = nullptr;
};
struct RdIntegers {
  const int32_t* values = nullptr;  // [rows, channels]
  uint32_t rows = 0;
  uint32_t channels = 0;
};
struct RdRowClasses {
  const uint8_t* bases = nullptr;    // [H], below kRdBases (not checked here)
  const uint8_t* of_rows = nullptr;  // [R], below kRdRowClasses (not checked here)
};

// Writes `out`; reads y, fp32 and without a list of rows, once. bases [H]: as in RdRowClasses.
void LaunchRdQuantize(const Input& y, const RdRounding& rounding, const uint8_t* bases,
                      const RdFamily& family, const RdQuantized& out, void* stream);

// Writes symbols [R, H] and counts [RdCountOffsets()[kRdTables]], as in RdCounts.
void LaunchRdCount(const RdIntegers& q, const RdRowClasses& classes, const RdFamily& family,
                   uint8_t* symbols, uint32_t* counts, void* stream);

// Writes out [R, H]. shifts: a copy of RdShiftsOf(centroids), [kRdTables][3].
void LaunchRdDequantize(const RdIntegers& q, const RdRowClasses& classes, const float* shifts,
                        float step, float* out, void* stream);

}  // namespace amaq::quant::cuda

#endif  // AMAQ_QUANT_CUDA_KERNELS_H_
