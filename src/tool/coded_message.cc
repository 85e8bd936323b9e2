#include "tool/coded_message.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <numeric>
#include <system_error>

#include "core/error.h"
#include "io/file.h"
#include "quant/entropy.h"
#include "quant/rows.h"
#include "transport/capture.h"

namespace amaq::tool {
namespace {

using transport::Message;
using transport::Phase;

Bytes WordBytes(const std::vector<uint32_t>& words) {
  Bytes bytes(words.size() * sizeof(uint32_t));
  std::memcpy(bytes.data(), words.data(), bytes.size());
  return bytes;
}

Message ReadMessage(const std::string& path) {
  const auto file = io::MappedFile::Open(path);
  return transport::ParseCapture(file->bytes(), path);
}

// N and H, checked before anything of their size is made.
void CheckShape(const Message& message, const MessageLimits& limits) {
  if (!message.tensor) {
    Throw(Code::kInvalidArgument, ToString(message.key), " carries no tensor");
  }
  const uint64_t tokens = message.tensor->tokens;
  const uint64_t channels = message.tensor->channels;
  if (tokens == 0 || channels == 0 || tokens > limits.max_rows ||
      channels > limits.max_elements / tokens) {
    Throw(Code::kInvalidArgument, ToString(message.key), " has a tensor of ", tokens, " x ",
          channels, "; 1 to ", limits.max_rows, " rows and at most ", limits.max_elements,
          " elements are allowed");
  }
}

// The rows that crossed when the first `sink_tokens` of each segment are sink rows.
quant::GradientRows RowsOf(const std::vector<uint32_t>& segments,
                           const std::optional<std::vector<uint32_t>>& target_rows,
                           uint32_t sink_tokens) {
  if (target_rows) return quant::PlanGradientRows(segments, *target_rows, sink_tokens);
  quant::GradientRows plan;
  plan.rows.resize(segments.back());
  std::iota(plan.rows.begin(), plan.rows.end(), 0u);
  plan.sink_rows = quant::SinkRows(segments, sink_tokens);
  return plan;
}

// The message does not say how many sink rows a segment has; the size of their section does.
quant::GradientRows MatchSinkRows(const std::vector<uint32_t>& segments,
                                  const std::optional<std::vector<uint32_t>>& target_rows,
                                  uint64_t num_sinks) {
  uint32_t longest = 0;
  for (size_t s = 0; s + 1 < segments.size(); ++s) {
    longest = std::max(longest, segments[s + 1] - segments[s]);
  }
  uint32_t low = 0;  // the number of sink rows rises with sink_tokens
  uint32_t high = longest;
  while (low < high) {
    const uint32_t middle = low + (high - low) / 2;
    if (RowsOf(segments, target_rows, middle).sink_rows.size() < num_sinks) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  quant::GradientRows plan = RowsOf(segments, target_rows, low);
  if (plan.sink_rows.size() != num_sinks) {
    Throw(Code::kDataLoss, "no number of sink rows a segment gives the ", num_sinks,
          " rows of the sink rows section");
  }
  return plan;
}

uint64_t NumSinks(const Message& message, uint64_t channels) {
  const Bytes* sinks = FindSection(message.sections, SectionKind::kSinkRows);
  if (sinks == nullptr) return 0;
  if (sinks->size() % (channels * sizeof(uint16_t)) != 0) {
    Throw(Code::kDataLoss, "the sink rows section has ", sinks->size(), " bytes, not rows of ",
          channels, " bf16 values");
  }
  return sinks->size() / (channels * sizeof(uint16_t));
}

void FindRows(const Message& message, const Companions& companions, CodedMessage* coded) {
  const bool is_gradient = message.tensor->direction == transport::Direction::kBackward;
  if (is_gradient && !companions.forward) {
    Throw(Code::kNotFound, "the rows of ", ToString(message.key),
          " are named by its FORWARD message, which is not beside it");
  }
  const Message& source = is_gradient ? *companions.forward : message;
  const std::vector<uint32_t> segments = quant::ParseSegments(source.sections, coded->tokens);
  std::optional<std::vector<uint32_t>> target_rows;
  if (is_gradient) target_rows = quant::ParseTargetRows(source.sections, coded->tokens);
  const uint64_t num_sinks =
      coded->is_raw ? 0 : NumSinks(message, static_cast<uint64_t>(coded->channels));
  quant::GradientRows plan = MatchSinkRows(segments, target_rows, num_sinks);
  coded->rows = std::move(plan.rows);
  coded->sink_rows = std::move(plan.sink_rows);
}

void FindWidths(const Message& message, const Companions& companions, CodedMessage* coded) {
  const Bytes* own = FindSection(message.sections, SectionKind::kWidths);
  if (companions.widths) {
    coded->widths = *companions.widths;
    coded->widths_source = companions.widths_source;
  } else if (own != nullptr) {
    coded->widths = *own;
    coded->widths_source = "this message";
  } else {
    Throw(Code::kNotFound, ToString(message.key), " is coded with gate version ",
          message.gate.version, ", whose widths are in no message beside it; give --widths");
  }
  if (coded->widths.size() != static_cast<size_t>(coded->channels)) {
    Throw(Code::kInvalidArgument, "there are ", coded->widths.size(), " widths for ",
          coded->channels, " channels");
  }
  for (const uint8_t width : coded->widths) {
    if (width > 8) {
      Throw(Code::kDataLoss, "a width must be in [0, 8], got ", int{width});
    }
  }
  const Bytes* codes = FindSection(message.sections, SectionKind::kCodes);
  const uint64_t wanted = quant::CodesBytes(coded->num_coded_rows(), coded->widths);
  if (codes != nullptr && codes->size() != wanted) {
    Throw(Code::kDataLoss, "the widths (", coded->widths_source, ") make ", wanted,
          " bytes of codes, ", ToString(message.key), " has ", codes->size(),
          "; if this tensor has widths of its own, give --bits or --widths");
  }
}

// kEntropyCodes become kCodes. A sender makes new tables now and then; those that fit the version
// and the widths of this message are the ones.
void RestoreCodes(const Companions& companions, CodedMessage* coded) {
  const Bytes* packed = FindSection(coded->sections, SectionKind::kEntropyCodes);
  if (packed == nullptr) return;
  quant::CodesShape shape{.widths = coded->widths, .rows = coded->num_coded_rows()};
  quant::FindZeroCodes(coded->sections, &shape);
  std::vector<Bytes> candidates = companions.entropy_tables;
  const Bytes* own = FindSection(coded->sections, SectionKind::kEntropyTables);
  if (own != nullptr) candidates = {*own};
  for (size_t i = candidates.size(); i-- > 0;) {
    try {
      const auto tables = quant::EntropyTables::Parse(candidates[i], coded->widths);
      Bytes codes = quant::DecodeCodes(*packed, shape, tables);
      coded->sections.push_back({SectionKind::kCodes, std::move(codes)});
      return;
    } catch (const Error&) {
      if (own != nullptr) throw;  // else older tables may fit
    }
  }
  Throw(Code::kNotFound, "the codes are entropy-coded with tables that no message beside has");
}

bool IsSameTensor(const Message& a, const Message& b) {
  return a.tensor && b.tensor && a.tensor->cut == b.tensor->cut &&
         a.tensor->direction == b.tensor->direction;
}

// What messages of the same folder and way tell about this one: the widths of its version, if they
// are `wanted`, and tables of its direction.
void SearchFolder(const std::filesystem::path& folder, const Message& message, bool wants_widths,
                  Companions* companions) {
  std::vector<std::filesystem::path> files;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    if (entry.path().native().ends_with(".frame")) files.push_back(entry.path());
  }
  std::ranges::sort(files);
  for (const std::filesystem::path& file : files) {
    try {
      const Message other = ReadMessage(file.string());
      const Bytes* tables = FindSection(other.sections, SectionKind::kEntropyTables);
      if (tables != nullptr && IsSameTensor(other, message)) {
        companions->entropy_tables.push_back(*tables);
      }
      const Bytes* widths = FindSection(other.sections, SectionKind::kWidths);
      if (!wants_widths || widths == nullptr || !other.tensor ||
          other.tensor->cut != message.tensor->cut || other.gate.version != message.gate.version) {
        continue;
      }
      companions->widths = *widths;
      companions->widths_source = file.filename().string();
      wants_widths = false;
    } catch (const Error&) {
      continue;  // a file that is no message has no widths; the one asked for was read
    }
  }
}

}  // namespace

Message EncodeMessage(const MatrixView& x, const EncodeSettings& settings) {
  const auto rows = static_cast<uint32_t>(x.rows);
  Message message;
  message.micro_batches = 1;
  message.tensor = transport::TensorSpec{rows, static_cast<uint32_t>(x.channels), x.dtype, 0,
                                         transport::Direction::kForward};
  CheckShape(message, kMessageLimits);
  message.gate.version = 1;
  message.gate.phase = transport::GatePhase::kFrozen;
  std::vector<uint32_t> sinks(std::min(settings.sink_rows, rows));
  std::iota(sinks.begin(), sinks.end(), 0u);
  std::vector<Section> sections = quant::Encode(x, settings.widths, {sinks, {}}, settings.options);
  message.sections.push_back(
      {SectionKind::kWidths, Bytes(settings.widths.begin(), settings.widths.end())});
  for (Section& section : sections) message.sections.push_back(std::move(section));
  message.sections.push_back({SectionKind::kSegments, WordBytes({0, rows})});
  return message;
}

CodedMessage Interpret(Message message, const Companions& companions, const MessageLimits& limits) {
  CheckShape(message, limits);
  CodedMessage coded;
  coded.tokens = message.tensor->tokens;
  coded.channels = message.tensor->channels;
  coded.is_raw = FindSection(message.sections, SectionKind::kRaw) != nullptr;
  if (!coded.is_raw && FindSection(message.sections, SectionKind::kCodes) == nullptr &&
      FindSection(message.sections, SectionKind::kEntropyCodes) == nullptr) {
    Throw(Code::kUnimplemented, ToString(message.key),
          " holds no codes section: its parts can be listed, not decoded");
  }
  FindRows(message, companions, &coded);
  coded.sections = message.sections;
  if (!coded.is_raw) {
    FindWidths(message, companions, &coded);
    RestoreCodes(companions, &coded);
  }
  coded.message = std::move(message);
  return coded;
}

CodedMessage ReadMessageFile(const std::string& path,
                             const std::optional<std::vector<uint8_t>>& widths) {
  Message message = ReadMessage(path);
  CheckShape(message, kMessageLimits);
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  Companions companions;
  if (message.tensor->direction == transport::Direction::kBackward) {
    transport::MessageKey key = message.key;
    key.phase = Phase::kForward;
    const auto forward = folder / CaptureName(key, transport::Way::kUp);
    if (std::filesystem::exists(forward)) companions.forward = ReadMessage(forward.string());
  }
  const auto has = [&message](SectionKind kind) {
    return FindSection(message.sections, kind) != nullptr;
  };
  const bool wants_widths = !widths && !has(SectionKind::kRaw) && !has(SectionKind::kWidths);
  if (widths) {
    companions.widths = widths;
    companions.widths_source = "given";
  }
  if (wants_widths || has(SectionKind::kEntropyCodes)) {
    SearchFolder(folder.empty() ? "." : folder, message, wants_widths, &companions);
  }
  return Interpret(std::move(message), companions);
}

std::vector<float> DecodeRows(const CodedMessage& coded) {
  std::vector<float> out(coded.rows.size() * static_cast<size_t>(coded.channels));
  if (coded.is_raw) {
    quant::DecodeRaw(coded.sections, coded.message.tensor->dtype, coded.num_rows(), coded.channels,
                     out);
  } else {
    quant::Decode(coded.sections, coded.widths, {coded.sink_rows, coded.rows}, coded.num_rows(),
                  coded.channels, out);
  }
  return out;
}

std::vector<float> DecodeTokens(const CodedMessage& coded) {
  std::vector<float> rows = DecodeRows(coded);
  if (coded.rows.size() == coded.tokens) return rows;
  const auto channels = static_cast<size_t>(coded.channels);
  std::vector<float> out(coded.tokens * channels);
  for (size_t i = 0; i < coded.rows.size(); ++i) {
    std::copy_n(rows.begin() + static_cast<std::ptrdiff_t>(i * channels), channels,
                out.begin() + static_cast<std::ptrdiff_t>(coded.rows[i] * channels));
  }
  return out;
}

}  // namespace amaq::tool
