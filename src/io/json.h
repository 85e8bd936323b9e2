#ifndef AMAQ_IO_JSON_H_
#define AMAQ_IO_JSON_H_

// Strict reading of JSON that may be hostile: bounded depth, no repeated keys, errors that say
// file, line and column. Not a value type of ours: callers include <nlohmann/json.hpp> in their .cc
// files. Thread-safety: pure functions. Errors: kInvalidArgument, always an amaq::Error.

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace amaq::io {

inline constexpr int kMaxJsonDepth = 64;

// `what` names the text in errors: "config.json:3:7: ...". For one line of a larger file `line` is
// its number, and all errors begin with "file:line".
nlohmann::json ParseJson(std::string_view text, std::string_view what, uint64_t line = 0);

// Typed members of an object. `what` names the object in errors. Errors: not an object, no such
// member, another type, or out of range.
const nlohmann::json& JsonMember(const nlohmann::json& object, std::string_view key,
                                 std::string_view what);
std::string JsonString(const nlohmann::json& object, std::string_view key, std::string_view what);
uint64_t JsonUint(const nlohmann::json& object, std::string_view key, std::string_view what);
double JsonNumber(const nlohmann::json& object, std::string_view key, std::string_view what);
bool JsonBool(const nlohmann::json& object, std::string_view key, std::string_view what);

// The member, or nullptr if `object` is no object, has no such member, or it is null.
const nlohmann::json* FindJsonMember(const nlohmann::json& object, std::string_view key);

}  // namespace amaq::io

#endif  // AMAQ_IO_JSON_H_
