#include "quant/token_axis.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "core/check.h"
#include "core/error.h"
#include "quant/row_reader.h"

namespace amaq::quant {
namespace {

constexpr uint8_t kUnread = 8;  // width of channels of which no row is coded

std::vector<uint8_t> WidthsOf(std::span<const uint8_t> widths, std::span<const uint32_t> coded) {
  std::vector<uint8_t> out;
  out.reserve(coded.size());
  for (const uint32_t row : coded) out.push_back(widths[row]);
  return out;
}

void CheckWidthCount(std::span<const uint8_t> widths, int64_t num_rows) {
  if (num_rows < 0 || widths.size() != static_cast<size_t>(num_rows)) {
    Throw(Code::kInvalidArgument, "there must be one width a row, got ", widths.size(), " for ",
          num_rows, " rows");
  }
}

// Rows that are all sinks, in a row plan of their own.
std::vector<uint32_t> AllRows(size_t count) {
  std::vector<uint32_t> all(count);
  std::iota(all.begin(), all.end(), uint32_t{0});
  return all;
}

}  // namespace

std::vector<uint32_t> PositionsOfRows(std::span<const uint32_t> segments) {
  std::vector<uint32_t> positions;
  for (size_t s = 0; s + 1 < segments.size(); ++s) {
    for (uint32_t row = segments[s]; row < segments[s + 1]; ++row) {
      positions.push_back(row - segments[s]);
    }
  }
  return positions;
}

std::vector<uint8_t> WidthsOfRows(std::span<const uint8_t> by_position,
                                  std::span<const uint32_t> positions) {
  AMAQ_CHECK(!by_position.empty());
  std::vector<uint8_t> widths;
  for (const uint32_t position : positions) {
    widths.push_back(by_position[std::min<size_t>(position, by_position.size() - 1)]);
  }
  return widths;
}

std::vector<uint32_t> CodedRowNumbers(std::span<const uint32_t> sink_rows, int64_t num_rows) {
  std::vector<uint32_t> coded;
  size_t next_sink = 0;
  for (uint32_t row = 0; row < num_rows; ++row) {
    if (next_sink < sink_rows.size() && sink_rows[next_sink] == row) {
      ++next_sink;
    } else {
      coded.push_back(row);
    }
  }
  if (next_sink != sink_rows.size()) {
    Throw(Code::kInvalidArgument, "sink rows must ascend and be below ", num_rows, ", got ",
          sink_rows[next_sink], " at place ", next_sink);
  }
  return coded;
}

std::vector<Section> EncodeByToken(const MatrixView& x, std::span<const uint8_t> widths,
                                   const RowPlan& rows, const EncodeOptions& options) {
  if (options.range == Range::kDelayed) {
    Throw(Code::kInvalidArgument, "range delayed predicts channels, not tokens (quant.axis)");
  }
  RowReader reader(x);
  CheckWidthCount(widths, x.rows);
  const auto channels = static_cast<size_t>(x.channels);
  const std::vector<uint32_t> coded = CodedRowNumbers(rows.sink_rows, x.rows);
  for (uint32_t row = 0; row < x.rows; ++row) reader.FiniteRow(row);  // named by row and channel

  std::vector<float> sinks;
  for (const uint32_t row : rows.sink_rows) {
    const std::span<const float> values = reader.Row(row);
    sinks.insert(sinks.end(), values.begin(), values.end());
  }
  std::vector<Section> sections;
  if (coded.empty()) {
    sections = {{SectionKind::kRanges, {}}, {SectionKind::kCodes, {}}};
  } else {
    std::vector<float> transposed(channels * coded.size());
    for (size_t i = 0; i < coded.size(); ++i) {
      const std::span<const float> values = reader.Row(coded[i]);
      for (size_t c = 0; c < channels; ++c) transposed[c * coded.size() + i] = values[c];
    }
    try {
      sections =
          Encode({transposed.data(), DType::kF32, x.channels, static_cast<int64_t>(coded.size())},
                 WidthsOf(widths, coded), {}, options);
    } catch (const NonFiniteError& error) {  // of the transpose: a range that overflows
      throw NonFiniteError(coded[error.channel()], static_cast<uint32_t>(error.row()),
                           StrCat("the range of row ", coded[error.channel()],
                                  " overflows fp32 (channel ", error.row(), ")"));
    }
  }
  if (rows.sink_rows.empty()) return sections;
  const std::vector<uint32_t> all = AllRows(rows.sink_rows.size());
  std::vector<Section> of_sinks =
      Encode({sinks.data(), DType::kF32, static_cast<int64_t>(all.size()), x.channels},
             std::vector<uint8_t>(channels, kUnread), {all, {}}, {});
  for (Section& section : of_sinks) {
    if (section.kind == SectionKind::kSinkRows) sections.push_back(std::move(section));
  }
  return sections;
}

void DecodeByToken(const std::vector<Section>& sections, std::span<const uint8_t> widths,
                   const RowPlan& rows, int64_t num_rows, int64_t channels, std::span<float> out) {
  CheckWidthCount(widths, num_rows);
  const std::vector<uint32_t> coded = CodedRowNumbers(rows.sink_rows, num_rows);
  if (channels < 1 || out.size() % static_cast<size_t>(channels) != 0 ||
      out.size() / static_cast<size_t>(channels) != static_cast<size_t>(num_rows)) {
    Throw(Code::kInvalidArgument, "a tensor of [", num_rows, ", ", channels,
          "] does not fit an output of ", out.size(), " elements");
  }
  const auto width = static_cast<size_t>(channels);
  std::vector<Section> of_codes, of_sinks = {{SectionKind::kRanges, {}}, {SectionKind::kCodes, {}}};
  for (const Section& section : sections) {
    (section.kind == SectionKind::kSinkRows ? of_sinks : of_codes).push_back(section);
  }
  // Both halves are decoded before the first element is written.
  std::vector<float> transposed(width * coded.size());
  const std::vector<uint32_t> all = AllRows(rows.sink_rows.size());
  std::vector<float> sinks(all.size() * width);
  Decode(of_sinks, std::vector<uint8_t>(width, kUnread), {all, {}},
         static_cast<int64_t>(all.size()), channels, sinks);
  if (coded.empty()) {
    Decode(of_codes, std::vector<uint8_t>(width, kUnread), {}, 0, channels, transposed);
  } else {
    Decode(of_codes, WidthsOf(widths, coded), {}, channels, static_cast<int64_t>(coded.size()),
           transposed);
  }
  for (size_t i = 0; i < coded.size(); ++i) {
    for (size_t c = 0; c < width; ++c) out[coded[i] * width + c] = transposed[c * coded.size() + i];
  }
  for (size_t i = 0; i < all.size(); ++i) {
    std::copy_n(sinks.data() + i * width, width, out.data() + rows.sink_rows[i] * width);
  }
}

}  // namespace amaq::quant
