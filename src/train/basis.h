#ifndef AMAQ_TRAIN_BASIS_H_
#define AMAQ_TRAIN_BASIS_H_

// The transform of quant.method amaq-rd: y = (x - mean) B^T packs the energy of an activation into
// few components, x^ = y B + mean goes back. B [H, H] is orthonormal whatever was rounded: it is a
// product of Householder reflections, and their rounded vectors are what crosses the wire. Not the
// quantizer (quant/rd.h). Basis is immutable. Errors of both ways are those of fp32 matrix
// products. Source: design "AMAQ", section 10; the form is our choice (docs/adr/0016,
// docs/formats/rd_basis.md).
//
//   const Basis basis = FitBasis(Transform::kEigen, moments, expected_rows);  // sender
//   const Basis same = ReadBasis(WriteBasis(basis), channels);                // receiver
//   const at::Tensor y = basis.Analyse(x);
//   const at::Tensor x_hat = same.Synthesise(y_hat);

#include <cstdint>
#include <vector>

#include "core/section.h"
#include "quant/config.h"
#include "quant/rd_basis.h"
#include "tensor/aten.h"
#include "train/moments.h"

namespace amaq::train {

using quant::Transform;

using Reflectors = quant::RdReflectors;  // the part of a basis that crosses
using quant::kLargestBasisWeight;

class Basis {
 public:
  // mean [H], numbers of bf16. reflectors: of kEigen, else empty. Errors: kDataLoss for weights or
  // coefficients that no unit vector has.
  Basis(Transform transform, std::vector<float> mean, Reflectors reflectors);

  Transform transform() const { return transform_; }
  int64_t channels() const { return static_cast<int64_t>(mean_.size()); }
  const std::vector<float>& mean() const { return mean_; }
  const Reflectors& reflectors() const { return reflectors_; }
  at::Tensor Matrix() const;  // B [H, H] fp32, host

  // On the host until this is called; x and y are expected there.
  void MoveTo(at::Device device);
  at::Device device() const { return mean_row_.device(); }
  // x [N, H] of any floating type to y [N, H] fp32 and back; another size is kInternal.
  at::Tensor Analyse(const at::Tensor& x) const;
  at::Tensor Synthesise(const at::Tensor& y) const;

 private:
  const Transform transform_;
  const std::vector<float> mean_;
  const Reflectors reflectors_;
  at::Tensor mean_row_;  // [H] fp32
  at::Tensor matrix_;    // [H, H] fp32; undefined for kNone
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
