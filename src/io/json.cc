#include "io/json.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <unordered_set>
#include <vector>

#include "core/error.h"

namespace amaq::io {
namespace {

using nlohmann::json;

// "what:line:column" of the byte at `offset` (0-based).
std::string Place(std::string_view text, size_t offset, std::string_view what,
                  uint64_t first_line) {
  const std::string_view before = text.substr(0, std::min(offset, text.size()));
  const auto line = first_line + static_cast<uint64_t>(std::ranges::count(before, '\n'));
  const size_t newline = before.rfind('\n');
  const size_t column =
      newline == std::string_view::npos ? before.size() + 1 : before.size() - newline;
  return StrCat(what, ":", line, ":", column);
}

// The library's sentence without its prefix and without the echo of the input's bytes.
std::string Reason(std::string_view message) {
  const size_t start = message.find("syntax error");
  if (start != std::string_view::npos) {
    message.remove_prefix(start);
  } else if (const size_t bracket = message.find("] "); bracket != std::string_view::npos) {
    message.remove_prefix(bracket + 2);
  }
  return std::string(message.substr(0, message.find("; last read")));
}

// Watches the parse: depth and repeated keys.
class Guard {
 public:
  explicit Guard(std::string_view what) : what_(what) {}

  bool operator()(int depth, json::parse_event_t event, const json& parsed) {
    using Event = json::parse_event_t;
    if (event == Event::object_start || event == Event::array_start) {
      if (depth >= kMaxJsonDepth) {
        Throw(Code::kInvalidArgument, what_, ": JSON is nested deeper than ", kMaxJsonDepth,
              " levels");
      }
      if (event == Event::object_start) keys_.emplace_back();
    } else if (event == Event::object_end) {
      keys_.pop_back();
    } else if (event == Event::key) {
      const auto& key = parsed.get_ref<const std::string&>();
      if (!keys_.back().insert(key).second) {
        Throw(Code::kInvalidArgument, what_, ": key '", key, "' appears twice in one JSON object");
      }
    }
    return true;
  }

 private:
  std::string_view what_;
  std::vector<std::unordered_set<std::string>> keys_;
};

[[noreturn]] void ThrowType(std::string_view what, std::string_view key, std::string_view wanted,
                            const json& value) {
  Throw(Code::kInvalidArgument, what, ": '", key, "' must be ", wanted, ", got ",
        value.type_name());
}

}  // namespace

json ParseJson(std::string_view text, std::string_view what, uint64_t line) {
  const std::string named = line == 0 ? std::string(what) : StrCat(what, ":", line);
  Guard guard(named);
  try {
    return json::parse(text.begin(), text.end(),
                       [&guard](int depth, json::parse_event_t event, json& parsed) {
                         return guard(depth, event, parsed);
                       });
  } catch (const json::parse_error& error) {
    Throw(Code::kInvalidArgument,
          Place(text, error.byte > 0 ? error.byte - 1 : 0, what, line == 0 ? 1 : line), ": ",
          Reason(error.what()));
  } catch (const json::exception& error) {
    Throw(Code::kInvalidArgument, named, ": ", Reason(error.what()));
  }
}

const json* FindJsonMember(const json& object, std::string_view key) {
  if (!object.is_object()) return nullptr;
  const auto found = object.find(key);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

const json& JsonMember(const json& object, std::string_view key, std::string_view what) {
  if (!object.is_object()) {
    Throw(Code::kInvalidArgument, what, " must be a JSON object, got ", object.type_name());
  }
  const auto found = object.find(key);
  if (found == object.end()) Throw(Code::kInvalidArgument, what, ": '", key, "' is missing");
  return *found;
}

std::string JsonString(const json& object, std::string_view key, std::string_view what) {
  const json& value = JsonMember(object, key, what);
  if (!value.is_string()) ThrowType(what, key, "a string", value);
  return value.get<std::string>();
}

uint64_t JsonUint(const json& object, std::string_view key, std::string_view what) {
  const json& value = JsonMember(object, key, what);
  if (!value.is_number_unsigned()) ThrowType(what, key, "a whole number of 0 or more", value);
  return value.get<uint64_t>();
}

double JsonNumber(const json& object, std::string_view key, std::string_view what) {
  const json& value = JsonMember(object, key, what);
  if (!value.is_number()) ThrowType(what, key, "a number", value);
  return value.get<double>();
}

bool JsonBool(const json& object, std::string_view key, std::string_view what) {
  const json& value = JsonMember(object, key, what);
  if (!value.is_boolean()) ThrowType(what, key, "true or false", value);
  return value.get<bool>();
}

}  // namespace amaq::io
