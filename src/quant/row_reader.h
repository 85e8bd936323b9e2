#ifndef AMAQ_QUANT_ROW_READER_H_
#define AMAQ_QUANT_ROW_READER_H_

// Rows of a matrix in fp32, bf16 or fp16 as fp32 numbers (widening is exact). Lane-bound.

#include <cstdint>
#include <span>
#include <vector>

#include "core/tensor_view.h"

namespace amaq::quant {

class RowReader {
 public:
  // Errors: kInvalidArgument for another dtype, no channels, or a negative number of rows.
  explicit RowReader(const MatrixView& x);

  // [H], valid until the next call. Errors: NonFiniteError naming the row and channel.
  std::span<const float> FiniteRow(int64_t row);
  // The same without the check.
  std::span<const float> Row(int64_t row);
  int64_t num_rows() const { return x_.rows; }

 private:
  MatrixView x_;
  std::vector<float> row_;
};

}  // namespace amaq::quant

#endif  // AMAQ_QUANT_ROW_READER_H_
