#include "quant/codec.h"

#include <algorithm>
#include <cstring>
#include <string_view>
#include <utility>

#include "core/bytes.h"
#include "core/check.h"
#include "core/rng.h"
#include "quant/kernels.h"
#include "quant/octet.h"
#include "quant/range.h"
#include "quant/range_modes.h"
#include "quant/row_reader.h"
#include "quant/sections.h"
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
std::vector<uint32_t> NumbersOfCodedRows(const RowPlan& rows, int64_t num_rows) {
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

// A range that overflows is named by the row that holds the channel's largest magnitude.
[[noreturn]] void ThrowOverflow(RowReader* reader, std::span<const uint32_t> coded, size_t channel,
                                float lo, float hi) {
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
  throw NonFiniteError(worst_row, static_cast<uint32_t>(channel),
                       StrCat("the range of channel ", channel, " overflows fp32: ", lo, " to ", hi,
                              " (row ", worst_row, ")"));
}

// Throws if any row holds a value that is not finite: the first of them, row by row.
void CheckAllFinite(RowReader* reader, int64_t num_rows) {
  for (int64_t row = 0; row < num_rows; ++row) reader->FiniteRow(row);
}

// The extremes of x itself, or those that its range mode clips to.
Extremes ExtremesFor(const CodedRows& x, std::span<const uint8_t> widths,
                     const EncodeOptions& options, const KernelSet& kernels, RowReader* reader) {
  if (LooksBeyondExtremes(options.range)) {
    return ChooseExtremes(reader, x.rows, widths,
                          {options.range, options.range_percentile, options.delayed});
  }
  const ChannelSlice all{0, widths.size()};
  Extremes extremes(widths.size());
  if (!kernels.extremes(x, all, extremes.lo.data(), extremes.hi.data())) {
    CheckAllFinite(reader, reader->num_rows());
    extremes = Extremes(widths.size());
    ScalarKernelSet().extremes(x, all, extremes.lo.data(), extremes.hi.data());
  }
  return extremes;
}

Bytes EncodeRows(const CodedRows& x, std::span<const uint8_t> widths, const RowPlan& rows,
                 const EncodeOptions& options, RowReader* reader,
                 std::vector<ChannelRange>* ranges) {
  const KernelSet& kernels = options.kernels != nullptr ? *options.kernels : ActiveKernelSet();
  const Extremes extremes = ExtremesFor(x, widths, options, kernels, reader);
  ChannelTables tables(widths, options.nested);
  tables.clips = LooksBeyondExtremes(options.range);
  for (size_t c = 0; c < widths.size(); ++c) {
    ranges->push_back(
        RangeOf(extremes.lo[c], extremes.hi[c], widths[c], options.range, options.nested));
    if (!RangeIsFinite(ranges->back(), widths[c])) {
      CheckAllFinite(reader, reader->num_rows());
      ThrowOverflow(reader, x.rows, c, extremes.lo[c], extremes.hi[c]);
    }
    tables.Set(c, ranges->back());
  }
  const RoundingSpec rounding{options.rounding, options.rounding_key, rows.row_ids};
  const uint64_t group_bytes = GroupBytes(widths);
  Bytes out;
  out.reserve(CodesBytes(x.rows.size(), widths));
  // Grown part by part: the zeros of resize() are overwritten while they are in the cache.
  constexpr uint64_t kBytesAtOnce = 512 << 10;
  const uint64_t groups_at_once = kBytesAtOnce / std::max<uint64_t>(group_bytes, 1) + 1;
  const uint64_t rows_at_once = groups_at_once * kGroupTokens;
  for (size_t first = 0; first < x.rows.size(); first += rows_at_once) {
    CodedRows part = x;
    part.rows = x.rows.subspan(first, std::min(rows_at_once, x.rows.size() - first));
    const size_t done = out.size();
    out.resize(done + CodesBytes(part.rows.size(), widths));
    kernels.encode(part, {0, widths.size()}, tables, rounding, {out.data() + done, group_bytes});
  }
  return out;
}

Bytes EncodeSinkRows(RowReader* reader, std::span<const uint32_t> sink_rows) {
  Bytes bytes;
  for (const uint32_t row : sink_rows) {
    const std::span<const float> values = reader->Row(row);
    if (!std::all_of(values.begin(), values.end(), IsFinite)) {
      CheckAllFinite(reader, reader->num_rows());
    }
    AppendRow(values, DType::kBF16, &bytes);
  }
  return bytes;
}

void CheckWireDType(DType dtype) {
  if (dtype != DType::kF32 && dtype != DType::kBF16 && dtype != DType::kF16) {
    Throw(Code::kInvalidArgument, "a raw tensor must be fp32, bf16 or fp16, got ",
          DTypeName(dtype));
  }
}

// A coded message whose sections were checked.
struct CodedMessage {
  std::vector<uint32_t> rows;  // coded ones
  std::vector<ChannelRange> ranges;
  ByteSpan codes;
  ByteSpan sinks;
};

CodedMessage ReadMessage(const std::vector<Section>& sections, std::span<const uint8_t> widths,
                         const RowPlan& rows, int64_t num_rows, int64_t channels) {
  CheckWidths(widths, channels);
  CodedMessage message;
  message.rows = NumbersOfCodedRows(rows, num_rows);
  message.codes = RequireSection(sections, SectionKind::kCodes, "codes",
                                 CodesBytes(message.rows.size(), widths));
  const Bytes& range_bytes = RequireSection(sections, SectionKind::kRanges, "ranges");
  if (!message.rows.empty()) {
    message.ranges = ParseRanges(range_bytes, widths);
  } else if (!range_bytes.empty()) {
    Throw(Code::kDataLoss, "the ranges section must be empty as no row is coded, has ",
          range_bytes.size(), " bytes");
  }
  if (!rows.sink_rows.empty()) {
    message.sinks = RequireSection(sections, SectionKind::kSinkRows, "sink rows",
                                   rows.sink_rows.size() * widths.size() * sizeof(uint16_t));
    CheckFinite(message.sinks, DType::kBF16, "sink rows", widths.size());
  } else if (FindSection(sections, SectionKind::kSinkRows) != nullptr) {
    Throw(Code::kDataLoss, "the message has a sink rows section but no row is a sink row");
  }
  return message;
}

void WriteSinkRows(const CodedMessage& message, const RowPlan& rows, size_t channels,
                   std::span<float> out) {
  for (size_t i = 0; i < rows.sink_rows.size(); ++i) {
    float* target = out.data() + rows.sink_rows[i] * channels;
    for (size_t c = 0; c < channels; ++c) {
      target[c] = ReadElement(message.sinks, DType::kBF16, i * channels + c);
    }
  }
}

void SetRanges(std::span<const ChannelRange> ranges, ChannelTables* tables) {
  for (size_t c = 0; c < ranges.size(); ++c) tables->Set(c, ranges[c]);
}

// out may be null.
void DecodeRows(const CodedMessage& message, std::span<const uint8_t> widths, float* out,
                const GateSumsJob* sums, const KernelSet* kernels) {
  if (message.rows.empty()) return;
  ChannelTables tables(widths, false);
  SetRanges(message.ranges, &tables);
  const KernelSet& chosen = kernels != nullptr ? *kernels : ActiveKernelSet();
  chosen.decode({message.codes.data(), message.codes.size(), GroupBytes(widths)},
                {0, widths.size()}, tables, {out, widths.size(), message.rows}, sums);
}

}  // namespace

uint64_t CodesBytes(uint64_t rows, std::span<const uint8_t> widths) {
  return (rows + kGroupTokens - 1) / kGroupTokens * GroupBytes(widths);
}

std::vector<Section> Encode(const MatrixView& x, std::span<const uint8_t> widths,
                            const RowPlan& rows, const EncodeOptions& options) {
  RowReader reader(x);
  CheckWidths(widths, x.channels);
  if (options.nested && options.rounding != Rounding::kNearestEven) {
    Throw(Code::kInvalidArgument, "nested codes are rounded to nearest, not stochastically");
  }
  const std::vector<uint32_t> coded = NumbersOfCodedRows(rows, x.rows);
  Bytes sinks = EncodeSinkRows(&reader, rows.sink_rows);
  Bytes range_bytes, codes;
  if (!coded.empty()) {
    const CodedRows source{x.data, x.dtype, widths.size(), coded};
    std::vector<ChannelRange> ranges;
    codes = EncodeRows(source, widths, rows, options, &reader, &ranges);
    range_bytes = WriteRanges(ranges);
  }
  std::vector<Section> sections;
  sections.push_back({SectionKind::kRanges, std::move(range_bytes)});
  if (!rows.sink_rows.empty()) sections.push_back({SectionKind::kSinkRows, std::move(sinks)});
  sections.push_back({SectionKind::kCodes, std::move(codes)});
  return sections;
}

void Decode(const std::vector<Section>& sections, std::span<const uint8_t> widths,
            const RowPlan& rows, int64_t num_rows, int64_t channels, std::span<float> out,
            const KernelSet* kernels) {
  CheckOut(num_rows, channels, out);
  const CodedMessage message = ReadMessage(sections, widths, rows, num_rows, channels);
  WriteSinkRows(message, rows, widths.size(), out);
  DecodeRows(message, widths, out.data(), nullptr, kernels);
}

namespace {

// The sums over coded rows of a gradient, and what a kernel needs to form them.
class GateSumming {
 public:
  // coded: numbers of the coded rows in the gradient's matrix; activation: may be null.
  GateSumming(std::span<const uint32_t> coded, const RowPlan& rows, size_t channels,
              const SentActivation* activation)
      : x_rows_(coded.begin(), coded.end()), tables_({}, false) {
    sums_.energy.assign(channels, 0);
    job_ = {{}, &tables_, nullptr, sums_.energy.data()};
    if (activation != nullptr) TakeActivation(*activation, rows, channels);
    job_.x.rows = x_rows_;
  }
  GateSumming(const GateSumming&) = delete;
  GateSumming& operator=(const GateSumming&) = delete;

  const GateSumsJob& job() const { return job_; }
  GateSums Take() { return std::move(sums_); }

 private:
  void TakeActivation(const SentActivation& activation, const RowPlan& rows, size_t channels) {
    const MatrixView& x = activation.x;
    CheckWidths(activation.widths, x.channels);
    AMAQ_CHECK(static_cast<size_t>(x.channels) == channels);
    for (uint32_t& row : x_rows_) {
      if (!rows.row_ids.empty()) row = rows.row_ids[row];
      AMAQ_CHECK(int64_t{row} < x.rows);
    }
    tables_ = ChannelTables(activation.widths, activation.nested);
    const Bytes* range_bytes = FindSection(*activation.sections, SectionKind::kRanges);
    if (range_bytes == nullptr) Throw(Code::kDataLoss, "the message has no ranges section");
    if (!x_rows_.empty()) SetRanges(ParseRanges(*range_bytes, activation.widths), &tables_);
    sums_.error_dot.assign(channels, 0);
    job_.error_dot = sums_.error_dot.data();
    job_.x = {x.data, x.dtype, channels, {}};
  }

  GateSums sums_;
  std::vector<uint32_t> x_rows_;
  ChannelTables tables_;
  GateSumsJob job_;
};

}  // namespace

GateSums DecodeForGate(const std::vector<Section>& sections, std::span<const uint8_t> widths,
                       const RowPlan& rows, int64_t num_rows, const SentActivation* activation,
                       std::span<float> out, const KernelSet* kernels) {
  const auto channels = static_cast<int64_t>(widths.size());
  if (!out.empty()) CheckOut(num_rows, channels, out);
  const CodedMessage message = ReadMessage(sections, widths, rows, num_rows, channels);
  GateSumming summing(message.rows, rows, widths.size(), activation);
  if (!out.empty()) WriteSinkRows(message, rows, widths.size(), out);
  DecodeRows(message, widths, out.data(), &summing.job(), kernels);
  return summing.Take();
}

GateSums SumForGate(const MatrixView& gradient, const RowPlan& rows,
                    const SentActivation* activation) {
  const std::vector<uint32_t> coded = NumbersOfCodedRows(rows, gradient.rows);
  const auto channels = static_cast<size_t>(gradient.channels);
  GateSumming summing(coded, rows, channels, activation);
  RowReader reader(gradient);
  for (size_t i = 0; i < coded.size(); ++i) {
    const std::span<const float> g = reader.Row(coded[i]);
    for (size_t c = 0; c < channels; ++c) {
      AddToSums(summing.job(), summing.job().x.rows[i], c, g[c]);
    }
  }
  return summing.Take();
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
  const Bytes& bytes = RequireSection(sections, SectionKind::kRanges, "ranges");
  DecodedRanges decoded{std::vector<float>(widths.size()), std::vector<float>(widths.size())};
  if (bytes.empty()) return decoded;  // no row was coded
  const std::vector<ChannelRange> ranges = ParseRanges(bytes, widths);
  for (size_t c = 0; c < ranges.size(); ++c) {
    decoded.lo[c] = ranges[c].lo;
    decoded.step[c] = ranges[c].step;
  }
  return decoded;
}

}  // namespace amaq::quant
