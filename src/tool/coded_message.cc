#include "tool/coded_message.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <numeric>
#include <system_error>

#include "core/error.h"
#include "io/file.h"
#include "quant/coder.h"
#include "quant/coders/tiles.h"
#include "quant/entropy.h"
#include "quant/rows.h"
#include "quant/token_axis.h"
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

bool Has(const Message& message, SectionKind kind) {
  return FindSection(message.sections, kind) != nullptr;
}

bool IsGradient(const Message& message) {
  return message.tensor->direction == transport::Direction::kBackward;
}

// Which samples of the message were visited for the first time; empty: it does not say.
std::vector<bool> FirstVisits(const Message& message, size_t num_segments) {
  const Bytes* keys = FindSection(message.sections, SectionKind::kSampleKeys);
  if (keys == nullptr) return {};
  const size_t wanted = (num_segments + 7) / 8 + num_segments * sizeof(uint64_t);
  if (keys->size() != wanted) {
    Throw(Code::kDataLoss, "the sample keys section has ", keys->size(), " bytes, ", num_segments,
          " segments need ", wanted);
  }
  std::vector<bool> is_first(num_segments);
  for (size_t s = 0; s < num_segments; ++s) is_first[s] = ((*keys)[s / 8] >> (s % 8) & 1) != 0;
  return is_first;
}

// What a message's sections leave open about its rows.
struct RowSource {
  std::vector<uint32_t> segments;
  std::optional<std::vector<uint32_t>> target_rows;  // of a gradient
  std::vector<bool> first_visits;
};

// The rows that crossed when the first `sink_tokens` of each segment are sink rows.
quant::GradientRows RowsOf(const RowSource& source, uint32_t sink_tokens) {
  if (source.target_rows) {
    return quant::PlanGradientRows(source.segments, *source.target_rows, sink_tokens);
  }
  quant::GradientRows plan;
  plan.rows.resize(source.segments.back());
  std::iota(plan.rows.begin(), plan.rows.end(), 0u);
  plan.positions = quant::PositionsOfRows(source.segments);
  for (size_t s = 0; s + 1 < source.segments.size(); ++s) {
    const bool is_first = !source.first_visits.empty() && source.first_visits[s];
    for (uint32_t row = source.segments[s]; row < source.segments[s + 1]; ++row) {
      if (is_first || plan.positions[row] < sink_tokens) plan.sink_rows.push_back(row);
    }
  }
  return plan;
}

// The message does not say how many sink rows a segment has; the size of their section does.
quant::GradientRows MatchSinkRows(const RowSource& source, uint64_t num_sinks) {
  uint32_t longest = 0;
  for (size_t s = 0; s + 1 < source.segments.size(); ++s) {
    longest = std::max(longest, source.segments[s + 1] - source.segments[s]);
  }
  uint32_t low = 0;  // the number of sink rows rises with sink_tokens
  uint32_t high = longest;
  while (low < high) {
    const uint32_t middle = low + (high - low) / 2;
    if (RowsOf(source, middle).sink_rows.size() < num_sinks) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  quant::GradientRows plan = RowsOf(source, low);
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
  if (IsGradient(message) && !companions.forward) {
    Throw(Code::kNotFound, "the rows of ", ToString(message.key),
          " are named by its FORWARD message, which is not beside it");
  }
  const Message& named_by = IsGradient(message) ? *companions.forward : message;
  RowSource source;
  source.segments = quant::ParseSegments(named_by.sections, coded->tokens);
  if (IsGradient(message)) {
    source.target_rows = quant::ParseTargetRows(named_by.sections, coded->tokens);
  } else {
    source.first_visits = FirstVisits(message, source.segments.size() - 1);
  }
  const uint64_t num_sinks =
      coded->form == Form::kRaw ? 0 : NumSinks(message, static_cast<uint64_t>(coded->channels));
  quant::GradientRows plan = MatchSinkRows(source, num_sinks);
  coded->rows = std::move(plan.rows);
  coded->sink_rows = std::move(plan.sink_rows);
  coded->positions = std::move(plan.positions);
  coded->first_visits = std::move(source.first_visits);
}

// The form that the sections show; widths of token positions look like those of channels.
Form FormOf(const Message& message) {
  if (Has(message, SectionKind::kRaw)) return Form::kRaw;
  if (Has(message, SectionKind::kRdCodes)) return Form::kRateDistortion;
  if (Has(message, SectionKind::kCodes) || Has(message, SectionKind::kEntropyCodes)) {
    if (!Has(message, SectionKind::kScales)) return Form::kOctet;
    return Has(message, SectionKind::kTiles) ? Form::kTahquant : Form::kGroup;
  }
  Throw(Code::kUnimplemented, ToString(message.key),
        " holds no codes section: its parts can be listed, not decoded");
}

// Is a kRanges section one of `count` ranges?
bool RangesFit(const Bytes& ranges, uint64_t count) {
  const uint64_t bitmap_bytes = (count + 7) / 8;
  if (ranges.size() < bitmap_bytes) return false;
  uint64_t in_fp32 = 0;
  for (uint64_t i = 0; i < count; ++i) in_fp32 += ranges[i / 8] >> (i % 8) & 1;
  return ranges.size() == bitmap_bytes + 4 * count + 2 * in_fp32;
}

bool HasTokenAxis(const Message& message, const CodedMessage& coded) {
  const bool has_other_count = coded.widths.size() != static_cast<size_t>(coded.channels);
  const uint64_t rows = coded.num_coded_rows();
  if (rows == 0 || !coded.first_visits.empty()) return has_other_count;
  const Bytes* ranges = FindSection(message.sections, SectionKind::kRanges);
  return ranges != nullptr && RangesFit(*ranges, rows) &&
         (has_other_count || !RangesFit(*ranges, static_cast<uint64_t>(coded.channels)));
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
  if (coded->form == Form::kOctet && HasTokenAxis(message, *coded)) coded->form = Form::kTokenAxis;
  const bool is_count_right = coded->form == Form::kTokenAxis
                                  ? !coded->widths.empty()
                                  : coded->widths.size() == static_cast<size_t>(coded->channels);
  if (!is_count_right) {
    Throw(Code::kInvalidArgument, "there are ", coded->widths.size(), " widths for ",
          coded->channels, " channels");
  }
  for (const uint8_t width : coded->widths) {
    if (width > 8) {
      Throw(Code::kDataLoss, "a width must be in [0, 8], got ", int{width});
    }
  }
}

// No section names the tile size of `group`; the number of its ranges does, nearly.
uint32_t GroupSize(const Message& message, const Companions& companions,
                   const CodedMessage& coded) {
  constexpr uint64_t kBytesOfTile = 4;
  constexpr uint32_t kDefaultSize = 64;
  if (companions.group_size) return *companions.group_size;
  const uint64_t rows = std::max<uint64_t>(coded.num_coded_rows(), 1);
  const auto channels = static_cast<uint64_t>(coded.channels);
  const uint64_t tiles =
      FindSection(message.sections, SectionKind::kScales)->size() / (kBytesOfTile * rows);
  std::vector<uint32_t> sizes;
  for (uint32_t size = 32; size <= 128; size += 8) {
    if ((channels + size - 1) / size == tiles) sizes.push_back(size);
  }
  const bool is_default = std::ranges::find(sizes, kDefaultSize) != sizes.end();
  if (is_default || coded.num_coded_rows() == 0) return kDefaultSize;
  if (sizes.empty()) {
    Throw(Code::kDataLoss, "the scales section has ", tiles, " tiles a token, ", channels,
          " channels make no groups of 32 to 128 of them");
  }
  if (sizes.size() > 1 && tiles > 1) {
    Throw(Code::kNotFound, "groups of ", sizes.front(), " to ", sizes.back(), " channels make ",
          tiles, " groups of ", channels, "; give --group-size");
  }
  return sizes.front();
}

std::unique_ptr<quant::Coder> CoderOf(const CodedMessage& coded) {
  quant::CoderConfig config{.method = quant::Method::kFixed};
  if (coded.form == Form::kTokenAxis) config.axis = quant::Axis::kToken;
  if (coded.form == Form::kTahquant) config.method = quant::Method::kTahquant;
  if (coded.form == Form::kGroup) {
    config.method = quant::Method::kGroup;
    config.group_size = coded.tile_size;
  }
  const auto kind =
      IsGradient(coded.message) ? quant::TensorKind::kGradient : quant::TensorKind::kActivation;
  return quant::MakeCoder(config, kind, nullptr);
}

quant::MessageContext ContextOf(const CodedMessage& coded) {
  return {
      .widths = coded.widths, .rows = {coded.sink_rows, coded.rows}, .positions = coded.positions};
}

quant::CodesShape ShapeOf(const CodedMessage& coded) {
  if (coded.form != Form::kTokenAxis) {
    return CoderOf(coded)->ShapeOf(coded.sections, ContextOf(coded), coded.num_rows());
  }
  const std::vector<uint8_t> widths = quant::WidthsOfRows(coded.widths, coded.positions);
  quant::CodesShape shape{.rows = static_cast<uint64_t>(coded.channels)};
  for (const uint32_t row : quant::CodedRowNumbers(coded.sink_rows, coded.num_rows())) {
    shape.widths.push_back(widths[row]);
  }
  return shape;
}

// The i-th guess at the widths: those found, then those that quant.gradient.bits may have made of
// them for a gradient. nullopt: there are no more.
std::optional<std::vector<uint8_t>> Candidate(const CodedMessage& coded,
                                              const std::vector<uint8_t>& found, size_t i) {
  constexpr size_t kSameWidths = 7;  // 2 to 8
  constexpr size_t kOffsets = 13;    // -6 to 6
  if (i == 0) return found;
  const bool is_certain = coded.widths_source == "given" || coded.widths_source == "this message";
  if (is_certain || !IsGradient(coded.message) || i > kSameWidths + kOffsets) return std::nullopt;
  if (i <= kSameWidths) return std::vector<uint8_t>(found.size(), static_cast<uint8_t>(i + 1));
  const int offset = static_cast<int>(i - kSameWidths) - 7;
  std::vector<uint8_t> widths = found;
  for (uint8_t& width : widths) width = static_cast<uint8_t>(std::clamp(width + offset, 2, 8));
  return widths;
}

// Takes the widths that make so many bytes of codes as there are.
void FitWidths(ByteSpan codes, CodedMessage* coded) {
  const std::vector<uint8_t> found = coded->widths;
  uint64_t wanted = 0;
  for (size_t i = 0; auto widths = Candidate(*coded, found, i); ++i) {
    coded->widths = std::move(*widths);
    coded->shape = ShapeOf(*coded);
    if (i == 0) wanted = coded->shape.CodesBytes();
    if (coded->shape.CodesBytes() == codes.size()) return;
  }
  Throw(Code::kDataLoss, "the widths (", coded->widths_source, ") make ", wanted,
        " bytes of codes, ", ToString(coded->message.key), " has ", codes.size(),
        "; if this tensor has widths of its own, give --bits or --widths");
}

// kEntropyCodes become kCodes. A sender makes new tables now and then; those that fit the version
// and the widths of this message are the ones.
void RestoreCodes(const Companions& companions, const Bytes& packed, CodedMessage* coded) {
  std::vector<Bytes> tables = companions.entropy_tables;
  const Bytes* own = FindSection(coded->sections, SectionKind::kEntropyTables);
  if (own != nullptr) tables = {*own};
  const std::vector<uint8_t> found = coded->widths;
  std::optional<Error> first_error;
  for (size_t guess = 0; auto widths = Candidate(*coded, found, guess); ++guess) {
    coded->widths = std::move(*widths);
    for (size_t i = tables.size(); i-- > 0;) {
      try {
        coded->shape = ShapeOf(*coded);
        quant::FindZeroCodes(coded->sections, &coded->shape);
        const auto parsed = quant::EntropyTables::Parse(tables[i], coded->shape.widths);
        Bytes codes = quant::DecodeCodes(packed, coded->shape, parsed);
        coded->sections.push_back({SectionKind::kCodes, std::move(codes)});
        return;
      } catch (const Error& error) {  // other widths or older tables may fit
        if (!first_error) first_error = error;
      }
    }
  }
  if (own != nullptr) throw Error(*first_error);
  Throw(Code::kNotFound, "the codes are entropy-coded with tables that no message beside has");
}

void FindCodes(const Companions& companions, CodedMessage* coded) {
  FindWidths(coded->message, companions, coded);
  if (coded->form == Form::kTahquant) coded->tile_size = 32;
  if (coded->form == Form::kGroup) {
    coded->tile_size = GroupSize(coded->message, companions, *coded);
  }
  const Bytes* packed = FindSection(coded->sections, SectionKind::kEntropyCodes);
  if (packed != nullptr) {
    RestoreCodes(companions, *packed, coded);
  } else {
    FitWidths(*FindSection(coded->sections, SectionKind::kCodes), coded);
  }
}

bool IsSameTensor(const Message& a, const Message& b) {
  return a.tensor && b.tensor && a.tensor->cut == b.tensor->cut &&
         a.tensor->direction == b.tensor->direction;
}

// What messages of the same folder tell about this one: the widths of its version, if they are
// `wanted`, and tables of its direction. A gradient without widths of its own has the activation's.
void SearchFolder(const std::filesystem::path& folder, const Message& message, bool wants_widths,
                  Companions* companions) {
  std::vector<std::filesystem::path> files;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    if (entry.path().native().ends_with(".frame")) files.push_back(entry.path());
  }
  std::ranges::sort(files);
  bool are_of_direction = false;
  for (const std::filesystem::path& file : files) {
    try {
      const Message other = ReadMessage(file.string());
      const bool is_same = IsSameTensor(other, message);
      const Bytes* tables = FindSection(other.sections, SectionKind::kEntropyTables);
      if (tables != nullptr && is_same) companions->entropy_tables.push_back(*tables);
      const Bytes* widths = FindSection(other.sections, SectionKind::kWidths);
      if (!wants_widths || widths == nullptr || !other.tensor || are_of_direction ||
          other.tensor->cut != message.tensor->cut || other.gate.version != message.gate.version ||
          !(is_same || (IsGradient(message) && !companions->widths))) {
        continue;
      }
      companions->widths = *widths;
      companions->widths_source = file.filename().string();
      are_of_direction = is_same;
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
  coded.form = FormOf(message);
  FindRows(message, companions, &coded);
  coded.sections = message.sections;
  coded.message = std::move(message);
  if (coded.has_codes()) FindCodes(companions, &coded);
  return coded;
}

CodedMessage ReadMessageFile(const std::string& path, const Given& given) {
  Message message = ReadMessage(path);
  CheckShape(message, kMessageLimits);
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  Companions companions;
  companions.group_size = given.group_size;
  if (IsGradient(message)) {
    transport::MessageKey key = message.key;
    key.phase = Phase::kForward;
    const auto forward = folder / CaptureName(key, transport::Way::kUp);
    if (std::filesystem::exists(forward)) companions.forward = ReadMessage(forward.string());
  }
  const bool wants_widths = !given.widths && !Has(message, SectionKind::kRaw) &&
                            !Has(message, SectionKind::kRdCodes) &&
                            !Has(message, SectionKind::kWidths);
  if (given.widths) {
    companions.widths = given.widths;
    companions.widths_source = "given";
  }
  if (wants_widths || Has(message, SectionKind::kEntropyCodes)) {
    SearchFolder(folder.empty() ? "." : folder, message, wants_widths, &companions);
  }
  return Interpret(std::move(message), companions);
}

std::string WhyNotDecodable(const CodedMessage& coded) {
  if (coded.is_difference()) {
    return "the coded rows are differences from what the receiver saw of each sample before, which "
           "is in no message";
  }
  if (coded.form == Form::kRateDistortion) {
    return "rate-distortion codes are read with the model that both ends made of all messages "
           "before, and amaq-rd's through its transform (BASIS)";
  }
  return "";
}

std::vector<float> DecodeRows(const CodedMessage& coded) {
  const std::string why_not = WhyNotDecodable(coded);
  if (!why_not.empty()) {
    Throw(Code::kUnimplemented, ToString(coded.message.key), " cannot be decoded: ", why_not);
  }
  const auto channels = static_cast<size_t>(coded.channels);
  std::vector<float> out(coded.rows.size() * channels);
  std::optional<DType> raw_dtype;
  if (coded.form == Form::kRaw) raw_dtype = coded.message.tensor->dtype;
  CoderOf(coded)->Decode(coded.sections, raw_dtype, ContextOf(coded), coded.num_rows(),
                         coded.channels, out);
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
