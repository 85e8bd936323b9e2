#ifndef AMAQ_TOOL_CODED_MESSAGE_H_
#define AMAQ_TOOL_CODED_MESSAGE_H_

// A message that holds a tensor, with all that is needed to take it apart: a file made by
// `amaq-codec encode` or captured with wire.capture_dir (both have one form,
// docs/formats/frame.md). What a captured message leaves out lies in other messages of its folder:
// widths cross once a version, the rows of a gradient follow from its FORWARD message.
// Thread-safety: values and pure functions.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "quant/codec.h"
#include "transport/message.h"

namespace amaq::tool {

struct EncodeSettings {
  std::vector<uint8_t> widths;  // [H]
  quant::EncodeOptions options;
  uint32_t sink_rows = 0;  // the first rows of the tensor, sent as bf16
};

// x as a FORWARD message of step 0 that names its own widths and is one segment of N rows.
// Errors: those of quant::Encode; kInvalidArgument when all is not below the limits.
transport::Message EncodeMessage(const MatrixView& x, const EncodeSettings& settings);

// What comes from beside the message.
struct Companions {
  std::optional<transport::Message> forward;  // of a BACKWARD message: names its rows
  std::optional<std::vector<uint8_t>> widths;
  std::string widths_source;          // "given", a file name
  std::vector<Bytes> entropy_tables;  // those of this tensor's direction, in the order sent
};

struct CodedMessage {
  transport::Message message;
  uint64_t tokens = 0;  // N of the micro-batch
  int64_t channels = 0;
  bool is_raw = false;
  std::vector<uint8_t> widths;  // [H]; empty: raw
  std::string widths_source;    // "this message", else Companions::widths_source
  // Rows of the micro-batch that crossed, ascending; sink_rows are positions within them.
  std::vector<uint32_t> rows;
  std::vector<uint32_t> sink_rows;
  // The message's sections as quant::Decode takes them: kCodes in place of kEntropyCodes.
  std::vector<Section> sections;

  int64_t num_rows() const { return static_cast<int64_t>(rows.size()); }
  uint64_t num_coded_rows() const { return rows.size() - sink_rows.size(); }
};

// At most so many elements are accepted in a message.
struct MessageLimits {
  uint64_t max_rows;
  uint64_t max_elements;
};
inline constexpr MessageLimits kMessageLimits = {uint64_t{1} << 22, uint64_t{1} << 28};

// Errors: kInvalidArgument for a message without a tensor or beyond the limits; kNotFound for a
// companion that is missing; kUnimplemented for a tensor that is neither raw nor in kCodes;
// kDataLoss for sections that contradict each other.
CodedMessage Interpret(transport::Message message, const Companions& companions,
                       const MessageLimits& limits = kMessageLimits);

// Reads the file and, from its folder, what it refers to. `widths` override all others.
CodedMessage ReadMessageFile(const std::string& path,
                             const std::optional<std::vector<uint8_t>>& widths);

// [rows, H] fp32. Errors: those of quant::Decode.
std::vector<float> DecodeRows(const CodedMessage& coded);
// [N, H]: rows that did not cross are zero.
std::vector<float> DecodeTokens(const CodedMessage& coded);

}  // namespace amaq::tool

#endif  // AMAQ_TOOL_CODED_MESSAGE_H_
