#include "config/value.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <type_traits>

#include "core/error.h"

namespace amaq::config {
namespace {

std::string Join(const std::vector<std::string_view>& words) {
  std::string text;
  for (std::string_view word : words) text.append(text.empty() ? "" : ", ").append(word);
  return text;
}

// Shortest text that reads back as the same double. YAML 1.1 wants a dot before an exponent.
std::string FormatNumber(double value) {
  if (value == std::floor(value) && std::abs(value) < 1e15) {
    return std::to_string(static_cast<int64_t>(value));
  }
  char buffer[64];
  const bool is_short = std::abs(value) >= 1e-5 && std::abs(value) < 1e15;
  const auto end =
      is_short ? std::to_chars(buffer, buffer + sizeof(buffer), value, std::chars_format::fixed).ptr
               : std::to_chars(buffer, buffer + sizeof(buffer), value).ptr;
  std::string text(buffer, end);
  const size_t exponent = text.find('e');
  if (exponent != std::string::npos && text.find('.') == std::string::npos) {
    text.insert(exponent, ".0");
  }
  return text;
}

bool IsPlainText(std::string_view text) {
  if (text.empty() || text.front() == '-') return false;
  if (text == "null" || text == "Null" || text == "NULL") return false;
  return std::all_of(text.begin(), text.end(), [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '-' || c == '.' ||
           c == '/';
  });
}

std::string QuoteText(std::string_view text) {
  std::string quoted = "\"";
  for (char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      quoted.append({'\\', c});
    } else if (c == '\n') {
      quoted += "\\n";
    } else if (c == '\t') {
      quoted += "\\t";
    } else if (byte < 0x20 || byte == 0x7f) {
      quoted.append({'\\', 'x', "0123456789abcdef"[byte >> 4], "0123456789abcdef"[byte & 15]});
    } else {
      quoted += c;
    }
  }
  return quoted + '"';
}

std::string FormatText(std::string_view text) {
  return IsPlainText(text) ? std::string(text) : QuoteText(text);
}

// What a person sees in an error: bounded, quotes where the value had them.
std::string Shown(const RawValue& value) {
  if (value.is_null()) return "nothing";
  std::string text;
  for (const std::string& item : value.items) {
    text += (text.empty() ? "" : ", ") + (value.is_quoted ? QuoteText(item) : item);
    if (text.size() > 80) return text.substr(0, 80) + "...";
  }
  return value.is_list ? "[" + text + "]" : text;
}

[[noreturn]] void Refuse(const Field& field, std::string_view where, std::string_view got) {
  Throw(Code::kInvalidArgument, where, where.empty() ? "" : ": ", field.key, " must be ",
        DescribeAllowed(field), ", got ", got);
}

template <typename Number>
bool ParseNumber(std::string_view text, Number* out) {
  if (text.starts_with('+')) text.remove_prefix(1);
  const char* end = text.data() + text.size();
  const auto result = std::from_chars(text.data(), end, *out);
  return result.ec == std::errc() && result.ptr == end;
}

bool ParseScalar(const RawValue& value, bool* out) {
  std::string text = value.items[0];
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  *out = text == "true";
  return !value.is_quoted && (text == "true" || text == "false");
}

template <typename Number>
bool ParseScalar(const RawValue& value, Number* out) {
  Number number{};
  if (value.is_quoted || !ParseNumber(value.items[0], &number)) return false;
  if constexpr (std::is_floating_point_v<Number>) {
    if (!std::isfinite(number)) return false;
  }
  *out = number;
  return true;
}

std::vector<std::string> SplitList(std::string_view text) {
  if (text.starts_with('[') && text.ends_with(']')) text = text.substr(1, text.size() - 2);
  std::vector<std::string> items;
  while (!text.empty()) {
    const size_t comma = std::min(text.find(','), text.size());
    std::string_view item = text.substr(0, comma);
    while (item.starts_with(' ')) item.remove_prefix(1);
    while (item.ends_with(' ')) item.remove_suffix(1);
    items.emplace_back(item);
    text.remove_prefix(std::min(comma + 1, text.size()));
  }
  return items;
}

struct Setter {
  const Field& field;
  const RawValue& value;
  std::string_view where;

  void operator()(std::string* out) const {
    if (value.is_list) Refuse(field, where, Shown(value));
    *out = value.is_null() ? std::string() : value.items[0];
  }
  void operator()(std::vector<std::string>* out) const {
    if (value.is_null()) Refuse(field, where, Shown(value));
    *out = value.is_list ? value.items : SplitList(value.items[0]);
  }
  template <typename T>
  void operator()(T* out) const {
    if (value.is_list || value.is_null() || !ParseScalar(value, out)) {
      Refuse(field, where, Shown(value));
    }
  }
};

std::string DescribeNumber(std::string_view noun, const Field& field) {
  const bool has_min = std::isfinite(field.min);
  const bool has_max = std::isfinite(field.max);
  if (has_min && has_max) {
    return StrCat(noun, " from ", FormatNumber(field.min), " to ", FormatNumber(field.max));
  }
  if (has_min) return StrCat(noun, " of at least ", FormatNumber(field.min));
  return std::string(noun);
}

}  // namespace

void SetValue(const Field& field, const RawValue& value, std::string_view where) {
  std::visit(Setter{field, value, where}, field.target);
}

void SetValueFromFlag(const Field& field, std::string_view text, std::string_view where) {
  SetValue(field, RawValue{.items = {std::string(text)}}, where);
}

void CheckRange(const Field& field, std::string_view where) {
  const std::vector<std::string_view> names = SplitWords(field.names);
  const auto check_name = [&](std::string_view text) {
    if (names.empty() || std::find(names.begin(), names.end(), text) != names.end()) return;
    const std::string_view near = NearestName(text, names);
    Refuse(field, where,
           StrCat(text.empty() ? "an empty text" : text,
                  near.empty() ? "" : StrCat("; did you mean ", near, "?")));
  };
  const auto check = [&](const auto* value) {
    using T = std::remove_cvref_t<decltype(*value)>;
    if constexpr (std::is_same_v<T, std::string>) {
      check_name(*value);
    } else if constexpr (std::is_same_v<T, std::vector<std::string>>) {
      for (const std::string& item : *value) check_name(item);
    } else if constexpr (!std::is_same_v<T, bool>) {
      const auto number = static_cast<double>(*value);  // limits are far below 2^53
      if (!(number >= field.min && number <= field.max) || !std::isfinite(number)) {
        Refuse(field, where, FormatValue(field));
      }
    }
  };
  std::visit(check, field.target);
}

std::string FormatValue(const Field& field) {
  return std::visit(
      [](const auto* value) -> std::string {
        using T = std::remove_cvref_t<decltype(*value)>;
        if constexpr (std::is_same_v<T, std::string>) {
          return FormatText(*value);
        } else if constexpr (std::is_same_v<T, std::vector<std::string>>) {
          std::string text;
          for (const std::string& item : *value) {
            text.append(text.empty() ? "" : ", ").append(FormatText(item));
          }
          return "[" + text + "]";
        } else if constexpr (std::is_same_v<T, bool>) {
          return *value ? "true" : "false";
        } else if constexpr (std::is_same_v<T, double>) {
          return FormatNumber(*value);
        } else {
          return std::to_string(*value);
        }
      },
      field.target);
}

std::string DescribeAllowed(const Field& field) {
  return std::visit(
      [&field](const auto* value) -> std::string {
        using T = std::remove_cvref_t<decltype(*value)>;
        const std::string names = Join(SplitWords(field.names));
        if constexpr (std::is_same_v<T, std::string>) {
          if (field.is_path) return "a path";
          return names.empty() ? "a text" : StrCat("one of ", names);
        } else if constexpr (std::is_same_v<T, std::vector<std::string>>) {
          return names.empty() ? "a list of names" : StrCat("a list out of ", names);
        } else if constexpr (std::is_same_v<T, bool>) {
          return "true or false";
        } else if constexpr (std::is_same_v<T, double>) {
          return DescribeNumber("a number", field);
        } else {
          return DescribeNumber("a whole number", field);
        }
      },
      field.target);
}

}  // namespace amaq::config
