#include "data/pre_tokenizer.h"

#include <utility>

#include "data/regex.h"

namespace amaq::data {
namespace {

// White space as Unicode has it; PCRE2's \s also takes U+180E, which left that class in
// Unicode 6.3.
#define AMAQ_SPACE "\\t-\\r\\x{85}\\p{Z}"

constexpr std::string_view kGpt2 =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^" AMAQ_SPACE "\\p{L}\\p{N}]+|[" AMAQ_SPACE
    "]+(?![^" AMAQ_SPACE "])|[" AMAQ_SPACE "]+";
#undef AMAQ_SPACE
constexpr std::string_view kNumeric = "\\p{N}";

// Cuts at matches; what lies between two of them is a piece too.
void SplitBy(const Regex& regex, std::string_view text, std::vector<std::string_view>* pieces) {
  Matcher matcher(regex);
  size_t position = 0;
  while (position < text.size() && matcher.Search(text, position)) {
    if (matcher.begin() > position) {
      pieces->push_back(text.substr(position, matcher.begin() - position));
    }
    pieces->push_back(text.substr(matcher.begin(), matcher.end() - matcher.begin()));
    position = matcher.end();
  }
  if (position < text.size()) pieces->push_back(text.substr(position));
}

}  // namespace

struct PreTokenizer::Patterns {
  std::vector<Regex> stages;  // each cuts the pieces of the one before
};

PreTokenizer::PreTokenizer(PreTokenizerKind kind) {
  auto patterns = std::make_unique<Patterns>();
  if (kind == PreTokenizerKind::kSmolLM) patterns->stages.emplace_back(kNumeric);
  patterns->stages.emplace_back(kGpt2);
  patterns_ = std::move(patterns);
}

PreTokenizer::~PreTokenizer() = default;
PreTokenizer::PreTokenizer(PreTokenizer&&) noexcept = default;
PreTokenizer& PreTokenizer::operator=(PreTokenizer&&) noexcept = default;

std::vector<std::string_view> PreTokenizer::Split(std::string_view text) const {
  std::vector<std::string_view> pieces = {text};
  for (const Regex& stage : patterns_->stages) {
    std::vector<std::string_view> cut;
    for (const std::string_view piece : pieces) SplitBy(stage, piece, &cut);
    pieces = std::move(cut);
  }
  return pieces;
}

}  // namespace amaq::data
