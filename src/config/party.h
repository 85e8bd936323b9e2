#ifndef AMAQ_CONFIG_PARTY_H_
#define AMAQ_CONFIG_PARTY_H_

// Applies files and flags to one party's fields and remembers where each value came from, so that
// every later message can say it. Internal to the module.

#include <filesystem>
#include <map>
#include <string>
#include <string_view>

#include "config/fields.h"
#include "config/yaml.h"

namespace amaq::config {

// Key -> "configs/x.yaml:14" or "--max-steps"; a key that kept its default is not in.
using Provenance = std::map<std::string_view, std::string>;

class Party {
 public:
  // `config` must outlive the party.
  explicit Party(ClientConfig* config);
  explicit Party(ServerFileConfig* config);

  const FieldList& fields() const { return fields_; }
  const Provenance& provenance() const { return provenance_; }

  // Paths in `text` are relative to `folder`. kInvalidArgument with file and line.
  void ApplyYaml(const std::string& text, std::string_view file,
                 const std::filesystem::path& folder);
  // Reads the file; kNotFound when it cannot be read.
  void ApplyFile(const std::string& file);
  // A value from the command line; its paths are relative to the current folder.
  void ApplyFlag(const Field& field, std::string_view text, std::string_view flag);
  // Makes the paths that kept their default absolute too.
  void Finish();
  // kInvalidArgument when a required key was never set.
  void RequireComplete() const;

  // "unknown key train.learning_rat; did you mean train.learning_rate?"
  std::string DescribeUnknownKey(std::string_view key) const;

 private:
  bool IsSection(std::string_view key) const;

  std::string_view name_;
  std::string_view other_name_;
  FieldList fields_;
  FieldList other_fields_;  // of a default config that is gone: only the keys are read
  Provenance provenance_;
};

// Ranges of all fields, then what must hold between them; see load.h.
void ValidateFields(const FieldList& fields, const Provenance& provenance);
void ValidateRelations(const ClientConfig& config, const Provenance& provenance);
void ValidateRelations(const ServerFileConfig& config, const Provenance& provenance);

}  // namespace amaq::config

#endif  // AMAQ_CONFIG_PARTY_H_
