#include "tool/report.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/error.h"
#include "quant/octet.h"
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

// Histograms of the codes by width; padding rows are left out.
std::array<std::vector<uint64_t>, quant::kLargestWidth + 1> CountCodes(const CodedMessage& coded) {
  std::array<std::vector<uint64_t>, quant::kLargestWidth + 1> histograms;
  for (size_t n = 0; n < histograms.size(); ++n) histograms[n].resize(size_t{1} << n);
  const Bytes* codes = FindSection(coded.sections, SectionKind::kCodes);
  if (codes == nullptr) return histograms;
  const uint64_t group_bytes = quant::GroupBytes(coded.widths);
  std::vector<uint8_t> group(quant::kGroupTokens * coded.widths.size());
  const uint64_t rows = coded.num_coded_rows();
  for (uint64_t first = 0; first < rows; first += quant::kGroupTokens) {
    quant::UnpackGroup(ByteSpan(*codes).subspan(first / quant::kGroupTokens * group_bytes),
                       coded.widths, group.data());
    const uint64_t count = std::min<uint64_t>(quant::kGroupTokens, rows - first);
    for (size_t i = 0; i < count * coded.widths.size(); ++i) {
      ++histograms[coded.widths[i % coded.widths.size()]][group[i]];
    }
  }
  return histograms;
}

void DescribeClasses(const CodedMessage& coded, Report* report) {
  const auto histograms = CountCodes(coded);
  double entropy_sum = 0;
  for (uint32_t n = 0; n < histograms.size(); ++n) {
    WidthClass entry{.width = n, .histogram = histograms[n]};
    entry.channels = static_cast<uint64_t>(std::ranges::count(coded.widths, n));
    if (entry.channels == 0) continue;
    for (const uint64_t count : entry.histogram) entry.codes += count;
    if (n > 0 && entry.codes > 0) {
      const auto total = static_cast<double>(entry.codes);
      entry.entropy_bits = EntropyBits(entry.histogram);
      entry.lowest_share = static_cast<double>(entry.histogram.front()) / total;
      entry.highest_share = static_cast<double>(entry.histogram.back()) / total;
      entropy_sum += entry.entropy_bits * total;
    }
    report->mean_width += n * static_cast<double>(entry.channels);
    report->classes.push_back(std::move(entry));
  }
  report->mean_width /= static_cast<double>(coded.channels);
  const double coded_elements =
      static_cast<double>(coded.num_coded_rows()) * static_cast<double>(coded.channels);
  if (coded_elements > 0) report->entropy_bits = entropy_sum / coded_elements;
}

void DescribeRanges(const CodedMessage& coded, Report* report) {
  if (coded.num_coded_rows() == 0) return;
  const quant::DecodedRanges ranges = quant::ReadRanges(coded.sections, coded.widths);
  std::vector<double> steps;
  for (const float step : ranges.step) {
    if (step > 0) steps.push_back(step);
  }
  report->constant_channels = ranges.step.size() - steps.size();
  report->step = SpreadOf(std::move(steps));
  report->lo = SpreadOf({ranges.lo.begin(), ranges.lo.end()});
}

struct KindName {
  SectionKind kind;
  std::string_view name;
  bool is_tensor;
};
constexpr KindName kKinds[] = {
    {SectionKind::kWidths, "widths", true},
    {SectionKind::kRanges, "ranges", true},
    {SectionKind::kSinkRows, "sink rows", true},
    {SectionKind::kCodes, "codes", true},
    {SectionKind::kRaw, "raw", true},
    {SectionKind::kTargets, "targets", false},
    {SectionKind::kSpans, "spans", false},
    {SectionKind::kSegments, "segments", false},
    {SectionKind::kNorms, "norms", false},
    {SectionKind::kEntropyCodes, "entropy", true},
    {SectionKind::kEntropyTables, "tables", true},
    {SectionKind::kSampleKeys, "keys", true},
    {SectionKind::kScales, "scales", true},
    {SectionKind::kTiles, "tiles", true},
    {SectionKind::kRdCodes, "rd codes", true},
    {SectionKind::kRdClasses, "rd classes", true},
    {SectionKind::kRdBasis, "rd basis", true},
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
  if (coded.is_raw) return report;
  report.widths_source = coded.widths_source;
  DescribeClasses(coded, &report);
  DescribeRanges(coded, &report);
  return report;
}

ErrorStats MeasureError(const CodedMessage& coded, std::span<const float> original) {
  const std::vector<float> decoded = DecodeRows(coded);
  if (original.size() != decoded.size()) {
    Throw(Code::kInvalidArgument, "the original has ", original.size(), " elements, the message ",
          decoded.size());
  }
  const auto channels = static_cast<size_t>(coded.channels);
  quant::DecodedRanges ranges;
  if (!coded.is_raw) ranges = quant::ReadRanges(coded.sections, coded.widths);
  std::vector<bool> is_sink(coded.rows.size(), coded.is_raw);
  for (const uint32_t row : coded.sink_rows) is_sink[row] = true;

  ErrorStats stats{.elements = decoded.size()};
  double signal = 0, noise = 0;
  uint64_t clipped = 0;
  for (size_t i = 0; i < decoded.size(); ++i) {
    const double x = original[i];
    const double error = static_cast<double>(decoded[i]) - x;
    signal += x * x;
    noise += error * error;
    stats.max_abs = std::max(stats.max_abs, std::abs(error));
    const size_t c = i % channels;
    if (!is_sink[i / channels] && coded.widths[c] > 0) {
      const double extent =
          static_cast<double>(quant::LargestCode(coded.widths[c])) * ranges.step[c];
      if (x < ranges.lo[c] || x > ranges.lo[c] + extent) ++clipped;
    }
  }
  stats.rms = std::sqrt(noise / static_cast<double>(decoded.size()));
  stats.snr_db =
      noise == 0 ? std::numeric_limits<double>::infinity() : 10 * std::log10(signal / noise);
  const uint64_t coded_elements = coded.is_raw ? 0 : coded.num_coded_rows() * channels;
  if (coded_elements > 0) {
    stats.clipped_share = static_cast<double>(clipped) / static_cast<double>(coded_elements);
  }
  return stats;
}

}  // namespace amaq::tool
