#include "train/basis.h"

#include <ATen/ops/addmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/linalg_eigh.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <span>
#include <utility>

#include "core/check.h"
#include "core/dtype.h"
#include "core/error.h"
#include "core/log.h"
#include "tensor/bridge.h"

namespace amaq::train {
namespace {

constexpr double kDeadZone = 0.15;  // of a coefficient: as that of the components

std::span<double> Doubles(at::Tensor& x) {
  return {x.mutable_data_ptr<double>(), static_cast<size_t>(x.numel())};
}

constexpr int64_t kBlock = 64;  // reflections that are applied at once

// Reflections P_k = I - 2 v v^T / (v^T v), v = (0 ... 0, 1, u_k), each after those before it, as
// one: P_n ... P_1 = I - V^T T V with the vectors as rows of V and T lower triangular, so that they
// are matrix products. Source: Schreiber, Van Loan, 1989, "A storage-efficient WY representation".
class Reflections {
 public:
  // Vectors of `size` elements, the zeros of the first one left out.
  Reflections(int64_t size, int64_t capacity)
      : vectors_(at::zeros({capacity, size}, at::kDouble)), factors_(capacity) {}

  void Add(std::span<const float> coefficients, int8_t weight) {
    const auto size = static_cast<size_t>(vectors_.size(1));
    const size_t zeros = size - 1 - coefficients.size();
    const std::span<double> vector = Doubles(vectors_).subspan(count_ * size + zeros, size - zeros);
    const double scale = 1 / quant::RdBasisWeight(weight);
    double squared = vector[0] = 1;
    for (size_t i = 0; i < coefficients.size(); ++i) {
      const double value = vector[i + 1] = coefficients[i] * scale;
      squared += value * value;
    }
    factors_[count_++] = 2 / squared;
  }

  // The last rows of `matrix`, as many as the vectors have elements, are reflected.
  void ApplyTo(const at::Tensor& matrix) const {
    const at::Tensor vectors = vectors_.narrow(0, 0, static_cast<int64_t>(count_));
    at::Tensor rows = matrix.narrow(0, matrix.size(0) - vectors.size(1), vectors.size(1));
    rows.addmm_(vectors.t(), Triangle(vectors).mm(vectors.mm(rows)), 1, -1);
  }

 private:
  // T: its row j is -f_j (v_j V^T) T, f_j on the diagonal.
  at::Tensor Triangle(const at::Tensor& vectors) const {
    at::Tensor gram = vectors.mm(vectors.t());
    at::Tensor triangle = at::zeros_like(gram);
    const std::span<const double> g = Doubles(gram);
    const std::span<double> t = Doubles(triangle);
    for (size_t j = 0; j < count_; ++j) {
      for (size_t i = 0; i < j; ++i) {
        for (size_t c = 0; c <= i; ++c) {
          t[j * count_ + c] -= factors_[j] * g[j * count_ + i] * t[i * count_ + c];
        }
      }
      t[j * count_ + j] = factors_[j];
    }
    return triangle;
  }

  at::Tensor vectors_;           // [capacity, size]
  std::vector<double> factors_;  // 2 / (v^T v)
  size_t count_ = 0;
};

at::Tensor Reflected(size_t channels, const Reflectors& reflectors) {
  const auto size = static_cast<int64_t>(channels);
  const auto number = static_cast<int64_t>(reflectors.weights.size());
  at::Tensor matrix = at::eye(size, at::kDouble);
  std::span<const float> left = reflectors.coefficients;
  for (int64_t begin = 0; begin < number; begin += kBlock) {
    const int64_t end = std::min(begin + kBlock, number);
    Reflections block(size - begin, end - begin);
    for (int64_t k = begin; k < end; ++k) {
      const auto count = static_cast<size_t>(size - 1 - k);
      block.Add(left.first(count), reflectors.weights[static_cast<size_t>(k)]);
      left = left.subspan(count);
    }
    block.ApplyTo(matrix);
  }
  return matrix;
}

// Sylvester's matrix in blocks of the largest power of two that divides `channels`.
at::Tensor Hadamard(size_t channels) {
  const size_t block = channels & (~channels + 1);
  const double unit = 1 / std::sqrt(static_cast<double>(block));
  const auto size = static_cast<int64_t>(channels);
  at::Tensor matrix = at::eye(size, at::kDouble);
  const std::span<double> out = Doubles(matrix);
  for (size_t i = 0; i < channels; ++i) {
    for (size_t j = i / block * block; j < (i / block + 1) * block; ++j) {
      out[i * channels + j] = std::popcount(i % block & j % block) % 2 == 0 ? unit : -unit;
    }
  }
  return matrix;
}

at::Tensor RowOf(const std::vector<float>& values) {
  at::Tensor row = tensor::EmptyFloats(1, static_cast<int64_t>(values.size()));
  std::copy(values.begin(), values.end(), tensor::Floats(row).begin());
  return row;
}

std::vector<float> RoundedMean(const at::Tensor& mean) {
  const at::Tensor host = mean.to(at::kFloat).contiguous();
  std::vector<float> rounded;
  for (const float value : tensor::Floats(host)) rounded.push_back(BF16ToF32(F32ToBF16(value)));
  return rounded;
}

bool AreFinite(const std::vector<float>& values) {
  return std::all_of(values.begin(), values.end(), [](float v) { return std::isfinite(v); });
}

// Covariances of few rows know the directions of small variance badly; their diagonal is known
// well. The share of it that is mixed in was chosen by measurement (docs/adr/0016).
at::Tensor Shrunk(const Moments& moments) {
  at::Tensor covariance = moments.Covariance();
  const auto channels = static_cast<double>(moments.channels());
  const double share = 0.25 * channels / (channels + static_cast<double>(moments.rows()));
  at::Tensor diagonal = covariance.diagonal();
  const at::Tensor kept = diagonal.clone();
  covariance *= 1 - share;
  diagonal.copy_(kept);
  return covariance;
}

// Weights that make coarse reflectors cost the run about as much as fine ones would: an error of
// variance e^2 in the coefficients times sqrt(lambda) leaks H e^2 into every component after it,
// some H e^2 / (2 ln 2 g) bits a row and component (g: the geometric mean of the variances), where
// a bit less a coefficient saves H/2 bits a component. The sum is least at e^2 = g / (2 rows), and
// flat: we take twice that; e^2 = step^2 / 12.
std::vector<int8_t> WeightsOf(std::span<const double> variances, uint64_t expected_rows) {
  double log_sum = 0;
  for (const double variance : variances) log_sum += std::log2(variance);
  const double mean = log_sum / static_cast<double>(variances.size());
  const double step = std::log2(12 / static_cast<double>(expected_rows)) + mean;
  std::vector<int8_t> weights;
  for (size_t k = 0; k + 1 < variances.size(); ++k) {
    const double weight = std::nearbyint(2 * (std::log2(variances[k]) - step));
    weights.push_back(
        static_cast<int8_t>(std::clamp<double>(weight, -kLargestBasisWeight, kLargestBasisWeight)));
  }
  return weights;
}

// The coefficients of the reflector that takes `direction` [size] to its first axis, rounded.
void AppendCoefficients(std::span<const double> direction, int8_t weight,
                        std::vector<float>* coefficients) {
  double squared = 0;
  for (const double value : direction) squared += value * value;
  const double norm = std::sqrt(squared);
  const double pivot = direction[0] < 0 ? direction[0] - norm : direction[0] + norm;
  const double scale = pivot != 0 ? quant::RdBasisWeight(weight) / pivot : 0;
  for (const double value : direction.subspan(1)) {
    const double magnitude = std::floor(std::fabs(value * scale) + 0.5 - kDeadZone);
    coefficients->push_back(static_cast<float>(std::copysign(magnitude, value * scale)));
  }
}

// Each reflector takes the next direction, as the rounded ones before it left it, to its axis: at
// once within a block of directions, all of the block together to those behind it.
Reflectors ReflectorsOf(const at::Tensor& directions, std::vector<int8_t> weights) {
  const int64_t channels = directions.size(0);
  Reflectors reflectors{std::move(weights), {}};
  for (int64_t begin = 0; begin + 1 < channels; begin += kBlock) {
    const int64_t end = std::min(begin + kBlock, channels - 1);
    Reflections block(channels - begin, end - begin);
    for (int64_t k = begin; k < end; ++k) {
      at::Tensor direction =
          directions.select(1, k).narrow(0, k, channels - k).contiguous();  // a copy: strided
      const int8_t weight = reflectors.weights[static_cast<size_t>(k)];
      const size_t first = reflectors.coefficients.size();
      AppendCoefficients(Doubles(direction), weight, &reflectors.coefficients);
      const auto coefficients = std::span<const float>(reflectors.coefficients).subspan(first);
      block.Add(coefficients, weight);
      Reflections one(channels - k, 1);
      one.Add(coefficients, weight);
      one.ApplyTo(directions.narrow(1, k, end - k));
    }
    block.ApplyTo(directions.narrow(1, end, channels - end));
  }
  return reflectors;
}

// Reflectors at the end that are all zero only turn signs: they need not cross.
void DropZeros(size_t channels, Reflectors* reflectors) {
  std::vector<float>& all = reflectors->coefficients;
  while (!reflectors->weights.empty()) {
    const auto count = static_cast<ptrdiff_t>(channels - reflectors->weights.size());
    if (std::any_of(all.end() - count, all.end(), [](float v) { return v != 0; })) return;
    all.resize(all.size() - static_cast<size_t>(count));
    reflectors->weights.pop_back();
  }
}

}  // namespace

Basis::Basis(Transform transform, RowMeans means, Reflectors reflectors)
    : transform_(transform), means_(std::move(means)), reflectors_(std::move(reflectors)) {
  const size_t size = means_.rows.size();
  AMAQ_CHECK(size > 0);
  quant::CheckRdBasis(means_, reflectors_);
  mean_row_ = RowOf(means_.rows);
  sink_shift_ = RowOf(means_.sinks) - mean_row_;
  if (transform == Transform::kEigen) matrix_ = Reflected(size, reflectors_);
  if (transform == Transform::kHadamard) matrix_ = Hadamard(size);
  if (matrix_.defined()) matrix_ = matrix_.to(at::kFloat);
}

uint64_t Basis::LargestBytes(int64_t channels) {
  const auto size = static_cast<uint64_t>(channels);
  return size * size / 2 * sizeof(float) + size * size * (sizeof(double) + sizeof(float));
}

at::Tensor Basis::Matrix() const {
  if (!matrix_.defined()) return at::eye(channels(), at::kFloat);
  return matrix_.to(at::kCPU);
}

void Basis::MoveTo(at::Device device) {
  mean_row_ = mean_row_.to(device);
  sink_shift_ = sink_shift_.to(device);
  if (matrix_.defined()) matrix_ = matrix_.to(device);
}

at::Tensor Basis::Analyse(const at::Tensor& x, std::span<const uint32_t> sink_rows) const {
  AMAQ_CHECK(x.dim() == 2 && x.size(1) == channels());
  at::Tensor centred = x.to(at::kFloat) - mean_row_;
  ShiftSinks(sink_rows, -1, &centred);
  return matrix_.defined() ? centred.mm(matrix_.t()) : centred;
}

at::Tensor Basis::Synthesise(const at::Tensor& y, std::span<const uint32_t> sink_rows) const {
  AMAQ_CHECK(y.dim() == 2 && y.size(1) == channels());
  at::Tensor x = matrix_.defined() ? at::addmm(mean_row_, y, matrix_) : y + mean_row_;
  ShiftSinks(sink_rows, 1, &x);
  return x;
}

void Basis::ShiftSinks(std::span<const uint32_t> sink_rows, double sign, at::Tensor* rows) const {
  if (sink_rows.empty()) return;
  const auto count = static_cast<int64_t>(sink_rows.size());
  rows->index_add_(0, tensor::FromRows(sink_rows, device()), sink_shift_.expand({count, -1}), sign);
}

Basis FitBasis(Transform transform, const Moments& moments, uint64_t expected_rows) {
  const auto channels = static_cast<size_t>(moments.channels());
  RowMeans means = {RoundedMean(moments.mean()), RoundedMean(moments.sink_mean())};
  if (!AreFinite(means.rows) || !AreFinite(means.sinks) ||
      !std::isfinite(moments.Covariance().sum().item<double>())) {
    AMAQ_LOG(kWarning, "the activations to fit a transform to are not finite: ",
             "quant.rd.transform none, without a mean");
    const std::vector<float> zeros(channels, 0);
    return Basis(Transform::kNone, {zeros, zeros}, {});
  }
  if (transform != Transform::kEigen) return Basis(transform, std::move(means), {});
  if (moments.rows() < moments.channels()) {
    AMAQ_LOG(kWarning, moments.rows(), " rows are too few to fit a transform of ", channels,
             " channels to: quant.rd.transform none (quant.rd.fit_tokens)");
    return Basis(Transform::kNone, std::move(means), {});
  }
  auto [variances, directions] = at::linalg_eigh(Shrunk(moments));
  at::Tensor falling = variances.flip(0).contiguous();
  const std::span<double> values = Doubles(falling);
  const double floor = std::max(values.front() * 1e-9, 1e-30);
  for (double& value : values) value = std::max(value, floor);
  Reflectors reflectors = ReflectorsOf(directions.flip(1).contiguous(),
                                       WeightsOf(values, std::max<uint64_t>(expected_rows, 1)));
  DropZeros(channels, &reflectors);
  return Basis(Transform::kEigen, std::move(means), std::move(reflectors));
}

std::vector<Section> WriteBasis(const Basis& basis) {
  return quant::WriteRdBasis({basis.transform(), basis.means(), basis.reflectors()});
}

Basis ReadBasis(const std::vector<Section>& sections, int64_t channels) {
  quant::RdBasis basis = quant::ReadRdBasis(sections, static_cast<size_t>(channels));
  return {basis.transform, std::move(basis.means), std::move(basis.reflectors)};
}

}  // namespace amaq::train
