#include "quant/codec.h"

#include <algorithm>
#include <cstring>
#include <string_view>
#include <utility>

#include "core/bytes.h"
#include "core/rng.h"
#include "quant/octet.h"
#include "quant/range.h"
#include "quant/range_modes.h"
#include "quant/row_reader.h"
#include "quant/uniform.h"

namespace amaq::quant {
namespace {

constexpr uint16_t kLargestBF16 = 0x7f7f;  // 3.39e38
constexpr uint16_t kLargestF16 = 0x7bff;   // 65504

void CheckWidths(std::span<const uint8_t> widths, int64_t channels) {
  if (channels < 1 || widths.size() != static_cast<size_t>(channels)) {
    Throw(Code::kInvalidArgument, "there must be one width a channel, got ", widths.size(),
          " widths for ", channels, " channels");
  }
  for (size_t c = 0; c < widths.size(); ++c) {
    if (widths[c] > kLargestWidth) {
      Throw(Code::kInvalidArgument, "width of channel ", c, " must be in [0, 8], got ",
            int{widths[c]});
    }
  }
}

// Rows that are not sink rows, ascending.
std::vector<uint32_t> CodedRows(const RowPlan& rows, int64_t num_rows) {
  const auto count = static_cast<uint64_t>(num_rows);
  if (!rows.row_ids.empty() && rows.row_ids.size() != count) {
    Throw(Code::kInvalidArgument, "there must be one row id a row, got ", rows.row_ids.size(),
          " for ", num_rows, " rows");
  }
  for (size_t i = 0; i < rows.sink_rows.size(); ++i) {
    if (rows.sink_rows[i] >= count || (i > 0 && rows.sink_rows[i] <= rows.sink_rows[i - 1])) {
      Throw(Code::kInvalidArgument, "sink rows must ascend and be below ", num_rows, ", got ",
            rows.sink_rows[i], " at place ", i);
    }
  }
  std::vector<uint32_t> coded;
  coded.reserve(static_cast<size_t>(count) - rows.sink_rows.size());
  size_t next_sink = 0;
  for (uint32_t row = 0; row < count; ++row) {
    if (next_sink < rows.sink_rows.size() && rows.sink_rows[next_sink] == row) {
      ++next_sink;
    } else {
      coded.push_back(row);
    }
  }
  return coded;
}

void CheckOut(int64_t num_rows, int64_t channels, std::span<float> out) {
  constexpr int64_t kLimit = INT64_C(0xffffffff);
  if (num_rows < 0 || num_rows > kLimit || channels < 1 || channels > kLimit ||
      out.size() != static_cast<uint64_t>(num_rows) * static_cast<uint64_t>(channels)) {
    Throw(Code::kInvalidArgument, "a tensor of [", num_rows, ", ", channels,
          "] does not fit an output of ", out.size(), " elements");
  }
}

const Bytes& RequireSection(const std::vector<Section>& sections, SectionKind kind,
                            std::string_view name, uint64_t bytes) {
  const Bytes* found = FindSection(sections, kind);
  if (found == nullptr) Throw(Code::kDataLoss, "the message has no ", name, " section");
  if (found->size() != bytes) {
    Throw(Code::kDataLoss, "the ", name, " section must have ", bytes, " bytes, has ",
          found->size());
  }
  return *found;
}

// The arithmetic's inputs, one array each, so that the loops run over contiguous channels.
struct ChannelTables {
  ChannelTables(std::span<const ChannelRange> ranges, std::span<const uint8_t> widths) {
    for (size_t c = 0; c < ranges.size(); ++c) {
      lo.push_back(ranges[c].lo);
      step.push_back(ranges[c].step);
      inverse_step.push_back(InverseStep(ranges[c].step));
      largest.push_back(LargestCode(widths[c]));
    }
  }
  std::vector<float> lo, step, inverse_step, largest;
};

void CodeRow(std::span<const float> row, const ChannelTables& tables, uint8_t* codes) {
  for (size_t c = 0; c < row.size(); ++c) {
    codes[c] = static_cast<uint8_t>(static_cast<int32_t>(
        QuantizeNearest(row[c], tables.lo[c], tables.inverse_step[c], tables.largest[c])));
  }
}

void CodeRowStochastic(std::span<const float> row, const ChannelTables& tables, uint64_t key,
                       uint64_t first_index, uint8_t* codes) {
  for (size_t c = 0; c < row.size(); ++c) {
    const uint32_t word = PhiloxWord(key, first_index + c);
    codes[c] = static_cast<uint8_t>(static_cast<int32_t>(
        QuantizeStochastic(row[c], tables.lo[c], tables.inverse_step[c], tables.largest[c], word)));
  }
}

Bytes EncodeCodes(RowReader* reader, std::span<const uint32_t> coded, const RowPlan& rows,
                  std::span<const ChannelRange> ranges, std::span<const uint8_t> widths,
                  const EncodeOptions& options) {
  const size_t channels = widths.size();
  const ChannelTables tables(ranges, widths);
  Bytes out(CodesBytes(coded.size(), widths));
  std::vector<uint8_t> codes(kGroupTokens * channels);
  const size_t group_bytes = GroupBytes(widths);
  size_t offset = 0;
  for (size_t first = 0; first < coded.size(); first += kGroupTokens, offset += group_bytes) {
    const size_t count = std::min(kGroupTokens, coded.size() - first);
    if (count < kGroupTokens) std::fill(codes.begin(), codes.end(), uint8_t{0});
    for (size_t k = 0; k < count; ++k) {
      const uint32_t row = coded[first + k];
      const std::span<const float> values = reader->Row(row);
      if (options.rounding == Rounding::kStochastic) {
        const uint64_t row_id = rows.row_ids.empty() ? row : rows.row_ids[row];
        CodeRowStochastic(values, tables, options.rounding_key, row_id * channels,
                          codes.data() + k * channels);
      } else {
        CodeRow(values, tables, codes.data() + k * channels);
      }
    }
    PackGroup(codes.data(), widths, std::span(out).subspan(offset));
  }
  return out;
}

// A range that overflows is named by the row that holds the channel's largest magnitude.
[[noreturn]] void ThrowOverflow(RowReader* reader, std::span<const uint32_t> coded, size_t channel,
                                const Extremes& extremes) {
  uint32_t worst_row = coded.front();
  float worst = -1;
  for (const uint32_t row : coded) {
    const float value = reader->Row(row)[channel];
    const float magnitude = value < 0 ? -value : value;
    if (magnitude > worst) {
      worst = magnitude;
      worst_row = row;
    }
  }
  throw NonFiniteError(
      worst_row, static_cast<uint32_t>(channel),
      StrCat("the range of channel ", channel, " overflows fp32: ", extremes.lo[channel], " to ",
             extremes.hi[channel], " (row ", worst_row, ")"));
}

// bf16 of a finite value; a value that would round to infinity becomes the largest bf16 number.
uint16_t SaturatedBF16(float value) {
  const uint16_t bits = F32ToBF16(value);
  return (bits & 0x7f80u) == 0x7f80u ? static_cast<uint16_t>((bits & 0x8000u) | kLargestBF16)
                                     : bits;
}

uint16_t SaturatedF16(float value) {
  const uint16_t bits = F32ToF16(value);
  return (bits & 0x7c00u) == 0x7c00u ? static_cast<uint16_t>((bits & 0x8000u) | kLargestF16) : bits;
}

void AppendRow(std::span<const float> row, DType dtype, Bytes* out) {
  if (dtype == DType::kF32) {
    const auto* bytes = reinterpret_cast<const uint8_t*>(row.data());
    out->insert(out->end(), bytes, bytes + row.size_bytes());
    return;
  }
  size_t offset = out->size();
  out->resize(offset + row.size() * sizeof(uint16_t));
  for (const float value : row) {
    const uint16_t bits = dtype == DType::kBF16 ? SaturatedBF16(value) : SaturatedF16(value);
    std::memcpy(out->data() + offset, &bits, sizeof(bits));
    offset += sizeof(bits);
  }
}

float ReadElement(ByteSpan bytes, DType dtype, size_t index) {
  if (dtype == DType::kF32) {
    float value;
    std::memcpy(&value, bytes.data() + index * sizeof(value), sizeof(value));
    return value;
  }
  uint16_t bits;
  std::memcpy(&bits, bytes.data() + index * sizeof(bits), sizeof(bits));
  return dtype == DType::kBF16 ? BF16ToF32(bits) : F16ToF32(bits);
}

// Errors: kDataLoss when one of the values is not finite.
void CheckFinite(ByteSpan bytes, DType dtype, std::string_view name, size_t channels) {
  for (size_t i = 0; i < bytes.size() / SizeOf(dtype); ++i) {
    if (!IsFinite(ReadElement(bytes, dtype, i))) {
      Throw(Code::kDataLoss, "the ", name, " section holds a value that is not finite, row ",
            i / channels, " of it, channel ", i % channels);
    }
  }
}

void CheckWireDType(DType dtype) {
  if (dtype != DType::kF32 && dtype != DType::kBF16 && dtype != DType::kF16) {
    Throw(Code::kInvalidArgument, "a raw tensor must be fp32, bf16 or fp16, got ",
          DTypeName(dtype));
  }
}

}  // namespace

uint64_t CodesBytes(uint64_t rows, std::span<const uint8_t> widths) {
  return (rows + kGroupTokens - 1) / kGroupTokens * GroupBytes(widths);
}

std::vector<Section> Encode(const MatrixView& x, std::span<const uint8_t> widths,
                            const RowPlan& rows, const EncodeOptions& options) {
  RowReader reader(x);
  CheckWidths(widths, x.channels);
  const std::vector<uint32_t> coded = CodedRows(rows, x.rows);

  Extremes extremes(widths.size());
  Bytes sinks;
  sinks.reserve(rows.sink_rows.size() * widths.size() * sizeof(uint16_t));
  size_t next_sink = 0;
  for (uint32_t row = 0; row < x.rows; ++row) {
    const std::span<const float> values = reader.FiniteRow(row);
    if (next_sink < rows.sink_rows.size() && rows.sink_rows[next_sink] == row) {
      AppendRow(values, DType::kBF16, &sinks);
      ++next_sink;
    } else {
      extremes.Add(values);
    }
  }

  Bytes range_bytes, codes;
  if (!coded.empty()) {
    if (LooksBeyondExtremes(options.range)) {
      extremes = ChooseExtremes(&reader, coded, widths,
                                {options.range, options.range_percentile, options.delayed});
    }
    const std::vector<ChannelRange> ranges = MakeRanges(extremes, widths, options.range);
    for (size_t c = 0; c < ranges.size(); ++c) {
      if (!RangeIsFinite(ranges[c], widths[c])) ThrowOverflow(&reader, coded, c, extremes);
    }
    range_bytes = WriteRanges(ranges);
    codes = EncodeCodes(&reader, coded, rows, ranges, widths, options);
  }
  std::vector<Section> sections;
  sections.push_back({SectionKind::kRanges, std::move(range_bytes)});
  if (!rows.sink_rows.empty()) sections.push_back({SectionKind::kSinkRows, std::move(sinks)});
  sections.push_back({SectionKind::kCodes, std::move(codes)});
  return sections;
}

void Decode(const std::vector<Section>& sections, std::span<const uint8_t> widths,
            const RowPlan& rows, int64_t num_rows, int64_t channels, std::span<float> out) {
  CheckOut(num_rows, channels, out);
  CheckWidths(widths, channels);
  const std::vector<uint32_t> coded = CodedRows(rows, num_rows);
  const auto width_count = static_cast<size_t>(channels);

  // All of the message is checked before the first element is written.
  const Bytes& codes =
      RequireSection(sections, SectionKind::kCodes, "codes", CodesBytes(coded.size(), widths));
  const Bytes* range_bytes = FindSection(sections, SectionKind::kRanges);
  if (range_bytes == nullptr) Throw(Code::kDataLoss, "the message has no ranges section");
  std::vector<ChannelRange> ranges;
  if (!coded.empty()) {
    ranges = ParseRanges(*range_bytes, widths);
  } else if (!range_bytes->empty()) {
    Throw(Code::kDataLoss, "the ranges section must be empty as no row is coded, has ",
          range_bytes->size(), " bytes");
  }
  ByteSpan sinks;
  if (!rows.sink_rows.empty()) {
    sinks = RequireSection(sections, SectionKind::kSinkRows, "sink rows",
                           rows.sink_rows.size() * width_count * sizeof(uint16_t));
    CheckFinite(sinks, DType::kBF16, "sink rows", width_count);
  } else if (FindSection(sections, SectionKind::kSinkRows) != nullptr) {
    Throw(Code::kDataLoss, "the message has a sink rows section but no row is a sink row");
  }

  for (size_t i = 0; i < rows.sink_rows.size(); ++i) {
    float* target = out.data() + rows.sink_rows[i] * width_count;
    for (size_t c = 0; c < width_count; ++c) {
      target[c] = ReadElement(sinks, DType::kBF16, i * width_count + c);
    }
  }
  const ChannelTables tables(ranges, widths);
  const size_t group_bytes = GroupBytes(widths);
  std::vector<uint8_t> group(kGroupTokens * width_count);
  for (size_t first = 0; first < coded.size(); first += kGroupTokens) {
    UnpackGroup(ByteSpan(codes).subspan(first / kGroupTokens * group_bytes), widths, group.data());
    const size_t count = std::min(kGroupTokens, coded.size() - first);
    for (size_t k = 0; k < count; ++k) {
      float* target = out.data() + coded[first + k] * width_count;
      const uint8_t* row_codes = group.data() + k * width_count;
      for (size_t c = 0; c < width_count; ++c) {
        target[c] = Dequantize(static_cast<float>(row_codes[c]), tables.lo[c], tables.step[c]);
      }
    }
  }
}

std::vector<Section> EncodeRaw(const MatrixView& x, DType dtype) {
  CheckWireDType(dtype);
  RowReader reader(x);
  Bytes bytes;
  bytes.reserve(static_cast<size_t>(x.rows * x.channels) * SizeOf(dtype));
  for (int64_t row = 0; row < x.rows; ++row) AppendRow(reader.FiniteRow(row), dtype, &bytes);
  std::vector<Section> sections;
  sections.push_back({SectionKind::kRaw, std::move(bytes)});
  return sections;
}

void DecodeRaw(const std::vector<Section>& sections, DType dtype, int64_t num_rows,
               int64_t channels, std::span<float> out) {
  CheckWireDType(dtype);
  CheckOut(num_rows, channels, out);
  const Bytes& bytes =
      RequireSection(sections, SectionKind::kRaw, "raw", out.size() * SizeOf(dtype));
  CheckFinite(bytes, dtype, "raw", static_cast<size_t>(channels));
  for (size_t i = 0; i < out.size(); ++i) out[i] = ReadElement(bytes, dtype, i);
}

DecodedRanges ReadRanges(const std::vector<Section>& sections, std::span<const uint8_t> widths) {
  CheckWidths(widths, static_cast<int64_t>(widths.size()));
  const Bytes* bytes = FindSection(sections, SectionKind::kRanges);
  if (bytes == nullptr) Throw(Code::kDataLoss, "the message has no ranges section");
  DecodedRanges decoded{std::vector<float>(widths.size()), std::vector<float>(widths.size())};
  if (bytes->empty()) return decoded;  // no row was coded
  const std::vector<ChannelRange> ranges = ParseRanges(*bytes, widths);
  for (size_t c = 0; c < ranges.size(); ++c) {
    decoded.lo[c] = ranges[c].lo;
    decoded.step[c] = ranges[c].step;
  }
  return decoded;
}

}  // namespace amaq::quant
