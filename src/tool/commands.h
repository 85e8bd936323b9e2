#ifndef AMAQ_TOOL_COMMANDS_H_
#define AMAQ_TOOL_COMMANDS_H_

// The three commands of amaq-codec, apart from its command line. Each writes its output file, if it
// has one, whole or not at all, and returns the text for the terminal.
// Errors: amaq::Error with one sentence. Thread-safety: safe on different files.

#include <cstdint>
#include <optional>
#include <string>

#include "quant/config.h"

namespace amaq::tool {

// How a tensor file is coded. At most one of bits, widths_file and target_bits is set.
struct CodingOptions {
  std::optional<uint32_t> bits;
  std::string widths_file;
  std::optional<double> target_bits;  // water-filling by squared error
  double b_min = 0;                   // bounds of water-filling
  double b_max = 8;
  quant::Range range = quant::Range::kMinMax;
  double range_percentile = 99.5;
  quant::Rounding rounding = quant::Rounding::kNearestEven;
  uint64_t seed = 0;  // of stochastic rounding
  uint32_t sink_rows = 0;
};

struct Options {
  std::string input;
  std::string output;
  std::string tensor;  // in the input; for decode: the name in a safetensors output
  CodingOptions coding;
  std::optional<uint32_t> group_size;  // of a captured message of method group
  std::string against;                 // inspect: the original
  std::string against_tensor;
  bool is_json = false;
};

// Tensor file -> message file. Prints what it wrote in one line.
std::string RunEncode(const Options& options);
// Message file -> tensor file of fp32, all N rows.
std::string RunDecode(const Options& options);
// A message file, or a tensor file as the coding options would code it.
std::string RunInspect(const Options& options);

}  // namespace amaq::tool

#endif  // AMAQ_TOOL_COMMANDS_H_
