#ifndef AMAQ_CONFIG_FIELDS_H_
#define AMAQ_CONFIG_FIELDS_H_

// The one list of what can be set: for each member its key, range, unit, help and names on the
// command line. Whatever reads, checks, prints or documents a configuration walks this list, so a
// key cannot be known to one of them only. The lists stand in client_fields.cc, quant_fields.cc,
// train_fields.cc and server_fields.cc. Internal to the module (and its tests); callers use load.h.
//
// Thread-compatible. A Field points into the config that it was made for, which must outlive it.

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "config/config.h"

namespace amaq::config {

using FieldTarget = std::variant<std::string*, bool*, int32_t*, uint32_t*, uint64_t*, double*,
                                 std::vector<std::string>*>;

struct Field {
  std::string_view key;  // "train.learning_rate"
  FieldTarget target;
  std::string_view help;  // one sentence
  double min = -std::numeric_limits<double>::infinity();
  double max = std::numeric_limits<double>::infinity();
  std::string_view names = "";  // the words allowed, separated by spaces; empty: any
  std::string_view unit = "";
  std::string_view example = "";
  std::string_view aliases = "";  // flat names, separated by spaces; each is a flag as well
  std::string_view flag = "";     // shown by --help
  bool is_path = false;           // relative to the config file's folder
  bool required = false;
};
using FieldList = std::vector<Field>;

FieldList FieldsOf(ClientConfig* config);
FieldList FieldsOf(ServerFileConfig* config);
FieldList TrainFields(TrainConfig* config);  // a part of the client's, as the next
FieldList QuantFields(QuantConfig* config);

inline constexpr double kMaxSteps = 1e9;  // limit of every count of steps

// By key or alias; nullptr when there is none.
const Field* FindField(const FieldList& fields, std::string_view name);

// Of `key`: "quant.gate" for "quant.gate.update", "" for a key at the top level.
std::string_view SectionOf(std::string_view key);

std::vector<std::string_view> SplitWords(std::string_view text);

// The candidate that needs the fewest edits, or "" when none is near enough to be meant.
std::string_view NearestName(std::string_view name, const std::vector<std::string_view>& known);

// The key that was probably meant by `key`: one that ends in the same word or a near one; or "".
std::string_view NearestKey(const FieldList& fields, std::string_view key);

}  // namespace amaq::config

#endif  // AMAQ_CONFIG_FIELDS_H_
