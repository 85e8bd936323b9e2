#include "quant/rd_format.h"

#include <cmath>
#include <utility>

#include "quant/rd_arithmetic.h"
#include "quant/rd_memory.h"

namespace amaq::quant {
namespace {

// Adds rows of q [R, H] to counts that are as large as needed.
void CountRows(std::span<const int32_t> q, const RdClasses& classes, RdRows rows,
               RdCounts* counts) {
  const std::span<const uint32_t> offsets = RdCountOffsets();
  const std::span<const RdTableShape> shapes = RdShapes();
  const size_t channels = classes.bases.size();
  for (size_t row = rows.first; row < rows.first + rows.count; ++row) {
    counts->row_weights += RdRowWeight(classes.row_classes[row]);
    for (size_t c = 0; c < channels; ++c) {
      const int32_t value = q[row * channels + c];
      const size_t table = classes.Table(row, c);
      ++counts->symbols[offsets[table] + RdCountBin(shapes[table].SymbolOf(value))];
      counts->channel_sums[c] += static_cast<uint64_t>(RdMagnitude(value));
    }
  }
}

template <typename T>
void AddEach(const std::vector<T>& from, std::vector<T>* to) {
  for (size_t i = 0; i < from.size(); ++i) (*to)[i] += from[i];
}

}  // namespace

RdCounts RdCountsOf(std::span<const int32_t> q, const RdClasses& classes, int32_t index,
                    size_t threads) {
  RdCounts none;
  none.index = index;
  none.channel_sums.assign(classes.bases.size(), 0);
  none.symbols.assign(RdCountOffsets()[kRdTables], 0);
  const RdParts blocks = RdBlocks(classes.row_classes.size(), classes.bases.size());
  std::vector<RdCounts> counts(blocks.count(), none);
  ParallelFor(counts.size(), threads,
              [&](size_t i) { CountRows(q, classes, blocks.Of(i), &counts[i]); });
  for (size_t i = 1; i < counts.size(); ++i) {
    counts[0].row_weights += counts[i].row_weights;
    AddEach(counts[i].channel_sums, &counts[0].channel_sums);
    AddEach(counts[i].symbols, &counts[0].symbols);
  }
  return std::move(counts[0]);
}

std::vector<uint64_t> RdChannelSums(std::span<const int32_t> q, size_t channels, size_t threads) {
  const RdParts blocks = RdBlocks(q.size() / channels, channels);
  std::vector<std::vector<uint64_t>> sums(blocks.count(), std::vector<uint64_t>(channels));
  ParallelFor(sums.size(), threads, [&](size_t i) {
    const RdRows rows = blocks.Of(i);
    for (size_t row = rows.first; row < rows.first + rows.count; ++row) {
      for (size_t c = 0; c < channels; ++c) {
        const int32_t value = q[row * channels + c];
        sums[i][c] += static_cast<uint64_t>(RdMagnitude(value));
      }
    }
  });
  for (size_t i = 1; i < sums.size(); ++i) AddEach(sums[i], &sums[0]);
  return std::move(sums[0]);
}

std::vector<uint32_t> RdSymbolCosts(const SymbolTables& tables) {
  std::vector<uint32_t> costs(kRdTables << 8);
  for (size_t t = 0; t < kRdTables; ++t) {
    const RdTableShape& shape = RdShapeOf(t);
    for (uint32_t s = 0; s < shape.num_symbols(); ++s) {
      const double frequency = tables.slices(t)[s].frequency;
      const auto cost =
          static_cast<uint32_t>(std::lround(256 * (kFrequencyBits - std::log2(frequency))));
      costs[(t << 8) + s] = cost + (s == shape.escape() ? 0 : 256 * shape.low_bits);
    }
  }
  return costs;
}

std::array<std::array<float, 3>, kRdTables> RdShiftsOf(const RdCentroids& centroids) {
  std::array<std::array<float, 3>, kRdTables> shifts{};
  for (size_t t = 0; t < kRdTables; ++t) {
    for (size_t i = 0; i < 2; ++i) {
      shifts[t][i + 1] = static_cast<float>(centroids[RdCentroidGroup(t)][i]) * 0x1p-8f;
    }
  }
  return shifts;
}

void RdDequantize(std::span<const int32_t> q, const RdClasses& classes,
                  const RdCentroids& centroids, float step, std::span<float> out, size_t threads) {
  const size_t channels = classes.bases.size();
  const auto shifts = RdShiftsOf(centroids);
  RdForRows(classes.row_classes.size(), channels, threads, [&](RdRows rows) {
    for (size_t row = rows.first; row < rows.first + rows.count; ++row) {
      for (size_t c = 0; c < channels; ++c) {
        const size_t i = row * channels + c;
        out[i] = RdValueOf(q[i], shifts[classes.Table(row, c)].data(), step);
      }
    }
  });
}

void RdAddExpectations(const RdMemory& memory, std::span<const uint16_t> kinds, float times,
                       std::span<float> y, size_t threads) {
  if (kinds.empty()) return;
  const size_t channels = y.size() / kinds.size();
  RdForRows(kinds.size(), channels, threads, [&](RdRows part) {
    for (size_t r = part.first; r < part.first + part.count; ++r) {
      memory.AddExpectation(kinds[r], times, y.subspan(r * channels, channels));
    }
  });
}

bool RdCanLearn(std::span<const float> y) {
  return std::all_of(y.begin(), y.end(),
                     [](float value) { return value < kRdLargestRow && value > -kRdLargestRow; });
}

std::vector<uint8_t> RdRowTables(const RdClasses& classes) {
  std::vector<uint8_t> tables;
  for (const uint8_t entry : classes.row_classes) {
    tables.push_back(static_cast<uint8_t>(kRdRowStride * entry));
  }
  return tables;
}

std::vector<uint8_t> RdTablesOf(const RdClasses& classes) {
  const size_t channels = classes.bases.size();
  std::vector<uint8_t> tables;
  for (size_t row = 0; row < classes.row_classes.size(); ++row) {
    for (size_t c = 0; c < channels; ++c) {
      tables.push_back(static_cast<uint8_t>(classes.Table(row, c)));
    }
  }
  return tables;
}

}  // namespace amaq::quant
