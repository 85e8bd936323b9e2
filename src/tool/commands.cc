#include "tool/commands.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>
#include <utility>
#include <vector>

#include "core/error.h"
#include "io/file.h"
#include "quant/gate.h"
#include "tool/coded_message.h"
#include "tool/report.h"
#include "tool/tensor_file.h"
#include "transport/capture.h"

namespace amaq::tool {
namespace {

constexpr uint8_t kLargestWidth = 8;
constexpr uint32_t kDefaultBits = 4;

// Squared range of each channel over the coded rows: its quantization error is, up to a common
// factor, range^2 / (2^n - 1)^2.
std::vector<double> ErrorCurvature(const TensorMatrix& matrix, uint32_t sink_rows) {
  const std::vector<float> x = matrix.ToFloats();
  const auto channels = static_cast<size_t>(matrix.channels);
  const size_t first = std::min<size_t>(sink_rows, static_cast<size_t>(matrix.rows)) * channels;
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  std::vector<double> lowest(channels, kInfinity), highest(channels, -kInfinity);
  for (size_t i = first; i < x.size(); ++i) {
    lowest[i % channels] = std::min<double>(lowest[i % channels], x[i]);
    highest[i % channels] = std::max<double>(highest[i % channels], x[i]);
  }
  std::vector<double> curvature(channels, 0);
  for (size_t c = 0; c < channels; ++c) {
    if (highest[c] > lowest[c]) curvature[c] = std::pow(highest[c] - lowest[c], 2);
  }
  return curvature;
}

std::vector<uint8_t> WaterFilledWidths(const TensorMatrix& matrix, const CodingOptions& coding) {
  quant::WidthConfig bounds;
  bounds.b_min = coding.b_min;
  bounds.b_max = coding.b_max;
  if (bounds.b_min < 0 || bounds.b_max > kLargestWidth || bounds.b_min > bounds.b_max) {
    Throw(Code::kInvalidArgument, "--b-min and --b-max must be in [0, 8] and in this order, got ",
          bounds.b_min, " and ", bounds.b_max);
  }
  const uint8_t lowest = quant::LowestWidth(bounds);
  const uint8_t highest = quant::HighestWidth(bounds);
  const double target = *coding.target_bits;
  if (!(target >= lowest && target <= highest)) {
    Throw(Code::kInvalidArgument, "--target-bits must be in [", int{lowest}, ", ", int{highest},
          "], got ", target);
  }
  const auto channels = static_cast<size_t>(matrix.channels);
  return quant::FitToBudget(std::vector<uint8_t>(channels, lowest),
                            ErrorCurvature(matrix, coding.sink_rows), target, lowest, highest);
}

std::vector<uint8_t> ChooseWidths(const TensorMatrix& matrix, const CodingOptions& coding) {
  if (!coding.widths_file.empty()) {
    std::vector<uint8_t> widths = ReadWidthsFile(coding.widths_file);
    if (widths.size() != static_cast<size_t>(matrix.channels)) {
      Throw(Code::kInvalidArgument, coding.widths_file, " names ", widths.size(),
            " widths, the tensor has ", matrix.channels, " channels");
    }
    return widths;
  }
  if (coding.target_bits) return WaterFilledWidths(matrix, coding);
  const uint32_t bits = coding.bits.value_or(kDefaultBits);
  if (bits > kLargestWidth) {
    Throw(Code::kInvalidArgument, "--bits must be in [0, 8], got ", bits);
  }
  return std::vector<uint8_t>(static_cast<size_t>(matrix.channels), static_cast<uint8_t>(bits));
}

transport::Message EncodeTensor(const TensorMatrix& matrix, const CodingOptions& coding) {
  EncodeSettings settings;
  settings.widths = ChooseWidths(matrix, coding);
  settings.options.range = coding.range;
  settings.options.range_percentile = coding.range_percentile;
  settings.options.rounding = coding.rounding;
  settings.options.rounding_key = coding.seed;
  settings.sink_rows = coding.sink_rows;
  return EncodeMessage(matrix.view(), settings);
}

// Widths given for a captured message: --bits or --widths.
std::optional<std::vector<uint8_t>> GivenWidths(const Options& options) {
  const CodingOptions& coding = options.coding;
  if (!coding.widths_file.empty()) return ReadWidthsFile(coding.widths_file);
  if (!coding.bits) return std::nullopt;
  if (*coding.bits > kLargestWidth) {
    Throw(Code::kInvalidArgument, "--bits must be in [0, 8], got ", *coding.bits);
  }
  const transport::Message message = transport::ReadCapture(options.input);
  const uint32_t channels = message.tensor ? message.tensor->channels : 0;
  if (channels > kMaxElements) {
    Throw(Code::kInvalidArgument, options.input, " has ", channels, " channels, at most ",
          kMaxElements, " are allowed");
  }
  return std::vector<uint8_t>(channels, static_cast<uint8_t>(*coding.bits));
}

Given GivenFor(const Options& options) { return {GivenWidths(options), options.group_size}; }

// The original's rows that crossed, [rows, H], from a tensor file or from another message.
std::vector<float> OriginalRows(const Options& options, const CodedMessage& coded) {
  const auto channels = static_cast<size_t>(coded.channels);
  std::vector<float> x;
  if (IsTensorFile(options.against)) {
    const TensorMatrix matrix = ReadTensorFile(options.against, options.against_tensor);
    if (matrix.channels != coded.channels) {
      Throw(Code::kInvalidArgument, options.against, " has ", matrix.channels,
            " channels, the message ", coded.channels);
    }
    x = matrix.ToFloats();
  } else {
    const CodedMessage other = ReadMessageFile(options.against, {});
    if (other.channels != coded.channels) {
      Throw(Code::kInvalidArgument, options.against, " has ", other.channels,
            " channels, the message ", coded.channels);
    }
    x = DecodeTokens(other);
  }
  if (x.size() != coded.tokens * channels) {
    Throw(Code::kInvalidArgument, options.against, " has ", x.size() / channels,
          " rows, the message ", coded.tokens);
  }
  if (coded.rows.size() == coded.tokens) return x;
  std::vector<float> rows;
  rows.reserve(coded.rows.size() * channels);
  for (const uint32_t row : coded.rows) {
    const auto begin = x.begin() + static_cast<std::ptrdiff_t>(row * channels);
    rows.insert(rows.end(), begin, begin + static_cast<std::ptrdiff_t>(channels));
  }
  return rows;
}

std::string Write(const Report& report, bool is_json) {
  return is_json ? ToJson(report) : ToText(report);
}

std::string InspectTensor(const Options& options) {
  const TensorMatrix matrix = ReadTensorFile(options.input, options.tensor);
  transport::Message message = EncodeTensor(matrix, options.coding);
  const uint64_t bytes = transport::SerializeCapture(message).size();
  const CodedMessage coded = Interpret(std::move(message), {});
  Report report = DescribeCoded(coded);
  report.path = StrCat(options.input, ", tensor ", matrix.name, " (", DTypeName(matrix.dtype), ")");
  report.key = "as it would be encoded";
  report.file_bytes = bytes;
  report.error = MeasureError(coded, matrix.ToFloats());
  return Write(report, options.is_json);
}

}  // namespace

std::string RunEncode(const Options& options) {
  const TensorMatrix matrix = ReadTensorFile(options.input, options.tensor);
  const transport::Message message = EncodeTensor(matrix, options.coding);
  const Bytes bytes = transport::SerializeCapture(message);
  io::WriteFileAtomically(options.output, bytes);
  const double bits = 8 * static_cast<double>(bytes.size()) /
                      (static_cast<double>(matrix.rows) * static_cast<double>(matrix.channels));
  return StrCat(options.output, ": ", matrix.rows, " x ", matrix.channels, " in ", bytes.size(),
                " bytes, ", bits, " bits an element\n");
}

std::string RunDecode(const Options& options) {
  if (!IsTensorFile(options.output)) {
    Throw(Code::kInvalidArgument, "the output must end in .npy or .safetensors, got ",
          options.output);
  }
  const CodedMessage coded = ReadMessageFile(options.input, GivenFor(options));
  const std::vector<float> values = DecodeTokens(coded);
  const std::string name = options.tensor.empty() ? "tensor" : options.tensor;
  io::WriteFileAtomically(options.output,
                          SerializeTensorFile(options.output, name, values,
                                              static_cast<int64_t>(coded.tokens), coded.channels));
  return StrCat(options.output, ": ", coded.tokens, " x ", coded.channels, " fp32\n");
}

std::string RunInspect(const Options& options) {
  if (IsTensorFile(options.input)) return InspectTensor(options);
  const transport::Message message = transport::ReadCapture(options.input);
  Report report = DescribeMessage(message);
  if (message.tensor) {
    try {
      const CodedMessage coded = ReadMessageFile(options.input, GivenFor(options));
      report = DescribeCoded(coded);
      if (!options.against.empty())
        report.error = MeasureError(coded, OriginalRows(options, coded));
    } catch (const Error& error) {
      // Without what lies beside it a message can still be looked at from outside.
      const bool is_partial =
          error.code() == Code::kNotFound || error.code() == Code::kUnimplemented;
      if (!is_partial || !options.against.empty()) throw;
      report.note = error.message();
    }
  } else if (!options.against.empty()) {
    Throw(Code::kInvalidArgument, options.input, " carries no tensor to compare");
  }
  report.path = options.input;
  report.file_bytes = std::filesystem::file_size(options.input);
  return Write(report, options.is_json);
}

}  // namespace amaq::tool
