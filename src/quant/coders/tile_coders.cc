// `group`: QAT-Group, a fixed width and asymmetric min-max for each group of channels of a token.
// `tahquant`: TAH-Quant (arXiv 2506.01352): tiles of 32 channels; the fifth of the tokens whose
// magnitudes have the least entropy gets one bit less; a tile whose largest magnitude is more than
// twice its second is turned by a Hadamard matrix, the largest value first, so that it becomes an
// offset which the asymmetric range takes up. Layouts, and where the paper leaves a choice:
// docs/formats/tiles.md.

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "core/bytes.h"
#include "core/error.h"
#include "quant/coders/coders.h"
#include "quant/coders/tiles.h"
#include "quant/row_reader.h"
#include "quant/uniform.h"

namespace amaq::quant {
namespace {

constexpr size_t kHadamardTile = 32;
constexpr float kHadamardScale = 0.17677669529663687f;  // 1 / sqrt(32)
constexpr size_t kLowShare = 5;                         // one token in five

// The one width of a message. Errors: kInvalidArgument when it is not one, or below `least`.
uint8_t OneWidth(std::span<const uint8_t> widths, int64_t channels, uint8_t least) {
  if (channels < 1 || widths.size() != static_cast<size_t>(channels)) {
    Throw(Code::kInvalidArgument, "there must be one width a channel, got ", widths.size(),
          " widths for ", channels, " channels");
  }
  for (const uint8_t width : widths) {
    if (width != widths[0] || width < least || width > 8) {
      Throw(Code::kInvalidArgument, "tiles need the same width for all channels, ", int{least},
            " to 8, got ", int{widths[0]}, " and ", int{width});
    }
  }
  return widths[0];
}

// H_32 (Sylvester's) / sqrt(32), its own inverse.
void Transform(std::span<float, kHadamardTile> x) {
  for (size_t half = 1; half < kHadamardTile; half *= 2) {
    for (size_t first = 0; first < kHadamardTile; first += 2 * half) {
      for (size_t i = first; i < first + half; ++i) {
        const float sum = x[i] + x[i + half];
        const float difference = x[i] - x[i + half];
        x[i] = sum;
        x[i + half] = difference;
      }
    }
  }
  for (float& value : x) value *= kHadamardScale;
}

// Place of the largest magnitude if it is more than twice the second, else kNoPivot.
uint8_t PivotOf(std::span<const float> tile) {
  if (tile.size() != kHadamardTile) return kNoPivot;
  float first = -1;
  float second = -1;
  uint8_t place = 0;
  for (size_t c = 0; c < tile.size(); ++c) {
    const float magnitude = std::fabs(tile[c]);
    if (magnitude > first) {
      second = first;
      first = magnitude;
      place = static_cast<uint8_t>(c);
    } else if (magnitude > second) {
      second = magnitude;
    }
  }
  return 0.5f * first > second ? place : kNoPivot;
}

// Entropy of |x| / sum |x|, in nats; 0 for a row of zeros. Only the sender needs it.
double MagnitudeEntropy(std::span<const float> row) {
  double sum = 0;
  for (const float value : row) sum += std::fabs(static_cast<double>(value));
  if (sum == 0) return 0;
  double entropy = 0;
  for (const float value : row) {
    const double share = std::fabs(static_cast<double>(value)) / sum;
    if (share > 0) entropy -= share * std::log(share);
  }
  return entropy;
}

// Positions of the coded rows that get one bit less, marked. Ties: the earlier row.
std::vector<bool> LowRows(std::span<const float> values, size_t rows, size_t channels) {
  std::vector<double> entropy;
  for (size_t r = 0; r < rows; ++r) {
    entropy.push_back(MagnitudeEntropy(values.subspan(r * channels, channels)));
  }
  std::vector<size_t> order(rows);
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::stable_sort(order, {}, [&](size_t r) { return entropy[r]; });
  std::vector<bool> is_low(rows, false);
  for (size_t i = 0; i < rows / kLowShare; ++i) is_low[order[i]] = true;
  return is_low;
}

template <typename IsSet>
Bytes WriteBitmap(size_t count, const IsSet& is_set) {
  Bytes bits((count + 7) / 8, 0);
  for (size_t i = 0; i < count; ++i) {
    if (is_set(i)) bits[i / 8] = static_cast<uint8_t>(bits[i / 8] | (1u << (i % 8)));
  }
  return bits;
}

std::vector<bool> ReadBitmap(ByteReader* reader, size_t count) {
  const ByteSpan bits = reader->Take((count + 7) / 8);
  std::vector<bool> set(count);
  for (size_t i = 0; i < bits.size() * 8; ++i) {
    const bool is_set = (bits[i / 8] >> (i % 8) & 1) != 0;
    if (i < count) {
      set[i] = is_set;
    } else if (is_set) {
      Throw(Code::kDataLoss, "the tiles section has spare bits set");
    }
  }
  return set;
}

class TileCoder : public StatelessCoder {
 public:
  TileCoder(DType wire_dtype, size_t tile_size, uint8_t least_width)
      : StatelessCoder(wire_dtype), tile_size_(tile_size), least_width_(least_width) {}

  std::vector<Section> Write(const MatrixView& x, const MessageContext& context) const final {
    RowReader reader(x);
    const auto channels = static_cast<size_t>(x.channels);
    const uint8_t width = OneWidth(context.widths, x.channels, least_width_);
    const std::vector<uint32_t> coded = CodedRowsOf(context.rows, x.rows);
    std::vector<float> sinks, values;
    size_t next = 0;
    for (uint32_t row = 0; row < x.rows; ++row) {
      const std::span<const float> from = reader.FiniteRow(row);
      const bool is_coded = next < coded.size() && coded[next] == row;
      if (is_coded) ++next;
      std::vector<float>& into = is_coded ? values : sinks;
      into.insert(into.end(), from.begin(), from.end());
    }
    std::vector<Section> sections;
    const TilePlan plan = Plan(coded.size(), channels, width, &values, &sections);
    if (!sinks.empty()) sections.push_back({SectionKind::kSinkRows, WriteSinks(sinks, channels)});
    WriteTiles(plan, values, coded, context, &sections);
    return sections;
  }

  void Read(const std::vector<Section>& sections, const MessageContext& context, int64_t num_rows,
            int64_t channels, std::span<float> out) const final {
    const uint8_t width = OneWidth(context.widths, channels, least_width_);
    const auto row_size = static_cast<size_t>(channels);
    if (num_rows < 0 || out.size() != static_cast<uint64_t>(num_rows) * row_size) {
      Throw(Code::kInvalidArgument, "a tensor of [", num_rows, ", ", channels,
            "] does not fit an output of ", out.size(), " elements");
    }
    const std::vector<uint32_t> coded = CodedRowsOf(context.rows, num_rows);
    const TilePlan plan = ParsePlan(coded.size(), row_size, width, sections);
    const std::span<const uint32_t> sinks = context.rows.sink_rows;
    const std::vector<float> sink_values = ReadSinks(sections, sinks.size(), row_size);
    std::vector<float> values = ReadTiles(plan, sections);
    Restore(plan, &values);
    const auto copy = [&](std::span<const uint32_t> rows, const std::vector<float>& from) {
      for (size_t r = 0; r < rows.size(); ++r) {
        std::copy_n(from.data() + r * row_size, row_size, out.data() + rows[r] * row_size);
      }
    };
    copy(sinks, sink_values);
    copy(coded, values);
  }

  CodesShape ShapeOf(const std::vector<Section>& sections, const MessageContext& context,
                     int64_t num_rows) const final {
    const auto channels = static_cast<int64_t>(context.widths.size());
    const uint8_t width = OneWidth(context.widths, channels, least_width_);
    const size_t rows = CodedRowsOf(context.rows, num_rows).size();
    TilePlan plan = ParsePlan(rows, context.widths.size(), width, sections);
    return {.widths = {context.widths.begin(), context.widths.end()},
            .rows = rows,
            .tile_size = tile_size_,
            .row_widths = std::move(plan.row_widths)};
  }

 protected:
  TilePlan PlainPlan(size_t rows, size_t channels, uint8_t width) const {
    return {tile_size_, channels, std::vector<uint8_t>(rows, width), {}};
  }

 private:
  // How the coded rows are written; transforms `values` and appends what the receiver must know.
  virtual TilePlan Plan(size_t rows, size_t channels, uint8_t width, std::vector<float>* /*values*/,
                        std::vector<Section>* /*sections*/) const {
    return PlainPlan(rows, channels, width);
  }
  virtual TilePlan ParsePlan(size_t rows, size_t channels, uint8_t width,
                             const std::vector<Section>& /*sections*/) const {
    return PlainPlan(rows, channels, width);
  }
  // Undoes what Plan did to the values.
  virtual void Restore(const TilePlan& /*plan*/, std::vector<float>* /*values*/) const {}

  const size_t tile_size_;
  const uint8_t least_width_;
};

class TahquantCoder final : public TileCoder {
 public:
  TahquantCoder(DType wire_dtype, TensorKind kind)
      : TileCoder(wire_dtype, kHadamardTile, kind == TensorKind::kActivation ? 3 : 2),
        has_low_rows_(kind == TensorKind::kActivation) {}

 private:
  TilePlan Plan(size_t rows, size_t channels, uint8_t width, std::vector<float>* values,
                std::vector<Section>* sections) const override {
    TilePlan plan = PlainPlan(rows, channels, width);
    std::vector<bool> is_low(rows, false);
    if (has_low_rows_) is_low = LowRows(*values, rows, channels);
    for (size_t r = 0; r < rows; ++r) {
      if (is_low[r]) --plan.row_widths[r];
    }
    for (size_t r = 0; r < rows; ++r) {
      for (size_t tile = 0; tile < plan.tiles(); ++tile) {
        const std::span<float> x =
            std::span(*values).subspan(r * channels + tile * kHadamardTile, plan.SizeOf(tile));
        plan.pivots.push_back(quant::PivotOf(x));
        if (plan.pivots.back() == kNoPivot) continue;
        std::swap(x[0], x[plan.pivots.back()]);
        Transform(x.first<kHadamardTile>());
      }
    }
    Bytes bytes = WriteBitmap(rows, [&](size_t r) { return is_low[r]; });
    const Bytes turned =
        WriteBitmap(plan.pivots.size(), [&](size_t i) { return plan.pivots[i] != kNoPivot; });
    bytes.insert(bytes.end(), turned.begin(), turned.end());
    std::ranges::remove_copy(plan.pivots, std::back_inserter(bytes), kNoPivot);
    sections->push_back({SectionKind::kTiles, std::move(bytes)});
    return plan;
  }

  TilePlan ParsePlan(size_t rows, size_t channels, uint8_t width,
                     const std::vector<Section>& sections) const override {
    TilePlan plan = PlainPlan(rows, channels, width);
    const Bytes& bytes = RequireSection(sections, SectionKind::kTiles, "tiles");
    ByteReader reader(bytes, "tiles section");
    const std::vector<bool> is_low = ReadBitmap(&reader, rows);
    for (size_t r = 0; r < rows; ++r) {
      if (is_low[r] && !has_low_rows_) {
        Throw(Code::kDataLoss, "a token of a gradient has fewer bits than the others: row ", r);
      }
      if (is_low[r]) --plan.row_widths[r];
    }
    const std::vector<bool> turned = ReadBitmap(&reader, rows * plan.tiles());
    for (size_t i = 0; i < turned.size(); ++i) {
      plan.pivots.push_back(turned[i] ? reader.Read<uint8_t>() : kNoPivot);
      const bool is_whole = plan.SizeOf(i % plan.tiles()) == kHadamardTile;
      if (turned[i] && (!is_whole || plan.pivots[i] >= kHadamardTile)) {
        Throw(Code::kDataLoss, "tile ", i % plan.tiles(), " of coded row ", i / plan.tiles(),
              " cannot be turned about place ", int{plan.pivots[i]});
      }
    }
    reader.ExpectEnd();
    return plan;
  }

  void Restore(const TilePlan& plan, std::vector<float>* values) const override {
    for (size_t i = 0; i < plan.pivots.size(); ++i) {
      if (plan.pivots[i] == kNoPivot) continue;
      const std::span<float> x = std::span(*values).subspan(
          i / plan.tiles() * plan.channels + i % plan.tiles() * kHadamardTile, kHadamardTile);
      Transform(x.first<kHadamardTile>());
      std::swap(x[0], x[plan.pivots[i]]);
    }
  }

  const bool has_low_rows_;
};

}  // namespace

std::unique_ptr<StatelessCoder> MakeGroupCoder(DType wire_dtype, uint32_t group_size) {
  return std::make_unique<TileCoder>(wire_dtype, group_size, uint8_t{2});
}

std::unique_ptr<StatelessCoder> MakeTahquantCoder(DType wire_dtype, TensorKind kind) {
  return std::make_unique<TahquantCoder>(wire_dtype, kind);
}

}  // namespace amaq::quant
