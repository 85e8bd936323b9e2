// A report as text for a terminal and as JSON.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "tool/report.h"

namespace amaq::tool {
namespace {

constexpr size_t kBarColumns = 40;
constexpr double kBf16Bits = 16;

template <typename... Values>
std::string Format(const char* format, Values... values) {
  char buffer[256];
  const int length = std::snprintf(buffer, sizeof(buffer), format, values...);
  return std::string(buffer, std::min(static_cast<size_t>(length), sizeof(buffer) - 1));
}

unsigned long long Wide(uint64_t value) { return value; }

std::string Line(const char* label, const std::string& text) {
  return text.empty() ? "" : Format("%-10s ", label) + text + "\n";
}

double Share(double part, double whole) { return whole > 0 ? part / whole : 0; }

std::string SectionTable(const Report& report) {
  std::string out = Format("%-10s %10s %7s\n", "\nsection", "bytes", "share");
  for (const SectionBytes& section : report.sections) {
    out += Format(
        "%-10s %9llu %6.1f%%\n", section.name.c_str(), Wide(section.bytes),
        100 * Share(static_cast<double>(section.bytes), static_cast<double>(report.payload_bytes)));
  }
  return out + Format("%-10s %9llu         file %llu\n", "payload", Wide(report.payload_bytes),
                      Wide(report.file_bytes));
}

std::string SpreadLine(const char* name, const Spread& spread) {
  return Format("%-10s %12.5g %12.5g %12.5g\n", name, spread.min, spread.median, spread.max);
}

std::string ClassTable(const Report& report) {
  uint64_t most = 1;
  for (const WidthClass& entry : report.classes) most = std::max(most, entry.units);
  std::string out = Format("\nwidth %9s   entropy  code 0  top code\n", report.unit.c_str());
  for (const WidthClass& entry : report.classes) {
    const auto bar = (entry.units * kBarColumns + most - 1) / most;
    out += Format("%5u %9llu", entry.width, Wide(entry.units));
    out += entry.width == 0 ? std::string(28, ' ')
                            : Format("  %8.3f %6.1f%%   %6.1f%%", entry.entropy_bits,
                                     100 * entry.lowest_share, 100 * entry.highest_share);
    out += "  " + std::string(bar, '#') + "\n";
  }
  return out + Format(" mean %9.3f  %8.3f  (entropy: bits a code, %s of a width pooled)\n",
                      report.mean_width, report.entropy_bits, report.unit.c_str());
}

// Codes of one width, gathered in at most 16 bars.
std::string Histogram(const WidthClass& entry) {
  const size_t bars = std::min<size_t>(entry.histogram.size(), 16);
  const size_t per_bar = entry.histogram.size() / bars;
  std::vector<uint64_t> sums(bars);
  for (size_t code = 0; code < entry.histogram.size(); ++code) {
    sums[code / per_bar] += entry.histogram[code];
  }
  const uint64_t most = std::max<uint64_t>(1, *std::ranges::max_element(sums));
  std::string out = Format("\ncodes of width %u\n", entry.width);
  for (size_t i = 0; i < bars; ++i) {
    const std::string codes =
        per_bar == 1 ? StrCat(i) : StrCat(i * per_bar, "-", (i + 1) * per_bar - 1);
    out += Format("%9s %6.2f%%  ", codes.c_str(),
                  100 * Share(static_cast<double>(sums[i]), static_cast<double>(entry.codes)));
    out += std::string((sums[i] * kBarColumns + most - 1) / most, '#') + "\n";
  }
  return out;
}

// The width of most units, whose codes are shown.
const WidthClass* CommonClass(const Report& report) {
  const WidthClass* common = nullptr;
  for (const WidthClass& entry : report.classes) {
    if (entry.codes > 0 && entry.width > 0 && (common == nullptr || entry.units > common->units)) {
      common = &entry;
    }
  }
  return common;
}

std::string ErrorText(const ErrorStats& error) {
  const std::string clipped =
      error.clipped_share ? Format(", clipped %.4f%%", 100 * *error.clipped_share) : "";
  return Format("\nerror      max %.5g, rms %.5g, SNR %.2f dB%s (%llu elements)\n", error.max_abs,
                error.rms, error.snr_db, clipped.c_str(), Wide(error.elements));
}

nlohmann::ordered_json SpreadJson(const Spread& spread) {
  return {{"min", spread.min}, {"median", spread.median}, {"max", spread.max}};
}

nlohmann::ordered_json ClassesJson(const Report& report) {
  nlohmann::ordered_json classes = nlohmann::ordered_json::array();
  for (const WidthClass& entry : report.classes) {
    classes.push_back({{"width", entry.width},
                       {report.unit, entry.units},
                       {"codes", entry.codes},
                       {"entropy_bits", entry.entropy_bits},
                       {"histogram", entry.histogram}});
  }
  return classes;
}

nlohmann::ordered_json ErrorJson(const ErrorStats& error) {
  nlohmann::ordered_json snr = nullptr;  // no error at all: infinite, which JSON cannot say
  if (std::isfinite(error.snr_db)) snr = error.snr_db;
  nlohmann::ordered_json clipped = nullptr;
  if (error.clipped_share) clipped = *error.clipped_share;
  return {{"max", error.max_abs},
          {"rms", error.rms},
          {"snr_db", snr},
          {"clipped_share", clipped},
          {"elements", error.elements}};
}

std::string PartTable(const char* title, const std::vector<PartBytes>& parts) {
  std::string out = Format("\n%-21s %10s\n", title, "bytes");
  for (const PartBytes& part : parts) {
    out += Format("%-21s %10llu\n", part.name.c_str(), Wide(part.bytes));
  }
  return out;
}

// "4: 12, 5: 80", those that occur.
std::string CountList(const std::vector<uint64_t>& counts) {
  std::string out;
  for (size_t i = 0; i < counts.size(); ++i) {
    if (counts[i] > 0) out += StrCat(out.empty() ? "" : ", ", i, ": ", counts[i]);
  }
  return out;
}

std::string RdText(const RdReport& rd) {
  std::string out = Format("\nstep       %.6g = %.6g * 2^(%d/16), model after %u commits\n",
                           rd.step, rd.scale, rd.index, rd.generation);
  out += Line("row class", rd.row_classes.empty() ? "4: all rows" : CountList(rd.row_classes));
  out += Line("tables", rd.channel_tables.empty() ? "the model's" : CountList(rd.channel_tables));
  return out + PartTable("rate-distortion codes", rd.parts);
}

std::string BasisText(const BasisReport& basis) {
  std::string out = StrCat("\ntransform  ", basis.transform, ", ", basis.channels, " channels");
  if (basis.reflectors > 0) {
    out += StrCat(", ", basis.reflectors, " reflectors with weights of 2^(",
                  int{basis.lowest_weight}, "/4) to 2^(", int{basis.highest_weight}, "/4)");
  }
  return out + "\n" + PartTable("transform", basis.parts);
}

nlohmann::ordered_json PartsJson(const std::vector<PartBytes>& parts) {
  nlohmann::ordered_json json = nlohmann::ordered_json::array();
  for (const PartBytes& part : parts) json.push_back({{"name", part.name}, {"bytes", part.bytes}});
  return json;
}

nlohmann::ordered_json RdJson(const RdReport& rd) {
  return {{"scale", rd.scale},
          {"index", rd.index},
          {"step", rd.step},
          {"generation", rd.generation},
          {"row_classes", rd.row_classes},
          {"channel_tables", rd.channel_tables},
          {"parts", PartsJson(rd.parts)}};
}

nlohmann::ordered_json BasisJson(const BasisReport& basis) {
  return {{"transform", basis.transform},           {"channels", basis.channels},
          {"reflectors", basis.reflectors},         {"lowest_weight", basis.lowest_weight},
          {"highest_weight", basis.highest_weight}, {"parts", PartsJson(basis.parts)}};
}

}  // namespace

std::string ToText(const Report& report) {
  std::string out = Line("file", report.path);
  out += Line("message", report.key);
  out += Line("item", report.item);
  out += Line("tensor", report.tensor);
  out += Line("coding", report.coding);
  if (report.rows > 0) {
    out += Line("rows", StrCat(report.rows, " sent, ", report.sink_rows, " of them as bf16"));
  }
  if (report.samples > 0) {
    out += Line("samples",
                StrCat(report.samples, ", ", report.first_visits, " of them visited first"));
  }
  out += Line("widths of", report.widths_source);
  if (report.elements > 0) {
    out += Line("effective", Format("%.3f bits an element, %.1f%% of bf16", report.effective_bits,
                                    100 * report.effective_bits / kBf16Bits));
  }
  out += Line("note", report.note);
  if (!report.sections.empty()) out += SectionTable(report);
  if (!report.classes.empty()) {
    out += Format("\n%-10s %12s %12s %12s\n", "range", "min", "median", "max");
    out += SpreadLine("lo", report.lo) + SpreadLine("step", report.step);
    if (report.constant_ranges > 0) {
      out += Format("%llu of %llu ranges have step 0\n", Wide(report.constant_ranges),
                    Wide(report.ranges));
    }
    out += ClassTable(report);
    if (const WidthClass* common = CommonClass(report)) out += Histogram(*common);
  }
  if (report.rd) out += RdText(*report.rd);
  if (report.basis) out += BasisText(*report.basis);
  if (report.error) out += ErrorText(*report.error);
  return out;
}

std::string ToJson(const Report& report) {
  nlohmann::ordered_json sections = nlohmann::ordered_json::array();
  for (const SectionBytes& section : report.sections) {
    sections.push_back({{"name", section.name}, {"bytes", section.bytes}});
  }
  nlohmann::ordered_json json = {{"file", report.path},
                                 {"message", report.key},
                                 {"item", report.item},
                                 {"tensor", report.tensor},
                                 {"coding", report.coding},
                                 {"note", report.note},
                                 {"sections", sections},
                                 {"payload_bytes", report.payload_bytes},
                                 {"file_bytes", report.file_bytes},
                                 {"elements", report.elements},
                                 {"effective_bits", report.effective_bits},
                                 {"rows", report.rows},
                                 {"sink_rows", report.sink_rows}};
  if (!report.classes.empty()) {
    json["widths_source"] = report.widths_source;
    json["mean_width"] = report.mean_width;
    json["entropy_bits"] = report.entropy_bits;
    json["lo"] = SpreadJson(report.lo);
    json["step"] = SpreadJson(report.step);
    json["ranges"] = report.ranges;
    json["constant_ranges"] = report.constant_ranges;
    json["widths"] = ClassesJson(report);
  }
  if (report.samples > 0) {
    json["samples"] = report.samples;
    json["first_visits"] = report.first_visits;
  }
  if (report.rd) json["rd"] = RdJson(*report.rd);
  if (report.basis) json["basis"] = BasisJson(*report.basis);
  if (report.error) json["error"] = ErrorJson(*report.error);
  return json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

}  // namespace amaq::tool
