#ifndef AMAQ_CONFIG_YAML_H_
#define AMAQ_CONFIG_YAML_H_

// A YAML text as the list of its leaves. A configuration needs maps, scalars and flat lists only,
// so everything else is refused while it is being parsed: aliases, a second document, deep nesting,
// a key that appears twice. No third party in this header. Internal to the module.

#include <string>
#include <string_view>
#include <vector>

#include "config/value.h"

namespace amaq::config {

struct Entry {
  std::string key;  // "train.learning_rate"
  RawValue value;
  int line = 0;  // of the key, from 1
};

inline constexpr size_t kMaxFileBytes = 1 << 20;
inline constexpr int kMaxDepth = 8;

// `file` names the text in errors. kInvalidArgument with file and line.
std::vector<Entry> ParseYaml(const std::string& text, std::string_view file);

}  // namespace amaq::config

#endif  // AMAQ_CONFIG_YAML_H_
