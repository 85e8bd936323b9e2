#include "config/party.h"

#include <algorithm>
#include <fstream>
#include <iterator>

#include "config/value.h"
#include "core/error.h"

namespace amaq::config {
namespace {

void MakeAbsolute(const Field& field, const std::filesystem::path& folder) {
  std::string& path = *std::get<std::string*>(field.target);
  if (!path.empty()) path = (folder / path).lexically_normal().string();
}

template <typename Config>
FieldList KeysOnly() {
  Config config;
  FieldList fields = FieldsOf(&config);
  for (Field& field : fields) field.target = static_cast<bool*>(nullptr);
  return fields;
}

}  // namespace

Party::Party(ClientConfig* config)
    : name_("client"),
      other_name_("server"),
      fields_(FieldsOf(config)),
      other_fields_(KeysOnly<ServerFileConfig>()) {}

Party::Party(ServerFileConfig* config)
    : name_("server"),
      other_name_("client"),
      fields_(FieldsOf(config)),
      other_fields_(KeysOnly<ClientConfig>()) {}

bool Party::IsSection(std::string_view key) const {
  return std::any_of(fields_.begin(), fields_.end(), [key](const Field& field) {
    return field.key.size() > key.size() && field.key.starts_with(key) &&
           field.key[key.size()] == '.';
  });
}

std::string Party::DescribeUnknownKey(std::string_view key) const {
  if (IsSection(key)) {
    return StrCat(key, " is a section: write its keys below it, indented (", key, ":)");
  }
  if (FindField(other_fields_, key) != nullptr) {
    return StrCat("the key ", key, " belongs into the ", other_name_, "'s file (amaq-", other_name_,
                  " --config), this is the ", name_, "'s");
  }
  const std::string_view near = NearestKey(fields_, key);
  return StrCat("unknown key ", key, near.empty() ? "" : StrCat("; did you mean ", near, "?"));
}

void Party::ApplyYaml(const std::string& text, std::string_view file,
                      const std::filesystem::path& folder) {
  Provenance seen;
  for (const Entry& entry : ParseYaml(text, file)) {
    if (entry.value.is_null() && IsSection(entry.key)) continue;  // "train:" with nothing below
    std::string where = StrCat(file, ":", entry.line);
    const Field* field = FindField(fields_, entry.key);
    if (field == nullptr) {
      Throw(Code::kInvalidArgument, where, ": ", DescribeUnknownKey(entry.key));
    }
    const auto [first, inserted] = seen.emplace(field->key, where);
    if (!inserted) {
      Throw(Code::kInvalidArgument, where, ": ", field->key, " is set twice, first at ",
            first->second);
    }
    SetValue(*field, entry.value, where);
    if (field->is_path) MakeAbsolute(*field, std::filesystem::absolute(folder));
    provenance_[field->key] = std::move(where);
  }
}

void Party::ApplyFile(const std::string& file) {
  std::error_code ignored;
  std::ifstream stream(file, std::ios::binary);
  if (!stream || std::filesystem::is_directory(file, ignored)) {
    Throw(Code::kNotFound, "cannot read the configuration ", file,
          std::filesystem::exists(file, ignored) ? "" : ": no such file");
  }
  std::string text(kMaxFileBytes + 1, '\0');
  stream.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(stream.gcount()));
  ApplyYaml(text, file, std::filesystem::absolute(file).parent_path());
}

void Party::ApplyFlag(const Field& field, std::string_view text, std::string_view flag) {
  SetValueFromFlag(field, text, flag);
  if (field.is_path) MakeAbsolute(field, std::filesystem::current_path());
  provenance_[field.key] = flag;
}

void Party::Finish() {
  for (const Field& field : fields_) {
    if (field.is_path) MakeAbsolute(field, std::filesystem::current_path());
  }
}

void Party::RequireComplete() const {
  for (const Field& field : fields_) {
    if (!field.required) continue;
    const auto* text = std::get_if<std::string*>(&field.target);
    const bool is_empty = text != nullptr && (*text)->empty();
    if (provenance_.contains(field.key) && !is_empty) continue;
    Throw(Code::kInvalidArgument, field.key, " is not set: give it in the ", name_,
          "'s config file (--config) or by ", field.flag);
  }
}

}  // namespace amaq::config
