#ifndef AMAQ_QUANT_CUDA_KERNELS_H_
#define AMAQ_QUANT_CUDA_KERNELS_H_

// The codec of one tensor on a GPU: the ranges, codes and values of quant::Encode and
// quant::Decode, bit for bit. Every pointer is device memory of the caller, aligned to its element;
// `stream` is a cudaStream_t (nullptr: the default stream). A launch returns before the GPU is
// done. Sink rows and sections stay with the caller: rows that are not listed are neither read nor
// written, and ranges become bytes by WriteRanges / ParseRanges on the host.
// Thread-safety: pure functions. Errors: kUnimplemented where the build has no CUDA (no_cuda.cc);
// kInvalidArgument for a dtype, a size or a range mode that is not coded here; kInternal when CUDA
// refuses the launch. Source: docs/formats/octet.md (our choice), docs/adr/0011.

#include <cstdint>

#include "core/dtype.h"
#include "quant/config.h"
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

}  // namespace amaq::quant::cuda

#endif  // AMAQ_QUANT_CUDA_KERNELS_H_
