#ifndef AMAQ_TOOL_CODED_MESSAGE_H_
#define AMAQ_TOOL_CODED_MESSAGE_H_

// A message that holds a tensor, with all that is needed to take it apart: a file made by
// `amaq-codec encode` or captured with wire.capture_dir (both have one form,
// docs/formats/frame.md). What a captured message leaves out lies in other messages of its folder:
// widths cross once a version, the rows of a gradient follow from its FORWARD message. What wrote
// the tensor follows from the sections that are there. Differences from earlier visits and
// rate-distortion codes need what both ends remember, which is in no message: they are described,
// not decoded.
// Thread-safety: values and pure functions.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "quant/codec.h"
#include "quant/symbols.h"
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

// What a user says where the messages leave it open.
struct Given {
  std::optional<std::vector<uint8_t>> widths;  // over all others
  std::optional<uint32_t> group_size;          // quant.group_size
};

// What comes from beside the message.
struct Companions {
  std::optional<transport::Message> forward;  // of a BACKWARD message: names its rows
  std::optional<std::vector<uint8_t>> widths;
  std::string widths_source;          // "given", a file name
  std::vector<Bytes> entropy_tables;  // those of this tensor's direction, in the order sent
  std::optional<uint32_t> group_size;
};

// How a tensor is written: docs/formats octet.md (widths of channels or of token positions),
// tiles.md (two), rd.md.
enum class Form { kRaw, kOctet, kTokenAxis, kGroup, kTahquant, kRateDistortion };

struct CodedMessage {
  transport::Message message;
  Form form = Form::kOctet;
  uint64_t tokens = 0;  // N of the micro-batch
  int64_t channels = 0;
  std::vector<uint8_t> widths;  // [H], kTokenAxis: one a position; empty: raw, rate-distortion
  std::string widths_source;    // "this message", else Companions::widths_source
  // Rows of the micro-batch that crossed, ascending. sink_rows are positions within them of those
  // that crossed as bf16: sink rows, and all rows of a sample's first visit.
  std::vector<uint32_t> rows;
  std::vector<uint32_t> sink_rows;
  std::vector<uint32_t> positions;  // of each of `rows` in its segment
  std::vector<bool> first_visits;   // [S] of the samples, where the message names them
  uint32_t tile_size = 0;           // kGroup, kTahquant: channels that share a range
  // The message's sections as a decoder takes them: kCodes in place of kEntropyCodes, which lie so.
  std::vector<Section> sections;
  quant::CodesShape shape;

  int64_t num_rows() const { return static_cast<int64_t>(rows.size()); }
  uint64_t num_coded_rows() const { return rows.size() - sink_rows.size(); }
  bool has_codes() const { return form != Form::kRaw && form != Form::kRateDistortion; }
  // Its coded rows are differences from what the receiver saw of the sample before.
  bool is_difference() const { return !first_visits.empty() && num_coded_rows() > 0; }
};

// At most so many elements are accepted in a message.
struct MessageLimits {
  uint64_t max_rows;
  uint64_t max_elements;
};
inline constexpr MessageLimits kMessageLimits = {uint64_t{1} << 22, uint64_t{1} << 28};

// Errors: kInvalidArgument for a message without a tensor or beyond the limits; kNotFound for a
// companion that is missing, or a group size that several fit; kUnimplemented for a tensor in
// none of the forms; kDataLoss for sections that contradict each other.
CodedMessage Interpret(transport::Message message, const Companions& companions,
                       const MessageLimits& limits = kMessageLimits);

// Reads the file and, from its folder, what it refers to.
CodedMessage ReadMessageFile(const std::string& path, const Given& given);

// Why the message's values cannot be had from it and its folder; empty: they can.
std::string WhyNotDecodable(const CodedMessage& coded);

// [rows, H] fp32. Errors: kUnimplemented with WhyNotDecodable(); those of quant::Coder::Decode.
std::vector<float> DecodeRows(const CodedMessage& coded);
// [N, H]: rows that did not cross are zero.
std::vector<float> DecodeTokens(const CodedMessage& coded);

}  // namespace amaq::tool

#endif  // AMAQ_TOOL_CODED_MESSAGE_H_
