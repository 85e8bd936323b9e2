#ifndef AMAQ_CORE_TENSOR_VIEW_H_
#define AMAQ_CORE_TENSOR_VIEW_H_

// A borrowed, contiguous row-major matrix in host memory: what the codec reads.
// Value type; the memory must outlive the view.

#include <cstdint>

#include "core/dtype.h"

namespace amaq {

struct MatrixView {
  const void* data = nullptr;
  DType dtype = DType::kF32;
  int64_t rows = 0;      // N, tokens
  int64_t channels = 0;  // H
};

}  // namespace amaq

#endif  // AMAQ_CORE_TENSOR_VIEW_H_
