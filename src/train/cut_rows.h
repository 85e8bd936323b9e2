#ifndef AMAQ_TRAIN_CUT_ROWS_H_
#define AMAQ_TRAIN_CUT_ROWS_H_

// What the sources of cut.h share. Pure functions.

#include <cstdint>

#include "train/cut.h"

namespace amaq::train {

// x as the codec reads it: on the host, in fp32, bf16 or fp16; fp64 (tests) is narrowed.
at::Tensor CodecInput(const at::Tensor& x);

// [num_rows, H]: the rows of a gradient that crossed, in their places; the others are zero.
at::Tensor SpreadRows(const at::Tensor& rows, const GradientRows& plan, int64_t num_rows,
                      at::Device device, at::ScalarType type);

// What a gradient's message is to the coders: an attempt that was taken back leaves nothing.
inline quant::MessagePlace PlaceOf(const MicroBatchId& id) { return {id.step, 0, id.micro_batch}; }

}  // namespace amaq::train

#endif  // AMAQ_TRAIN_CUT_ROWS_H_
