#include "quant/coders/tiles.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <utility>

#include "core/bytes.h"
#include "core/rng.h"
#include "quant/coders/coders.h"
#include "quant/uniform.h"

namespace amaq::quant {
namespace {

constexpr size_t kRun = 8;  // codes that share whole bytes

uint16_t UpperHalf(float bf16_number) {
  return static_cast<uint16_t>(std::bit_cast<uint32_t>(bf16_number) >> 16);
}

// A transformed tile adds all of its values up.
uint32_t TermsOf(const TilePlan& plan, size_t row, size_t tile) {
  return plan.PivotOf(row, tile) == kNoPivot ? 1 : static_cast<uint32_t>(plan.tile_size);
}

// Codes of one tile; first_index counts elements of the whole micro-batch.
void CodeTile(std::span<const float> values, const TileRange& range, uint8_t width,
              const MessageContext& context, uint64_t first_index, uint8_t* codes) {
  const float inverse_step = InverseStep(range.step);
  const float largest = LargestCode(width);
  for (size_t c = 0; c < values.size(); ++c) {
    float code = 0;
    if (context.rounding == Rounding::kStochastic) {
      code = QuantizeStochastic(values[c], range.lo, inverse_step, largest,
                                PhiloxWord(context.rounding_key, first_index + c));
    } else {
      code = QuantizeNearest(values[c], range.lo, inverse_step, largest);
    }
    codes[c] = static_cast<uint8_t>(static_cast<int32_t>(code));
  }
}

}  // namespace

TileRange MakeTileRange(float lo, float hi, uint8_t width) {
  TileRange range;
  range.lo = RoundDownToBF16(lo + 0.0f);
  if (!IsFinite(range.lo)) return range;
  range.step = RoundUpToBF16((hi - range.lo) / LargestCode(width));
  if (range.step < kSmallestStep) range.step = 0;
  return range;
}

bool TileIsFinite(const TileRange& range, uint8_t width, uint32_t terms) {
  const double low = std::fabs(static_cast<double>(range.lo));
  const double high = std::fabs(static_cast<double>(range.lo) +
                                static_cast<double>(LargestCode(width)) * range.step);
  // Half of fp32's largest number: roundings on the way to a sum cannot reach infinity.
  return IsFinite(range.lo) && IsFinite(range.step) && std::max(low, high) * terms < 0x1p127;
}

size_t TilePlan::SizeOf(size_t tile) const {
  return std::min(tile_size, channels - tile * tile_size);
}

void PackRun(std::span<const uint8_t> codes, uint8_t width, uint8_t* out) {
  for (size_t first = 0; first < codes.size(); first += kRun, out += width) {
    uint64_t bits = 0;
    const size_t count = std::min(kRun, codes.size() - first);
    for (size_t k = 0; k < count; ++k) bits |= uint64_t{codes[first + k]} << (k * width);
    std::memcpy(out, &bits, width);
  }
}

void UnpackRun(const uint8_t* in, uint8_t width, std::span<uint8_t> codes) {
  const uint64_t mask = (uint64_t{1} << width) - 1;
  for (size_t first = 0; first < codes.size(); first += kRun, in += width) {
    uint64_t bits = 0;
    std::memcpy(&bits, in, width);
    const size_t count = std::min(kRun, codes.size() - first);
    for (size_t k = 0; k < count; ++k) {
      codes[first + k] = static_cast<uint8_t>(bits >> (k * width) & mask);
    }
  }
}

uint64_t TilePlan::CodesBytes() const {
  uint64_t total = 0;
  for (const uint8_t width : row_widths) total += RunBytes(channels, width);
  return total;  // tile_size is a multiple of 8: only the last tile of a row is padded
}

std::vector<uint32_t> CodedRowsOf(const RowPlan& rows, int64_t num_rows) {
  const auto count = static_cast<uint64_t>(num_rows);
  if (!rows.row_ids.empty() && rows.row_ids.size() != count) {
    Throw(Code::kInvalidArgument, "there must be one row id a row, got ", rows.row_ids.size(),
          " for ", num_rows, " rows");
  }
  std::vector<uint32_t> coded;
  size_t next = 0;
  for (uint32_t row = 0; row < count; ++row) {
    if (next < rows.sink_rows.size() && rows.sink_rows[next] == row) {
      ++next;
    } else {
      coded.push_back(row);
    }
  }
  if (next != rows.sink_rows.size()) {
    Throw(Code::kInvalidArgument, "sink rows must ascend and be below ", num_rows, ", got ",
          rows.sink_rows[next], " at place ", next);
  }
  return coded;
}

Bytes WriteSinks(std::span<const float> rows, size_t channels) {
  const auto count = static_cast<int64_t>(rows.size() / channels);
  return std::move(
      EncodeRaw({rows.data(), DType::kF32, count, static_cast<int64_t>(channels)}, DType::kBF16)
          .front()
          .bytes);
}

std::vector<float> ReadSinks(const std::vector<Section>& sections, size_t sinks, size_t channels) {
  std::vector<float> rows(sinks * channels);
  if (sinks == 0) {
    if (FindSection(sections, SectionKind::kSinkRows) != nullptr) {
      Throw(Code::kDataLoss, "the message has a sink rows section but no row is a sink row");
    }
    return rows;
  }
  const Bytes& bytes =
      RequireSection(sections, SectionKind::kSinkRows, "sink rows", rows.size() * sizeof(uint16_t));
  DecodeRaw({{SectionKind::kRaw, bytes}}, DType::kBF16, static_cast<int64_t>(sinks),
            static_cast<int64_t>(channels), rows);
  return rows;
}

void WriteTiles(const TilePlan& plan, std::span<const float> values,
                std::span<const uint32_t> coded, const MessageContext& context,
                std::vector<Section>* sections) {
  Bytes scales;
  scales.reserve(plan.row_widths.size() * plan.tiles() * 4);
  Bytes codes(plan.CodesBytes());
  std::vector<uint8_t> tile_codes(plan.tile_size);
  uint8_t* out = codes.data();
  for (size_t r = 0; r < plan.row_widths.size(); ++r) {
    const uint8_t width = plan.row_widths[r];
    const uint64_t row_id =
        context.rows.row_ids.empty() ? coded[r] : context.rows.row_ids[coded[r]];
    for (size_t tile = 0; tile < plan.tiles(); ++tile) {
      const size_t begin = tile * plan.tile_size;
      const auto tile_values = values.subspan(r * plan.channels + begin, plan.SizeOf(tile));
      const auto [lo, hi] = std::ranges::minmax_element(tile_values);
      const TileRange range = MakeTileRange(*lo, *hi, width);
      if (!TileIsFinite(range, width, TermsOf(plan, r, tile))) {
        throw NonFiniteError(
            coded[r], static_cast<uint32_t>(begin),
            StrCat("the range of channels ", begin, " to ", begin + tile_values.size() - 1,
                   " of row ", coded[r], " overflows: ", *lo, " to ", *hi));
      }
      AppendLittleEndian(&scales, UpperHalf(range.lo));
      AppendLittleEndian(&scales, UpperHalf(range.step));
      const auto target = std::span(tile_codes).first(tile_values.size());
      CodeTile(tile_values, range, width, context, row_id * plan.channels + begin, target.data());
      PackRun(target, width, out);
      out += RunBytes(target.size(), width);
    }
  }
  sections->push_back({SectionKind::kScales, std::move(scales)});
  sections->push_back({SectionKind::kCodes, std::move(codes)});
}

std::vector<TileRange> ReadScales(const std::vector<Section>& sections, size_t count) {
  const Bytes& scales = RequireSection(sections, SectionKind::kScales, "scales",
                                       uint64_t{count} * 2 * sizeof(uint16_t));
  ByteReader reader(scales, "scales section");
  std::vector<TileRange> ranges(count);
  for (size_t i = 0; i < count; ++i) {
    TileRange& range = ranges[i];
    range.lo = BF16ToF32(reader.Read<uint16_t>());
    range.step = BF16ToF32(reader.Read<uint16_t>());
    const bool is_step = range.step >= kSmallestStep || std::bit_cast<uint32_t>(range.step) == 0;
    if (!is_step || !IsFinite(range.lo) || !IsFinite(range.step)) {
      Throw(Code::kDataLoss, "the range of tile ", i, " is not one: lo ", range.lo, ", step ",
            range.step);
    }
  }
  return ranges;
}

std::vector<float> ReadTiles(const TilePlan& plan, const std::vector<Section>& sections) {
  const size_t rows = plan.row_widths.size();
  const std::vector<TileRange> ranges = ReadScales(sections, rows * plan.tiles());
  const Bytes& codes = RequireSection(sections, SectionKind::kCodes, "codes", plan.CodesBytes());
  std::vector<float> values(rows * plan.channels);
  std::vector<uint8_t> tile_codes(plan.tile_size);
  const uint8_t* in = codes.data();
  for (size_t r = 0; r < rows; ++r) {
    const uint8_t width = plan.row_widths[r];
    for (size_t tile = 0; tile < plan.tiles(); ++tile) {
      const TileRange& range = ranges[r * plan.tiles() + tile];
      if (!TileIsFinite(range, width, TermsOf(plan, r, tile))) {
        Throw(Code::kDataLoss, "the range of tile ", tile, " of coded row ", r, " overflows: lo ",
              range.lo, ", step ", range.step);
      }
      const auto target = std::span(tile_codes).first(plan.SizeOf(tile));
      UnpackRun(in, width, target);
      in += RunBytes(target.size(), width);
      float* out = values.data() + r * plan.channels + tile * plan.tile_size;
      for (size_t c = 0; c < target.size(); ++c) {
        out[c] = Dequantize(static_cast<float>(target[c]), range.lo, range.step);
      }
    }
  }
  return values;
}

}  // namespace amaq::quant
