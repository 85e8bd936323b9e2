#ifndef AMAQ_DATA_DATASET_H_
#define AMAQ_DATA_DATASET_H_

// A JSONL file as tokenized records. Prompt and answer are tokenized separately and joined, with
// the end-of-text token after the answer; the loss is on answers and that token only. Special
// tokens written in the text are parsed, as transformers does. Records longer than max_length keep
// their first max_length tokens; tokens after the last supervised one predict nothing and are
// dropped. Thread-safety: pure functions.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "data/batch.h"
#include "data/record_format.h"
#include "data/tokenizer.h"

namespace amaq::data {

enum class OnBadLine { kError, kSkip };

struct DatasetOptions {
  RecordFormatKind format = RecordFormatKind::kAuto;
  std::string prompt_template = {};
  std::string completion_template = {};
  bool append_eos = true;
  uint32_t max_length = 512;  // tokens of a record
  uint64_t max_records = 0;   // 0: all; others are not read
  OnBadLine on_bad_line = OnBadLine::kError;
};

struct Dataset {
  std::vector<Example> examples;    // in file order
  uint64_t num_records = 0;         // good lines; examples and those without an answer
  uint64_t num_skipped = 0;         // bad lines (kSkip)
  uint64_t num_truncated = 0;       // cut to max_length
  uint64_t num_without_answer = 0;  // nothing supervised (was cut away, or is empty): left out
  uint64_t num_text_bytes = 0;      // of the rendered texts
  uint64_t num_tokens = 0;          // of the examples
  uint64_t num_supervised = 0;
  std::string first_rendered;  // RenderExample of the first example
  std::string first_bad_line;  // "file:line: reason" (kSkip); empty if none was bad
};

// Lines are numbered from 1; blank ones are passed over. Errors: "file:line: reason" with the code
// of the reason for a bad line under kError; kInvalidArgument if nothing is left to train on, or
// max_length is below 2, or eos is to be appended and the tokenizer has none.
Dataset LoadDataset(const std::string& path, const DatasetOptions& options,
                    const Tokenizer& tokenizer);
// The same from text; `name` stands in errors.
Dataset ParseDataset(std::string_view jsonl, const std::string& name, const DatasetOptions& options,
                     const Tokenizer& tokenizer);

// One line for each stretch: masked or trained, its number of tokens, its text in quotes with line
// ends and other control characters escaped.
std::string RenderExample(const Example& example, const Tokenizer& tokenizer);

}  // namespace amaq::data

#endif  // AMAQ_DATA_DATASET_H_
