#include "tool/report.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/error.h"
#include "quant/coders/tiles.h"
#include "quant/octet.h"
#include "quant/symbols.h"
#include "quant/token_axis.h"
#include "quant/uniform.h"

namespace amaq::tool {
namespace {

using transport::Message;

std::string_view PhaseWord(transport::GatePhase phase) {
  switch (phase) {
    case transport::GatePhase::kNone:
      return "none";
    case transport::GatePhase::kCalibrating:
      return "calibrating";
    case transport::GatePhase::kAdapting:
      return "adapting";
    case transport::GatePhase::kFrozen:
      return "frozen";
  }
  return "phase outside the table";
}

std::string DescribeItem(const transport::Item& item) {
  struct Visitor {
    std::string operator()(const std::monostate&) const { return ""; }
    std::string operator()(const transport::BackwardInfo& info) const {
      return StrCat("loss sum ", info.loss_sum, " over ", info.tokens, " tokens");
    }
    std::string operator()(const transport::NormInfo& info) const {
      return info.finite ? "norms, all finite" : "norms, not all finite";
    }
    std::string operator()(const transport::CommitInfo& info) const {
      return info.skip ? "skip"
                       : StrCat("commit, clip scale ", info.clip_scale, ", learning rate ",
                                info.learning_rate);
    }
    std::string operator()(const transport::CommittedInfo& info) const {
      return StrCat("committed steps ", info.committed_steps);
    }
    std::string operator()(const transport::AbortInfo&) const { return "abort"; }
    std::string operator()(const transport::EvalInfo& info) const {
      return StrCat("loss sum ", info.loss_sum, " over ", info.tokens, " tokens, ", info.correct,
                    " correct");
    }
    std::string operator()(const transport::DecodeInfo& info) const {
      return StrCat("token ", info.token_id);
    }
    std::string operator()(const transport::NonFinite& info) const {
      return StrCat("not finite: token ", info.token, ", channel ", info.channel);
    }
  };
  return std::visit(Visitor{}, item);
}

Spread SpreadOf(std::vector<double> values) {
  if (values.empty()) return {};
  std::ranges::sort(values);
  return {values.front(), values[values.size() / 2], values.back()};
}

double EntropyBits(const std::vector<uint64_t>& histogram) {
  uint64_t total = 0;
  for (const uint64_t count : histogram) total += count;
  double entropy = 0;
  for (const uint64_t count : histogram) {
    if (count == 0) continue;
    const double share = static_cast<double>(count) / static_cast<double>(total);
    entropy -= share * std::log2(share);
  }
  return entropy;
}

// The width of each unit: channel or coded token.
std::vector<uint8_t> UnitWidths(const CodedMessage& coded) {
  return coded.form == Form::kTahquant ? coded.shape.row_widths : coded.shape.widths;
}

// Histograms of the codes by width; padding is left out.
std::array<std::vector<uint64_t>, quant::kLargestWidth + 1> CountCodes(const CodedMessage& coded) {
  std::array<std::vector<uint64_t>, quant::kLargestWidth + 1> histograms;
  for (size_t n = 0; n < histograms.size(); ++n) histograms[n].resize(size_t{1} << n);
  const Bytes* bytes = FindSection(coded.sections, SectionKind::kCodes);
  if (bytes == nullptr) return histograms;
  const std::vector<uint8_t> codes = quant::SymbolsOf(*bytes, coded.shape, false);
  const size_t row_size = coded.shape.widths.size();
  for (size_t i = 0; i < codes.size(); ++i) {
    const uint8_t width = coded.shape.has_tiles() ? coded.shape.row_widths[i / row_size]
                                                  : coded.shape.widths[i % row_size];
    ++histograms[width][codes[i]];
  }
  return histograms;
}

void DescribeClasses(const CodedMessage& coded, Report* report) {
  const auto histograms = CountCodes(coded);
  const std::vector<uint8_t> widths = UnitWidths(coded);
  double entropy_sum = 0;
  for (uint32_t n = 0; n < histograms.size(); ++n) {
    WidthClass entry{.width = n, .histogram = histograms[n]};
    entry.units = static_cast<uint64_t>(std::ranges::count(widths, n));
    if (entry.units == 0) continue;
    for (const uint64_t count : entry.histogram) entry.codes += count;
    if (n > 0 && entry.codes > 0) {
      const auto total = static_cast<double>(entry.codes);
      entry.entropy_bits = EntropyBits(entry.histogram);
      entry.lowest_share = static_cast<double>(entry.histogram.front()) / total;
      entry.highest_share = static_cast<double>(entry.histogram.back()) / total;
      entropy_sum += entry.entropy_bits * total;
    }
    report->mean_width += n * static_cast<double>(entry.units);
    report->classes.push_back(std::move(entry));
  }
  if (!widths.empty()) report->mean_width /= static_cast<double>(widths.size());
  const double coded_elements =
      static_cast<double>(coded.num_coded_rows()) * static_cast<double>(coded.channels);
  if (coded_elements > 0) report->entropy_bits = entropy_sum / coded_elements;
}

// lo and step of each range, in the order of the message.
quant::DecodedRanges RangesOf(const CodedMessage& coded) {
  if (coded.tile_size == 0) return quant::ReadRanges(coded.sections, coded.shape.widths);
  const auto channels = static_cast<uint64_t>(coded.channels);
  const uint64_t tiles = (channels + coded.tile_size - 1) / coded.tile_size;
  quant::DecodedRanges ranges;
  for (const quant::TileRange& range :
       quant::ReadScales(coded.sections, coded.num_coded_rows() * tiles)) {
    ranges.lo.push_back(range.lo);
    ranges.step.push_back(range.step);
  }
  return ranges;
}

void DescribeRanges(const CodedMessage& coded, Report* report) {
  if (coded.num_coded_rows() == 0) return;
  const quant::DecodedRanges ranges = RangesOf(coded);
  std::vector<double> steps;
  for (const float step : ranges.step) {
    if (step > 0) steps.push_back(step);
  }
  report->ranges = ranges.step.size();
  report->constant_ranges = ranges.step.size() - steps.size();
  report->step = SpreadOf(std::move(steps));
  report->lo = SpreadOf({ranges.lo.begin(), ranges.lo.end()});
}

std::string FormWords(const CodedMessage& coded) {
  switch (coded.form) {
    case Form::kRaw:
      return "";
    case Form::kOctet:
      if (coded.is_difference()) return "differences from earlier visits, widths of channels";
      return "widths of channels";
    case Form::kTokenAxis:
      return "widths of token positions";
    case Form::kGroup:
      return StrCat("groups of ", coded.tile_size, " channels");
    case Form::kTahquant:
      return "tahquant's tiles of 32 channels";
    case Form::kRateDistortion:
      return "rate-distortion";
  }
  return "";
}

struct KindName {
  std::string_view name;
  SectionKind kind;
  bool is_tensor;
};
constexpr KindName kKinds[] = {
    {"widths", SectionKind::kWidths, true},
    {"ranges", SectionKind::kRanges, true},
    {"sink rows", SectionKind::kSinkRows, true},
    {"codes", SectionKind::kCodes, true},
    {"raw", SectionKind::kRaw, true},
    {"targets", SectionKind::kTargets, false},
    {"spans", SectionKind::kSpans, false},
    {"segments", SectionKind::kSegments, false},
    {"norms", SectionKind::kNorms, false},
    {"entropy", SectionKind::kEntropyCodes, true},
    {"tables", SectionKind::kEntropyTables, true},
    {"keys", SectionKind::kSampleKeys, true},
    {"scales", SectionKind::kScales, true},
    {"tiles", SectionKind::kTiles, true},
    {"rd codes", SectionKind::kRdCodes, true},
    {"rd classes", SectionKind::kRdClasses, true},
    {"rd basis", SectionKind::kRdBasis, true},
};

SectionBytes Describe(const Section& section) {
  for (const KindName& known : kKinds) {
    if (known.kind == section.kind) {
      return {std::string(known.name), section.bytes.size(), known.is_tensor};
    }
  }
  return {StrCat("kind ", static_cast<uint32_t>(section.kind)), section.bytes.size(), true};
}

}  // namespace

Report DescribeMessage(const Message& message) {
  Report report;
  report.key = ToString(message.key);
  report.item = DescribeItem(message.item);
  uint64_t tensor_bytes = 0;
  for (const Section& section : message.sections) {
    report.sections.push_back(Describe(section));
    report.payload_bytes += section.bytes.size();
    if (report.sections.back().is_tensor) tensor_bytes += section.bytes.size();
  }
  if (FindSection(message.sections, SectionKind::kRdBasis) != nullptr) {
    report.basis = DescribeBasis(message.sections);
    report.note = "carries the transform of amaq-rd, no tensor";
  }
  if (!message.tensor) return report;
  const transport::TensorSpec& spec = *message.tensor;
  report.tensor = StrCat(spec.tokens, " x ", spec.channels, ", cut ", spec.cut, ", ",
                         spec.direction == transport::Direction::kForward ? "forward" : "backward");
  report.coding =
      FindSection(message.sections, SectionKind::kRaw) != nullptr
          ? StrCat("raw ", DTypeName(spec.dtype))
          : StrCat("gate version ", message.gate.version, ", ", PhaseWord(message.gate.phase));
  if (message.gate.target_bits > 0) {
    report.coding += StrCat(", target ", message.gate.target_bits, " bits");
  }
  const double elements = static_cast<double>(spec.tokens) * spec.channels;
  if (elements > 0 && !__builtin_mul_overflow(spec.tokens, spec.channels, &report.elements)) {
    report.effective_bits = 8 * static_cast<double>(tensor_bytes) / elements;
  }
  return report;
}

Report DescribeCoded(const CodedMessage& coded) {
  Report report = DescribeMessage(coded.message);
  report.rows = coded.rows.size();
  report.sink_rows = coded.sink_rows.size();
  report.samples = coded.first_visits.size();
  report.first_visits = static_cast<uint64_t>(std::ranges::count(coded.first_visits, true));
  report.note = WhyNotDecodable(coded);
  if (coded.form == Form::kRaw) return report;
  report.coding += ", " + FormWords(coded);
  if (coded.form == Form::kRateDistortion) {
    report.rd =
        DescribeRd(coded.sections, coded.rows.size(), static_cast<uint64_t>(coded.channels));
    return report;
  }
  report.widths_source = coded.widths_source;
  if (coded.form == Form::kTokenAxis || coded.form == Form::kTahquant) report.unit = "tokens";
  DescribeClasses(coded, &report);
  DescribeRanges(coded, &report);
  return report;
}

namespace {

// nullopt: of tiles.
std::optional<double> ClippedShare(const CodedMessage& coded, std::span<const float> original) {
  if (coded.form != Form::kOctet && coded.form != Form::kTokenAxis) return std::nullopt;
  const quant::DecodedRanges ranges = quant::ReadRanges(coded.sections, coded.shape.widths);
  const std::vector<uint32_t> rows = quant::CodedRowNumbers(coded.sink_rows, coded.num_rows());
  const auto channels = static_cast<size_t>(coded.channels);
  uint64_t clipped = 0;
  for (size_t r = 0; r < rows.size(); ++r) {
    for (size_t c = 0; c < channels; ++c) {
      const size_t unit = coded.form == Form::kOctet ? c : r;
      if (coded.shape.widths[unit] == 0) continue;
      const double x = original[rows[r] * channels + c];
      const double extent =
          static_cast<double>(quant::LargestCode(coded.shape.widths[unit])) * ranges.step[unit];
      if (x < ranges.lo[unit] || x > ranges.lo[unit] + extent) ++clipped;
    }
  }
  const auto elements = static_cast<double>(rows.size() * channels);
  return elements > 0 ? static_cast<double>(clipped) / elements : 0;
}

}  // namespace

ErrorStats MeasureError(const CodedMessage& coded, std::span<const float> original) {
  const std::vector<float> decoded = DecodeRows(coded);
  if (original.size() != decoded.size()) {
    Throw(Code::kInvalidArgument, "the original has ", original.size(), " elements, the message ",
          decoded.size());
  }
  ErrorStats stats{.clipped_share = ClippedShare(coded, original), .elements = decoded.size()};
  double signal = 0, noise = 0;
  for (size_t i = 0; i < decoded.size(); ++i) {
    const double x = original[i];
    const double error = static_cast<double>(decoded[i]) - x;
    signal += x * x;
    noise += error * error;
    stats.max_abs = std::max(stats.max_abs, std::abs(error));
  }
  stats.rms = std::sqrt(noise / static_cast<double>(decoded.size()));
  stats.snr_db =
      noise == 0 ? std::numeric_limits<double>::infinity() : 10 * std::log10(signal / noise);
  return stats;
}

}  // namespace amaq::tool
