#ifndef AMAQ_TRAIN_MOMENTS_H_
#define AMAQ_TRAIN_MOMENTS_H_

// Mean and covariance of the rows of a stream of matrices, in double, sink rows apart. Lane-bound.
// Source: the pairwise update of T. F. Chan, G. H. Golub and R. J. LeVeque, "Updating Formulae and
// a Pairwise Algorithm for Computing Sample Variances" (1979), with matrices for squares.

#include <cstdint>
#include <span>

#include "tensor/aten.h"

namespace amaq::train {

class Moments {
 public:
  explicit Moments(int64_t channels);

  // x [N, H] of any floating type, on any device. sink_rows: ascending.
  void Add(const at::Tensor& x, std::span<const uint32_t> sink_rows);

  int64_t channels() const;
  // Of the rows that are no sinks.
  int64_t rows() const { return rows_; }
  const at::Tensor& mean() const { return mean_; }  // [H] fp64, host; 0 without rows
  at::Tensor Covariance() const;                    // [H, H] fp64, host; divided by rows()
  // Of the sink rows: [H] fp64, host; 0 without.
  const at::Tensor& sink_mean() const { return sink_mean_; }

 private:
  int64_t rows_ = 0;
  at::Tensor mean_;
  at::Tensor scatter_;  // [H, H] sum of the outer products of rows less their mean
  int64_t sinks_ = 0;
  at::Tensor sink_mean_;
};

}  // namespace amaq::train

#endif  // AMAQ_TRAIN_MOMENTS_H_
