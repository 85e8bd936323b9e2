#ifndef AMAQ_TESTS_QUANT_CUDA_RD_PARITY_H_
#define AMAQ_TESTS_QUANT_CUDA_RD_PARITY_H_

// What the CUDA kernels of the rate-distortion coder must equal: the integers, counts and values of
// quant::, for a runner that has the bodies on the host (rd_bodies_test.cc) or on a GPU
// (gpu_test.cc).

#include <bit>
#include <ostream>
#include <string>
#include <vector>

#include "quant/cuda/kernels.h"
#include "quant/rd_format.h"
#include "tests/quant/samples.h"

namespace amaq::quant::cuda {

struct RdCase {
  uint32_t rows;
  uint32_t channels;
  Rounding rounding;
  bool ids;  // the rows have other numbers in the micro-batch
};

inline std::ostream& operator<<(std::ostream& out, const RdCase& c) {
  return out << "[" << c.rows << ", " << c.channels << "] rounding " << static_cast<int>(c.rounding)
             << (c.ids ? " ids" : "");
}

// Sizes around a block's 32 or 256 rows and 256 channels.
inline std::vector<RdCase> RdParityCases() {
  std::vector<RdCase> cases;
  for (const uint32_t rows : {0u, 1u, 31u, 32u, 33u, 255u, 257u}) {
    for (const uint32_t channels : {1u, 2u, 255u, 256u, 257u, 600u}) {
      const Rounding rounding =
          cases.size() % 3 == 0 ? Rounding::kStochastic : Rounding::kNearestEven;
      cases.push_back({rows, channels, rounding, cases.size() % 2 == 0});
    }
  }
  return cases;
}

// A case with its matrix and with classes of all kinds.
struct RdSample {
  RdCase shape;
  std::vector<float> y;
  std::vector<uint32_t> ids;
  RdClasses classes;
  RdCentroids centroids{};
  RdOptions options;

  RdRounding rounding() const {
    return {options.rounding, 1.0f / options.step.value(), 0.5f - options.dead_zone,
            options.rounding_key};
  }
};

// Integers of every magnitude up to kRdLargest - 2 of either sign, both zeros, denormals, values
// half-way and right beside the edge of the dead zone.
inline float RdSpecialValue(uint64_t kind, float step, Random* random) {
  const auto uniform = static_cast<float>(random->Uniform());
  const float sign = random->Below(2) == 0 ? -1.0f : 1.0f;
  const auto octave = static_cast<float>(random->Below(21));
  switch (kind % 8) {
    case 0:
      return sign * 0.0f;
    case 1:
      return sign * uniform * 0x1p-130f;
    case 2:
      return sign * (static_cast<float>(random->Below(9)) + 0.5f) * step;
    case 3:
      return sign * 0.65f * step;
    case 4:  // the largest that can be coded
      return sign * static_cast<float>(kRdLargest - 2) * step * (uniform < 0.1f ? 1.0f : uniform);
    case 5:
      return sign * std::exp2(octave * uniform) * step * 0.9f;
    default:
      return sign * -std::log(uniform + 1e-9f) * 2 * step;
  }
}

inline RdSample MakeRdSample(const RdCase& shape, uint64_t seed) {
  Random random(seed);
  RdSample sample{shape, {}, {}, {}, {}, {}};
  sample.options.step = {1, static_cast<int16_t>(random.Below(64))};
  sample.options.rounding = shape.rounding;
  sample.options.rounding_key = seed * 0x9E3779B97F4A7C15u;
  for (uint32_t c = 0; c < shape.channels; ++c) {
    sample.classes.bases.push_back(static_cast<uint8_t>(random.Below(kRdBases)));
  }
  for (uint32_t r = 0; r < shape.rows; ++r) {
    sample.classes.row_classes.push_back(static_cast<uint8_t>(random.Below(kRdRowClasses)));
    if (shape.ids) sample.ids.push_back(7 + 3 * r);
    for (uint32_t c = 0; c < shape.channels; ++c) {
      sample.y.push_back(RdSpecialValue(random.Below(100), sample.options.step.value(), &random));
    }
  }
  for (auto& group : sample.centroids) {
    for (int8_t& centroid : group) {
      centroid = static_cast<int8_t>(static_cast<int>(random.Below(255)) - 127);
    }
  }
  return sample;
}

struct RdResult {
  std::vector<int32_t> q;
  std::vector<uint64_t> channel_sums;
  std::vector<uint64_t> row_costs;
  RdStatus status;
  std::vector<uint8_t> symbols;
  std::vector<uint32_t> counts;
  std::vector<float> values;
};

class RdRunner {
 public:
  virtual ~RdRunner() = default;
  // symbol_costs: RdSymbolCosts.
  virtual RdResult Run(const RdSample& sample, const std::vector<uint32_t>& symbol_costs) = 0;
};

// What each row costs in each class, one value after the other.
inline std::vector<uint64_t> ExpectedRowCosts(const std::vector<int32_t>& q,
                                              const RdClasses& classes,
                                              const std::vector<uint32_t>& symbol_costs) {
  const size_t channels = classes.bases.size();
  std::vector<uint64_t> costs(classes.row_classes.size() * kRdRowClasses);
  for (size_t i = 0; i < q.size(); ++i) {
    const int32_t magnitude = std::abs(q[i]);
    for (size_t k = 0; k < kRdRowClasses; ++k) {
      const size_t table = classes.bases[i % channels] + kRdRowStride * k;
      const uint8_t symbol = RdShapeOf(table).SymbolOf(magnitude < 16 ? magnitude : q[i]);
      const bool is_escape = symbol == RdShapeOf(table).escape();
      const uint32_t bytes = magnitude < 64 ? 1 : magnitude < 8192 ? 2 : 3;
      costs[i / channels * kRdRowClasses + k] +=
          symbol_costs[256 * table + symbol] + (is_escape ? 256 * 8 * bytes : 0);
    }
  }
  return costs;
}

// Empty when the runner gives what quant:: gives, else what differs.
inline std::string RdDifference(RdRunner* runner, const RdSample& sample) {
  const std::vector<uint32_t> symbol_costs = RdSymbolCosts(RdModel(1).tables());
  RdOptions options = sample.options;
  options.row_ids = sample.ids;
  const std::vector<int32_t> q = RdQuantize(sample.y, options, sample.classes.bases.size()).value();
  const RdCounts counts = RdCountsOf(q, sample.classes, 0);
  std::vector<float> values(q.size());
  RdDequantize(q, sample.classes, sample.centroids, options.step.value(), values);

  const RdResult got = runner->Run(sample, symbol_costs);

  if (got.status.non_finite != kNone || got.status.too_large != kNone) return "status";
  if (got.q != q) return "integers";
  if (got.channel_sums != counts.channel_sums) return "channel sums";
  if (got.row_costs != ExpectedRowCosts(q, sample.classes, symbol_costs)) return "row costs";
  if (got.counts != counts.symbols) return "counts of symbols";
  for (size_t i = 0; i < q.size(); ++i) {
    const size_t table = sample.classes.Table(i / sample.shape.channels, i % sample.shape.channels);
    if (got.symbols[i] != RdShapeOf(table).SymbolOf(q[i])) return StrCat("symbol ", i);
    if (std::bit_cast<uint32_t>(got.values[i]) != std::bit_cast<uint32_t>(values[i])) {
      return StrCat("value ", i, ": ", got.values[i], " instead of ", values[i]);
    }
  }
  return "";
}

}  // namespace amaq::quant::cuda

#endif  // AMAQ_TESTS_QUANT_CUDA_RD_PARITY_H_
