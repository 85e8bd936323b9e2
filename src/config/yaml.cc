#include "config/yaml.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <map>
#include <sstream>

#include "core/error.h"

namespace amaq::config {
namespace {

// Receives the parser's events in document order, so nothing is built that could grow beyond the
// text and an offending line ends the parse at once.
class LeafCollector : public YAML::EventHandler {
 public:
  explicit LeafCollector(std::string_view file) : file_(file) {}

  std::vector<Entry> TakeEntries() { return std::move(entries_); }

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t) override {
    if (levels_.empty()) return;  // an empty document
    if (AtKey()) Refuse(mark, "this line is not of the form key: value");
    if (levels_.back().in_list) Refuse(mark, StrCat("an item of ", list_.key, " is empty"));
    entries_.push_back({.key = KeyHere(), .value = {}, .line = levels_.back().line});
    levels_.back().name.clear();
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    Refuse(mark, "aliases (*name) are not supported; write the value out");
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t,
                const std::string& text) override {
    if (levels_.empty()) Refuse(mark, kNoMapping);
    Level& level = levels_.back();
    if (level.in_list) {
      list_.value.items.push_back(text);
      list_.value.is_quoted |= tag != "?";
    } else if (AtKey()) {
      BeginKey(mark, text);
    } else {
      entries_.push_back({.key = KeyHere(),
                          .value = {.items = {text}, .is_quoted = tag != "?"},
                          .line = level.line});
      level.name.clear();
    }
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t,
                       YAML::EmitterStyle::value) override {
    if (levels_.empty()) Refuse(mark, kNoMapping);
    if (levels_.back().in_list) RefuseItem(mark);
    if (AtKey()) Refuse(mark, "a key must be a word");
    list_ = {.key = KeyHere(), .value = {.is_list = true}, .line = levels_.back().line};
    Enter(mark, {.in_list = true});
  }

  void OnSequenceEnd() override {
    levels_.pop_back();
    entries_.push_back(std::move(list_));
    levels_.back().name.clear();
  }

  void OnMapStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t,
                  YAML::EmitterStyle::value) override {
    if (!levels_.empty() && levels_.back().in_list) {
      RefuseItem(mark);
    }
    if (!levels_.empty() && AtKey()) Refuse(mark, "a key must be a word");
    Enter(mark, {});
  }

  void OnMapEnd() override {
    levels_.pop_back();
    if (!levels_.empty()) levels_.back().name.clear();
  }

 private:
  static constexpr std::string_view kNoMapping =
      "a configuration is a mapping of sections (model:, train:, ...)";

  struct Level {
    bool in_list = false;
    std::string name = {};  // of the key whose value comes next; empty: a key comes next
    int line = 0;
  };

  bool AtKey() const { return !levels_.back().in_list && levels_.back().name.empty(); }

  std::string KeyHere() const {
    std::string key;
    for (const Level& level : levels_) {
      if (!level.in_list) key += (key.empty() ? "" : ".") + level.name;
    }
    return key;
  }

  void BeginKey(const YAML::Mark& mark, const std::string& name) {
    if (name.empty()) Refuse(mark, "a key is empty");
    Level& level = levels_.back();
    level.name = name;
    level.line = mark.line + 1;
    const auto [first, inserted] = lines_.emplace(KeyHere(), level.line);
    if (!inserted) {
      Refuse(mark,
             StrCat("the key ", first->first, " appears twice, first in line ", first->second));
    }
  }

  void Enter(const YAML::Mark& mark, Level level) {
    if (levels_.size() >= static_cast<size_t>(kMaxDepth)) {
      Refuse(mark, StrCat("nested deeper than ", kMaxDepth, " levels"));
    }
    levels_.push_back(std::move(level));
  }

  [[noreturn]] void RefuseItem(const YAML::Mark& mark) const {
    Refuse(mark, StrCat("the list ", list_.key,
                        " holds more than plain words and numbers, or is not closed"));
  }

  [[noreturn]] void Refuse(const YAML::Mark& mark, std::string_view sentence) const {
    Throw(Code::kInvalidArgument, file_, ":", mark.line + 1, ": ", sentence);
  }

  std::string_view file_;
  std::vector<Level> levels_;
  Entry list_;
  std::vector<Entry> entries_;
  std::map<std::string, int> lines_;
};

}  // namespace

std::vector<Entry> ParseYaml(const std::string& text, std::string_view file) {
  if (text.size() > kMaxFileBytes) {
    Throw(Code::kInvalidArgument, file, " has ", text.size(),
          " bytes; a configuration has at most ", kMaxFileBytes);
  }
  if (text.find('\0') != std::string::npos) {
    Throw(Code::kInvalidArgument, file, " holds a zero byte: it is not YAML in UTF-8");
  }
  // The parser takes an open quote at the end of the text for a closed one; not so before "...".
  std::istringstream stream(text + "\n...\n");
  const auto num_lines = std::count(text.begin(), text.end(), '\n');
  LeafCollector collector(file);
  try {
    YAML::Parser parser(stream);
    parser.HandleNextDocument(collector);
    if (parser) {
      LeafCollector second(file);
      if (parser.HandleNextDocument(second)) {
        Throw(Code::kInvalidArgument, file, ": a second document (after ---) is not allowed");
      }
    }
  } catch (const YAML::Exception& error) {
    if (error.mark.line > num_lines) {
      Throw(Code::kInvalidArgument, file, ":", num_lines + 1,
            ": the text ends inside a quote or a bracket");
    }
    Throw(Code::kInvalidArgument, file, ":", error.mark.line + 1, ": not valid YAML: ", error.msg);
  }
  return collector.TakeEntries();
}

}  // namespace amaq::config
