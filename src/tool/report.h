#ifndef AMAQ_TOOL_REPORT_H_
#define AMAQ_TOOL_REPORT_H_

// What `amaq-codec inspect` says about a message: its parts and their bytes, widths, ranges, codes
// and, beside the original, the error. Plain values, and two ways to write them.
// Thread-safety: pure functions.

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "tool/coded_message.h"
#include "tool/rd_report.h"

namespace amaq::tool {

struct SectionBytes {
  std::string name;  // "codes"
  uint64_t bytes = 0;
  bool is_tensor = false;  // counts to the effective bits; targets, spans, segments do not
};

struct Spread {
  double min = 0;
  double median = 0;
  double max = 0;
};

// The channels, or tokens, of one width.
struct WidthClass {
  uint32_t width = 0;
  uint64_t units = 0;
  uint64_t codes = 0;                    // without padding
  double entropy_bits = 0;               // of one code, all units of the class pooled
  double lowest_share = 0;               // of the codes that are 0
  double highest_share = 0;              // of the codes that are 2^n - 1
  std::vector<uint64_t> histogram = {};  // [2^n]
};

struct ErrorStats {
  double max_abs = 0;
  double rms = 0;
  double snr_db = 0;  // sum x^2 over sum err^2; infinite when there is no error
  // Of the coded elements: x outside [lo, lo + L * step]. Tiles, whose values may be transformed,
  // have none.
  std::optional<double> clipped_share;
  uint64_t elements = 0;
};

struct Report {
  std::string path;
  std::string key;     // "FORWARD step 3.0 micro-batch 1"
  std::string tensor;  // "345 x 576, cut 3, forward"; empty: none
  std::string item;    // "loss sum 12.5 of 40 tokens", "" for none
  std::string coding;  // "gate version 4, adapting, target 5.91 bits"; "raw bf16"
  std::string note;    // why nothing more can be said; empty when all is known
  std::vector<SectionBytes> sections;
  uint64_t payload_bytes = 0;
  uint64_t file_bytes = 0;
  // Of a tensor:
  uint64_t elements = 0;      // N * H of the micro-batch
  double effective_bits = 0;  // tensor sections over N * H
  uint64_t rows = 0;          // that crossed
  uint64_t sink_rows = 0;     // as bf16: sink rows, and those of first visits
  uint64_t samples = 0;       // that the message names: methods with a cache
  uint64_t first_visits = 0;  // of them
  // Of a coded tensor:
  std::string widths_source;
  std::string unit = "channels";  // what a width belongs to; "tokens"
  double mean_width = 0;
  std::vector<WidthClass> classes;  // those that occur, ascending
  Spread lo;
  Spread step;                   // of the ranges whose step is not 0
  uint64_t ranges = 0;           // of channels, tokens or tiles
  uint64_t constant_ranges = 0;  // step 0
  double entropy_bits = 0;       // mean over all coded elements
  std::optional<ErrorStats> error;
  // Of what is not codes of a width:
  std::optional<RdReport> rd;
  std::optional<BasisReport> basis;
};

// All that the message alone says; `coded` adds rows, widths, ranges and codes.
Report DescribeMessage(const transport::Message& message);
Report DescribeCoded(const CodedMessage& coded);

// original: [rows, H], the rows that crossed.
ErrorStats MeasureError(const CodedMessage& coded, std::span<const float> original);

std::string ToText(const Report& report);
std::string ToJson(const Report& report);

}  // namespace amaq::tool

#endif  // AMAQ_TOOL_REPORT_H_
