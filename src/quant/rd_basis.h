#ifndef AMAQ_QUANT_RD_BASIS_H_
#define AMAQ_QUANT_RD_BASIS_H_

// What crosses of the transform of amaq-rd: numbers to sections and back. Not the matrix that they
// stand for (train/basis.h). Thread-safety: pure functions. Source: docs/formats/rd_basis.md (our
// choice).

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/section.h"
#include "quant/config.h"

namespace amaq::quant {

// Component k is reflected by the vector (0 ... 0, 1, v_k), whose v_k [H - 1 - k] is coefficients /
// RdBasisWeight(weights[k]).
struct RdReflectors {
  std::vector<int8_t> weights;      // [K], |w| <= kLargestBasisWeight: quarter octaves
  std::vector<float> coefficients;  // of reflector 0, 1 ... K-1, one behind the other
};
inline constexpr int kLargestBasisWeight = 72;  // 2^18: below kRdLargest

// [H] each, numbers of bf16.
struct RdMeans {
  std::vector<float> rows;  // of the rows that are no sinks
  std::vector<float> sinks;
};

struct RdBasis {
  Transform transform = Transform::kNone;
  RdMeans means;
  RdReflectors reflectors;  // of kEigen, else empty
};

// What the kRdBasis section says by itself.
struct RdBasisHead {
  Transform transform = Transform::kNone;
  RdMeans means;
  std::vector<int8_t> weights;
};

// 2^(weight / 4), the same at both ends.
double RdBasisWeight(int8_t weight);

// Errors: kDataLoss for means that are not finite or of different sizes, and for weights or
// coefficients that no unit vector has.
void CheckRdBasis(const RdMeans& means, const RdReflectors& reflectors);

// kRdBasis and, where there are reflectors, kRdCodes with kRdClasses.
std::vector<Section> WriteRdBasis(const RdBasis& basis);
// Errors: kDataLoss for a missing, short, long or inconsistent section. Allocates in proportion to
// the section.
RdBasisHead ReadRdBasisHead(const std::vector<Section>& sections);
// Errors: as ReadRdBasisHead, and kDataLoss for a basis of another
// number of channels, and as CheckRdBasis. Allocates in proportion to H^2.
RdBasis ReadRdBasis(const std::vector<Section>& sections, size_t channels);

}  // namespace amaq::quant

#endif  // AMAQ_QUANT_RD_BASIS_H_
