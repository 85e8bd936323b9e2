#include "config/fields.h"

#include <algorithm>
#include <numeric>

namespace amaq::config {
namespace {

// Levenshtein distance.
size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i + 1;
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t substituted = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({substituted, row[j] + 1, diagonal + 1});
    }
  }
  return row.back();
}

std::string_view LeafOf(std::string_view key) { return key.substr(key.rfind('.') + 1); }

}  // namespace

std::vector<std::string_view> SplitWords(std::string_view text) {
  std::vector<std::string_view> words;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find(' ', begin), text.size());
    if (end > begin) words.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return words;
}

std::string_view SectionOf(std::string_view key) {
  const size_t dot = key.rfind('.');
  return dot == std::string_view::npos ? std::string_view() : key.substr(0, dot);
}

const Field* FindField(const FieldList& fields, std::string_view name) {
  for (const Field& field : fields) {
    if (field.key == name) return &field;
    for (std::string_view alias : SplitWords(field.aliases)) {
      if (alias == name) return &field;
    }
  }
  return nullptr;
}

std::string_view NearestName(std::string_view name, const std::vector<std::string_view>& known) {
  std::string_view best;
  size_t best_distance = std::max<size_t>(2, name.size() / 4) + 1;  // farther is not a slip
  if (name.size() > 64) return best;                                // nobody mistypes that
  for (std::string_view candidate : known) {
    const size_t distance = EditDistance(name, candidate);
    if (distance < best_distance && distance < candidate.size()) {
      best = candidate;
      best_distance = distance;
    }
  }
  return best;
}

std::string_view NearestKey(const FieldList& fields, std::string_view key) {
  std::vector<std::string_view> keys;
  std::vector<std::string_view> leaves;
  for (const Field& field : fields) {
    if (LeafOf(field.key) == LeafOf(key)) return field.key;
    if (SectionOf(key).empty()) {
      for (std::string_view alias : SplitWords(field.aliases)) keys.push_back(alias);
    }
    keys.push_back(field.key);
    leaves.push_back(LeafOf(field.key));
  }
  const std::string_view near = NearestName(key, keys);
  if (!near.empty()) return near;
  const std::string_view leaf = NearestName(LeafOf(key), leaves);
  for (const Field& field : fields) {
    if (!leaf.empty() && LeafOf(field.key) == leaf) return field.key;
  }
  return {};
}

}  // namespace amaq::config
