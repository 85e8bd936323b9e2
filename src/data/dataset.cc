#include "data/dataset.h"

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <span>
#include <utility>

#include "core/bytes.h"
#include "core/digest.h"
#include "core/error.h"
#include "io/file.h"
#include "io/json.h"

namespace amaq::data {
namespace {

using nlohmann::json;

constexpr size_t kMaxLineBytes = 64 << 20;
constexpr std::string_view kBlank = " \t\r";
constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";

void AppendTokens(const std::vector<int32_t>& tokens, bool is_supervised, Example* example) {
  example->tokens.insert(example->tokens.end(), tokens.begin(), tokens.end());
  example->supervised.resize(example->tokens.size(), is_supervised ? 1 : 0);
}

Example Tokenize(const std::vector<TextSegment>& segments, bool append_eos,
                 const Tokenizer& tokenizer) {
  Example example;
  if (tokenizer.adds_bos()) AppendTokens({*tokenizer.bos_id()}, false, &example);
  for (const TextSegment& segment : segments) {
    AppendTokens(tokenizer.Encode(segment.text, SpecialTokens::kParse), segment.is_supervised,
                 &example);
  }
  if (append_eos) AppendTokens({*tokenizer.eos_id()}, true, &example);
  // Nothing stands before the first token that could predict it.
  if (!example.supervised.empty()) example.supervised[0] = 0;
  return example;
}

// To max_length, then to the last supervised token.
void Trim(uint32_t max_length, Example* example) {
  if (example->tokens.size() > max_length) {
    example->truncated = true;
    example->tokens.resize(max_length);
    example->supervised.resize(max_length);
  }
  while (!example->supervised.empty() && example->supervised.back() == 0) {
    example->supervised.pop_back();
    example->tokens.pop_back();
  }
}

// Reads line after line into a Dataset.
class Loader {
 public:
  Loader(const std::string& name, const DatasetOptions& options, const Tokenizer& tokenizer)
      : name_(name), options_(options), tokenizer_(tokenizer) {
    if (options_.max_length < 2) {
      Throw(Code::kInvalidArgument, "data.max_length must be at least 2, got ",
            options_.max_length);
    }
    const bool has_template =
        !options_.prompt_template.empty() || !options_.completion_template.empty();
    if (options_.format != RecordFormatKind::kAuto) {
      SetFormat(options_.format);
    } else if (has_template) {
      SetFormat(RecordFormatKind::kTemplate);
    }
  }

  Dataset Read(std::string_view text) {
    if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
    for (uint64_t line_number = 1; !text.empty() && !IsFull(); ++line_number) {
      const size_t end = std::min(text.find('\n'), text.size());
      ReadLine(text.substr(0, end), line_number);
      text.remove_prefix(std::min(end + 1, text.size()));
    }
    CheckNotEmpty();
    data_.first_rendered = RenderExample(data_.examples[0], tokenizer_);
    return std::move(data_);
  }

 private:
  bool IsFull() const {
    return options_.max_records != 0 && data_.num_records == options_.max_records;
  }

  // Errors here are mistakes in the settings, never bad lines.
  void SetFormat(RecordFormatKind kind) {
    format_ =
        MakeRecordFormat(kind, options_.prompt_template, options_.completion_template, tokenizer_);
    appends_eos_ = options_.append_eos && format_->takes_eos();
    if (appends_eos_ && !tokenizer_.eos_id()) {
      Throw(Code::kInvalidArgument, "data.append_eos is set, but ", tokenizer_.name(),
            " names no end-of-text token");
    }
  }

  void ReadLine(std::string_view line, uint64_t line_number) {
    if (line.find_first_not_of(kBlank) == std::string_view::npos) return;
    json record;
    auto kind = RecordFormatKind::kAuto;
    try {
      record = ParseRecord(line, line_number);
      if (format_ == nullptr) kind = DetectRecordFormat(record);
    } catch (const Error& error) {
      BadLine(error, line_number);
      return;
    }
    if (format_ == nullptr) SetFormat(kind);
    try {
      AddRecord(format_->Render(record));
    } catch (const Error& error) {
      BadLine(error, line_number);
    }
  }

  json ParseRecord(std::string_view line, uint64_t line_number) const {
    if (line.size() > kMaxLineBytes) {
      Throw(Code::kResourceExhausted, "a line of ", line.size(), " bytes, at most ", kMaxLineBytes,
            " are allowed");
    }
    json record = io::ParseJson(line, name_, line_number);
    if (!record.is_object()) {
      Throw(Code::kInvalidArgument, "each line must be one JSON object, this is ",
            record.type_name());
    }
    return record;
  }

  void BadLine(const Error& error, uint64_t line_number) {
    const std::string place = StrCat(name_, ":", line_number);
    // Errors of the JSON reader begin with the place and add the column.
    const std::string message =
        error.message().starts_with(place) ? error.message() : StrCat(place, ": ", error.message());
    if (options_.on_bad_line == OnBadLine::kError) throw Error(error.code(), message);
    if (data_.num_skipped++ == 0) data_.first_bad_line = message;
  }

  void AddRecord(const std::vector<TextSegment>& segments) {
    Example example = Tokenize(segments, appends_eos_, tokenizer_);
    Trim(options_.max_length, &example);
    ++data_.num_records;
    if (example.truncated) ++data_.num_truncated;
    for (const TextSegment& segment : segments) data_.num_text_bytes += segment.text.size();
    if (example.tokens.empty()) {
      ++data_.num_without_answer;
      return;
    }
    data_.num_tokens += example.tokens.size();
    data_.num_supervised += static_cast<uint64_t>(std::ranges::count(example.supervised, 1));
    example.key = SampleKey(data_.num_records, example.tokens.size());
    data_.examples.push_back(std::move(example));
  }

  // The record's place in the file and its window: tokens [0, length).
  static uint64_t SampleKey(uint64_t record, uint64_t length) {
    Bytes bytes;
    AppendLittleEndian(&bytes, record);
    AppendLittleEndian(&bytes, length);
    return Digest(bytes);
  }

  void CheckNotEmpty() const {
    if (!data_.examples.empty()) return;
    if (data_.num_records == 0 && data_.num_skipped == 0) {
      Throw(Code::kInvalidArgument, name_, " is empty: it holds no records");
    }
    Throw(Code::kInvalidArgument, name_, " leaves nothing to train on: ", data_.num_skipped,
          " bad lines, ", data_.num_without_answer, " records without an answer within ",
          options_.max_length, " tokens (data.max_length)",
          data_.first_bad_line.empty() ? "" : "; the first bad line: ", data_.first_bad_line);
  }

  const std::string& name_;
  const DatasetOptions& options_;
  const Tokenizer& tokenizer_;
  std::unique_ptr<const RecordFormat> format_;  // null until a first record shows it
  bool appends_eos_ = false;
  Dataset data_;
};

std::string Quoted(std::string_view text) {
  constexpr std::string_view kHex = "0123456789abcdef";
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<uint8_t>(c);
    if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else if (byte < 0x20 || byte == 0x7f) {
      out += {'\\', 'x', kHex[byte >> 4], kHex[byte & 15]};
    } else {
      out.push_back(c);
    }
  }
  return out + "\"";
}

}  // namespace

Dataset LoadDataset(const std::string& path, const DatasetOptions& options,
                    const Tokenizer& tokenizer) {
  const auto file = io::MappedFile::Open(path);
  const ByteSpan bytes = file->bytes();
  return ParseDataset({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, path, options,
                      tokenizer);
}

Dataset ParseDataset(std::string_view jsonl, const std::string& name, const DatasetOptions& options,
                     const Tokenizer& tokenizer) {
  return Loader(name, options, tokenizer).Read(jsonl);
}

std::string RenderExample(const Example& example, const Tokenizer& tokenizer) {
  const std::span<const int32_t> tokens(example.tokens);
  std::string out;
  for (size_t begin = 0; begin < tokens.size();) {
    const uint8_t kind = example.supervised[begin];
    size_t end = begin;
    while (end < tokens.size() && example.supervised[end] == kind) ++end;
    out += StrCat(kind == 0 ? "  masked  " : "  trained ", "(", end - begin,
                  " tokens): ", Quoted(tokenizer.Decode(tokens.subspan(begin, end - begin))), "\n");
    begin = end;
  }
  return out;
}

}  // namespace amaq::data
