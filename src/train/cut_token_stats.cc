// What a gate of token positions learns from a micro-batch: docs/formats/gate.md, "By token".

#include <algorithm>
#include <cmath>

#include "quant/token_axis.h"
#include "tensor/bridge.h"
#include "train/cut.h"
#include "train/cut_rows.h"

namespace amaq::train {
namespace {

// A matrix of floats and where each row stands in its segment.
struct Rows {
  std::span<const float> values;
  size_t row_size;
  std::span<const uint32_t> positions;  // [N]
  std::vector<uint32_t> coded;          // numbers of the rows that are no sinks

  std::span<const float> operator[](size_t row) const {
    return values.subspan(row * row_size, row_size);
  }
};

// The range that each row was coded within; sinks, and all rows of a raw message, have zeros.
struct RowRanges {
  std::vector<float> lo, step;  // [N]; step 0: all values alike
  std::vector<uint8_t> width;

  double Length(size_t row) const {
    return static_cast<double>(step[row]) * ((1 << width[row]) - 1);
  }
  bool Clips(size_t row, float x) const {
    const double code = std::nearbyint((static_cast<double>(x) - lo[row]) / step[row]);
    return code < 0 || code > (1 << width[row]) - 1;
  }
};

RowRanges ReadRowRanges(const std::vector<Section>& sections, bool is_raw,
                        std::span<const uint8_t> by_position, const Rows& rows) {
  const size_t count = rows.positions.size();
  RowRanges ranges{std::vector<float>(count), std::vector<float>(count),
                   std::vector<uint8_t>(count)};
  if (is_raw || rows.coded.empty()) return ranges;
  std::vector<uint32_t> positions;
  for (const uint32_t row : rows.coded) positions.push_back(rows.positions[row]);
  const std::vector<uint8_t> widths = quant::WidthsOfRows(by_position, positions);
  const quant::DecodedRanges sent = quant::ReadRanges(sections, widths);
  for (size_t i = 0; i < rows.coded.size(); ++i) {
    ranges.lo[rows.coded[i]] = sent.lo[i];
    ranges.step[rows.coded[i]] = sent.step[i];
    ranges.width[rows.coded[i]] = widths[i];
  }
  return ranges;
}

// Sums over the rows of each position. A row's share of the curvature is its R^2 S.
class PositionSums {
 public:
  explicit PositionSums(uint32_t units)
      : rows_(units), squared_range_(units), curvature_(units), error_dot_(units) {}

  void AddRow(uint32_t position, double range) {
    rows_[Unit(position)] += 1;
    squared_range_[Unit(position)] += range * range;
  }
  void AddGradient(uint32_t position, double range, double energy) {
    curvature_[Unit(position)] += range * range * energy;
  }
  void AddErrorDot(uint32_t position, double dot) { error_dot_[Unit(position)] += dot; }

  // range: the root of its mean square; gradient_energy: such that range^2 times it is the sum.
  quant::ChannelStats Stats(bool wants_error_dot, double elements_per_row) const {
    quant::ChannelStats stats;
    for (size_t p = 0; p < rows_.size(); ++p) {
      const double mean = rows_[p] > 0 ? squared_range_[p] / rows_[p] : 0;
      stats.range.push_back(std::sqrt(mean));
      stats.gradient_energy.push_back(mean > 0 ? std::max(0.0, curvature_[p] / mean) : 0);
      stats.weight.push_back(rows_[p] * elements_per_row);
    }
    if (wants_error_dot) stats.error_dot = error_dot_;
    return stats;
  }

 private:
  size_t Unit(uint32_t position) const { return std::min<size_t>(position, rows_.size() - 1); }

  std::vector<double> rows_, squared_range_, curvature_, error_dot_;  // [units]
};

double RangeOfRow(std::span<const float> row) {
  const auto [lo, hi] = std::ranges::minmax(row);
  return static_cast<double>(hi) - lo;
}

double SquaredSum(std::span<const float> row) {
  double sum = 0;
  for (const float value : row) sum += static_cast<double>(value) * value;
  return sum;
}

// Of row `row` of x, values that were clipped left out.
double ErrorDotOfRow(const Rows& x, const Rows& x_hat, const RowRanges& ranges, size_t row,
                     std::span<const float> g) {
  if (ranges.step[row] == 0) return 0;
  double dot = 0;
  for (size_t c = 0; c < g.size(); ++c) {
    if (ranges.Clips(row, x[row][c])) continue;
    dot += static_cast<double>(g[c]) *
           (static_cast<double>(x_hat[row][c]) - static_cast<double>(x[row][c]));
  }
  return dot;
}

std::span<const float> ConstSpan(const at::Tensor& x) { return tensor::Floats(x); }

}  // namespace

quant::ChannelStats CutCoder::ObserveTokens(const GradientMessage& message,
                                            const SentActivation& sent, bool wants_error_dot,
                                            at::Tensor* rows) {
  const GradientRows& plan = message.plan;
  const int64_t channels = sent.x.size(1);
  gradient_->Decode(
      message.sections, message.raw_dtype,
      {.widths = message.widths, .rows = {plan.sink_rows, plan.rows}, .positions = plan.positions},
      rows->size(0), channels, tensor::Floats(*rows));
  const auto row_size = static_cast<size_t>(channels);
  const at::Tensor x_host = tensor::OnHost(sent.x.to(at::kFloat));
  const std::vector<uint32_t> positions = quant::PositionsOfRows(sent.segments);
  const Rows x{
      ConstSpan(x_host), row_size, positions,
      quant::CodedRowNumbers(SinkRows(sent.segments, options_.sink_tokens), sent.x.size(0))};
  const Rows g{ConstSpan(*rows), row_size, plan.positions,
               quant::CodedRowNumbers(plan.sink_rows, rows->size(0))};
  const bool is_raw = sent.coded.raw_dtype.has_value();
  const RowRanges x_ranges = ReadRowRanges(sent.coded.sections, is_raw, sent.widths, x);
  const RowRanges g_ranges =
      ReadRowRanges(message.sections, message.raw_dtype.has_value(), message.widths, g);

  PositionSums sums(options_.positions);
  std::vector<double> range(positions.size(), 0);
  for (const uint32_t row : x.coded) {
    range[row] = is_raw ? RangeOfRow(x[row]) : x_ranges.Length(row);
    sums.AddRow(positions[row], range[row]);
  }
  const double share = options_.gradient_rounding == quant::Rounding::kStochastic ? 6 : 12;
  for (const uint32_t i : g.coded) {
    const double step = g_ranges.step[i];
    const double noise = static_cast<double>(row_size) * step * step / share;
    sums.AddGradient(plan.positions[i], range[plan.rows[i]], SquaredSum(g[i]) - noise);
  }
  if (wants_error_dot && !is_raw) {
    const at::Tensor seen = DecodeActivation(sent.coded.sections, std::nullopt, sent.segments,
                                             sent.widths, channels, at::kCPU, at::kFloat);
    const Rows x_hat{ConstSpan(seen), row_size, positions, {}};
    for (const uint32_t i : g.coded) {
      sums.AddErrorDot(plan.positions[i], ErrorDotOfRow(x, x_hat, x_ranges, plan.rows[i], g[i]));
    }
  }
  return sums.Stats(wants_error_dot, static_cast<double>(row_size));
}

}  // namespace amaq::train
