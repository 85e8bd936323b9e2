#ifndef AMAQ_QUANT_CUDA_PLAN_H_
#define AMAQ_QUANT_CUDA_PLAN_H_

// The launches of kernels.h on any grid: kernels.cu gives one that runs bodies on the GPU, the
// tests one that runs them on the host. A grid has
//   template <typename Body> void Run(uint32_t blocks, const typename Body::Params&)
// Errors: kInvalidArgument as in kernels.h.

#include <cstdint>

#include "core/error.h"
#include "quant/cuda/code_bodies.h"
#include "quant/cuda/range_bodies.h"
#include "quant/cuda/rd_bodies.h"
#include "quant/cuda/rd_quantize_bodies.h"

namespace amaq::quant::cuda {

inline void CheckSize(uint32_t channels, uint32_t coded_rows) {
  if (channels < 1 || channels > kMaxChannels) {
    Throw(Code::kInvalidArgument, "the CUDA kernels take 1 to ", kMaxChannels, " channels, got ",
          channels);
  }
  if (coded_rows > INT32_MAX) {
    Throw(Code::kInvalidArgument, "the CUDA kernels take at most 2^31-1 rows, got ", coded_rows);
  }
}

template <typename Body, typename Grid>
void RunBody(Grid& grid, const typename Body::Params& params) {
  const uint64_t blocks = Body::Blocks(params);
  if (blocks > INT32_MAX) {
    Throw(Code::kInvalidArgument, "the tensor needs ", blocks,
          " blocks of a CUDA grid, at most 2^31-1");
  }
  if (blocks > 0) grid.template Run<Body>(static_cast<uint32_t>(blocks), params);
}

template <DType kDType>
struct DTypeTag {
  static constexpr DType kValue = kDType;
};

// Calls action(DTypeTag<dtype>{}).
template <typename Action>
void WithDType(DType dtype, const Action& action) {
  switch (dtype) {
    case DType::kF32:
      return action(DTypeTag<DType::kF32>{});
    case DType::kBF16:
      return action(DTypeTag<DType::kBF16>{});
    case DType::kF16:
      return action(DTypeTag<DType::kF16>{});
    default:
      Throw(Code::kInvalidArgument, "the CUDA kernels take fp32, bf16 or fp16, got ",
            DTypeName(dtype));
  }
}

template <typename Grid>
void RunOffsets(Grid& grid, const uint8_t* widths, uint32_t channels, uint32_t* offsets) {
  CheckSize(channels, 0);
  RunBody<SumWidths>(grid, {widths, channels, offsets});
}

template <typename Grid>
void RunRanges(Grid& grid, const Input& x, const uint8_t* widths, Range mode, void* workspace,
               ChannelRange* ranges, Status* status) {
  CheckSize(x.channels, x.coded.count);
  if (mode != Range::kMinMax && mode != Range::kAbsMax) {
    Throw(Code::kInvalidArgument, "the CUDA kernels make the ranges minmax and absmax, not number ",
          static_cast<uint32_t>(mode));
  }
  auto* partials = static_cast<ChannelScan*>(workspace);
  const uint32_t slabs = CeilDivide(x.coded.count, kSlabRows);
  WithDType(x.dtype, [&](auto tag) {
    RunBody<ScanRows<tag.kValue>>(grid, {x, CeilDivide(x.channels, kWarp), partials, status});
  });
  if (slabs > 0) {
    RunBody<FinishRanges>(grid, {partials, slabs, x.channels, widths, mode, ranges, status});
  }
}

template <typename Grid>
void RunEncode(Grid& grid, const Input& x, const Layout& layout, const ChannelRange* ranges,
               const Status* status, Rounding rounding, uint64_t key, uint8_t* codes) {
  CheckSize(x.channels, x.coded.count);
  WithDType(x.dtype, [&](auto tag) {
    if (rounding == Rounding::kStochastic) {
      using Body = EncodeCodes<tag.kValue, Rounding::kStochastic>;
      RunBody<Body>(grid, {x, layout, ranges, status, key, codes});
    } else {
      using Body = EncodeCodes<tag.kValue, Rounding::kNearestEven>;
      RunBody<Body>(grid, {x, layout, ranges, status, key, codes});
    }
  });
}

template <typename Grid>
void RunDecode(Grid& grid, const uint8_t* codes, const Layout& layout, const ChannelRange* ranges,
               const CodedRows& coded, uint32_t channels, float* out) {
  CheckSize(channels, coded.count);
  RunBody<DecodeCodes>(grid, {codes, layout, ranges, coded, channels, out});
}

template <typename Grid>
void RunRdQuantize(Grid& grid, const Input& y, const RdRounding& rounding, const uint8_t* bases,
                   const RdFamily& family, const RdQuantized& out) {
  CheckSize(y.channels, y.coded.count);
  if (y.dtype != DType::kF32 || y.coded.rows != nullptr) {
    Throw(Code::kInvalidArgument,
          "the CUDA kernels of the rate-distortion coder take all rows as fp32, got ",
          y.coded.rows != nullptr ? "a list of rows of " : "", DTypeName(y.dtype));
  }
  RunBody<RdClear>(grid, {out, y.coded.count, y.channels});
  if (rounding.rounding == Rounding::kStochastic) {
    RunBody<RdQuantizeRows<Rounding::kStochastic>>(grid, {y, rounding, bases, family, out});
  } else {
    RunBody<RdQuantizeRows<Rounding::kNearestEven>>(grid, {y, rounding, bases, family, out});
  }
}

template <typename Grid>
void RunRdCount(Grid& grid, const RdIntegers& q, const RdRowClasses& classes,
                const RdFamily& family, uint8_t* symbols, uint32_t* counts) {
  CheckSize(q.channels, q.rows);
  const uint32_t bins = RdCountOffsets()[kRdTables];
  AMAQ_CHECK(bins <= kRdCountBins);
  RunBody<RdClearCounts>(grid, {counts, bins});
  RunBody<RdCountSymbols>(grid, {q, classes, family, bins, symbols, counts});
}

template <typename Grid>
void RunRdDequantize(Grid& grid, const RdIntegers& q, const RdRowClasses& classes,
                     const float* shifts, float step, float* out) {
  CheckSize(q.channels, q.rows);
  RunBody<RdDequantizeRows>(grid, {q, classes, shifts, step, out});
}

inline uint64_t WorkspaceBytes(uint32_t coded_rows, uint32_t channels) {
  return uint64_t{CeilDivide(coded_rows, kSlabRows)} * channels * sizeof(ChannelScan);
}

}  // namespace amaq::quant::cuda

#endif  // AMAQ_QUANT_CUDA_PLAN_H_
