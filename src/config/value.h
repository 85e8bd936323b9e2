#ifndef AMAQ_CONFIG_VALUE_H_
#define AMAQ_CONFIG_VALUE_H_

// Between the text of a value and the member that it sets. Internal to the module.

#include <string>
#include <string_view>
#include <vector>

#include "config/fields.h"

namespace amaq::config {

// A value as it was written, before its field gives it a type.
struct RawValue {
  std::vector<std::string> items = {};  // one for a scalar, none for null
  bool is_list = false;
  bool is_quoted = false;  // then it is text, even if it looks like a number
  bool is_null() const { return !is_list && items.empty(); }
};

// Sets the field's member. `where` ("configs/x.yaml:14", "--max-steps") begins the message:
// kInvalidArgument when the text has not the field's type. The range is Validate's matter.
void SetValue(const Field& field, const RawValue& value, std::string_view where);

// As above from the command line: a text is taken as it is, a list is a,b or [a,b].
void SetValueFromFlag(const Field& field, std::string_view text, std::string_view where);

// Throws kInvalidArgument when the member is outside the field's range or names.
void CheckRange(const Field& field, std::string_view where);

// The member as YAML reads it: 0.0004, "Question: {question}\nAnswer:", [q_proj, v_proj].
std::string FormatValue(const Field& field);

// "a whole number from 1 to 1024", "one of none, fixed, amaq".
std::string DescribeAllowed(const Field& field);

}  // namespace amaq::config

#endif  // AMAQ_CONFIG_VALUE_H_
