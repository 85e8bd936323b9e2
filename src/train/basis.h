#ifndef AMAQ_TRAIN_BASIS_H_
#define AMAQ_TRAIN_BASIS_H_

// The transform of quant.method amaq-rd: y = (x - mean) B^T packs the energy of an activation into
// few components, x^ = y B + mean goes back; sink rows have a mean of their own. B [H, H] is
// orthonormal whatever was rounded: it is a product of Householder reflections, and their rounded
// vectors are what crosses the wire. Not the quantizer (quant/rd.h). A Basis moves between devices
// and does not change otherwise. Errors of both ways are those of fp32 matrix products. Source:
// design "AMAQ", section 10; the form is our choice (docs/adr/0016, docs/formats/rd_basis.md).
//
//   const Basis basis = FitBasis(Transform::kEigen, moments, expected_rows);  // sender
//   const Basis same = ReadBasis(WriteBasis(basis), channels);                // receiver
//   const at::Tensor y = basis.Analyse(x, sink_rows);
//   const at::Tensor x_hat = same.Synthesise(y_hat, sink_rows);

#include <cstdint>
#include <span>
#include <vector>

#include "core/section.h"
#include "quant/config.h"
#include "quant/rd_basis.h"
#include "tensor/aten.h"
#include "train/moments.h"

namespace amaq::train {

using quant::Transform;

using Reflectors = quant::RdReflectors;  // the part of a matrix that crosses
using RowMeans = quant::RdMeans;
using quant::kLargestBasisWeight;

class Basis {
 public:
  // reflectors: of kEigen, else empty. Errors: kDataLoss for means that are not finite, weights or
  // coefficients that no unit vector has.
  Basis(Transform transform, RowMeans means, Reflectors reflectors);

  // What one needs at most, while it is formed: coefficients, the matrix in fp64 and in fp32.
  static uint64_t LargestBytes(int64_t channels);

  Transform transform() const { return transform_; }
  int64_t channels() const { return static_cast<int64_t>(means_.rows.size()); }
  const RowMeans& means() const { return means_; }
  const Reflectors& reflectors() const { return reflectors_; }
  at::Tensor Matrix() const;  // B [H, H] fp32, host

  // On the host until this is called; x and y are expected there.
  void MoveTo(at::Device device);
  at::Device device() const { return mean_row_.device(); }
  // x [N, H] of any floating type to y [N, H] fp32 and back; another size is kInternal.
  at::Tensor Analyse(const at::Tensor& x, std::span<const uint32_t> sink_rows) const;
  at::Tensor Synthesise(const at::Tensor& y, std::span<const uint32_t> sink_rows) const;

 private:
  // Adds sign times the shift of the sinks to their rows.
  void ShiftSinks(std::span<const uint32_t> sink_rows, double sign, at::Tensor* rows) const;

  const Transform transform_;
  const RowMeans means_;
  const Reflectors reflectors_;
  at::Tensor mean_row_;    // [1, H] fp32
  at::Tensor sink_shift_;  // [1, H] fp32: the sinks' mean less that of the others
  at::Tensor matrix_;      // [H, H] fp32; undefined for kNone
};

// The basis of the rows that `moments` saw. expected_rows: how many rows the run will send; the
// more there are, the finer is what crosses. Fewer rows than channels, or moments that are not
// finite: that of kNone, with a warning. Cost O(H^3).
Basis FitBasis(Transform transform, const Moments& moments, uint64_t expected_rows);

// kRdBasis and, where there are reflectors, kRdCodes with kRdClasses.
std::vector<Section> WriteBasis(const Basis& basis);
// Errors: kDataLoss for a missing, short, long or inconsistent section, and for a basis of another
// number of channels. Allocates in proportion to H^2.
Basis ReadBasis(const std::vector<Section>& sections, int64_t channels);

}  // namespace amaq::train

#endif  // AMAQ_TRAIN_BASIS_H_
