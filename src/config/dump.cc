#include <algorithm>
#include <cmath>

#include "config/load.h"
#include "config/party.h"
#include "config/value.h"
#include "core/error.h"

namespace amaq::config {
namespace {

constexpr size_t kColumns = 100;

std::vector<std::string_view> Parts(std::string_view key) {
  std::vector<std::string_view> parts;
  while (true) {
    const size_t dot = key.find('.');
    parts.push_back(key.substr(0, dot));
    if (dot == std::string_view::npos) return parts;
    key.remove_prefix(dot + 1);
  }
}

std::string Capitalised(std::string text) {
  if (!text.empty() && text[0] >= 'a' && text[0] <= 'z') text[0] = static_cast<char>(text[0] - 32);
  return text;
}

// "One of none, fixed, amaq. Default: amaq.", for the comment above a key.
std::string Details(const Field& field, const Field& with_default) {
  std::string text;
  const bool is_bounded = std::isfinite(field.min) || !field.names.empty();
  if (is_bounded) text = DescribeAllowed(field);
  if (!field.unit.empty()) text += StrCat(text.empty() ? "in " : ", in ", field.unit);
  if (!text.empty()) text = Capitalised(text) + ". ";
  if (field.required) return text + "Required.";
  const std::string value = FormatValue(with_default);
  return text + (value == "\"\"" ? "Default: empty." : "Default: " + value + ".");
}

std::string Comment(const std::string& text, const std::string& indent) {
  std::string out;
  std::string line = indent + "#";
  for (std::string_view word : SplitWords(text)) {
    if (line.size() + 1 + word.size() > kColumns) {
      out += line + "\n";
      line = indent + "#";
    }
    line.append(" ").append(word);
  }
  return out + line + "\n";
}

// Characters that would end a table's cell or be taken for markup.
std::string Cell(std::string_view text) {
  std::string out;
  for (char c : text) {
    if (c == '|') out += '\\';
    out += c;
  }
  return out;
}

std::string MarkdownRow(const Field& field) {
  std::string names;
  if (!field.flag.empty()) names = StrCat("`", field.flag, "`");
  for (std::string_view alias : SplitWords(field.aliases)) {
    names += StrCat(names.empty() ? "" : " ", "`", alias, "`");
  }
  const std::string value = field.required ? "required" : "`" + FormatValue(field) + "`";
  std::string allowed = DescribeAllowed(field);
  if (!field.unit.empty()) allowed += StrCat(" (", field.unit, ")");
  std::string help(field.help);
  if (!field.example.empty()) help += StrCat(" Example: `", field.example, "`");
  return StrCat("| `", field.key, "` | ", Cell(value), " | ", Cell(allowed), " | ", Cell(help),
                " | ", names, " |\n");
}

std::string MarkdownTables(const FieldList& fields) {
  std::string out;
  std::string_view section = "-";
  for (const Field& field : fields) {
    const std::string_view here = Parts(field.key).size() > 1 ? Parts(field.key)[0] : "";
    if (here != section) {
      section = here;
      out += StrCat("\n### ", section.empty() ? "At the top level" : section, "\n\n",
                    "| key | default | allowed | meaning | flag and other names |\n",
                    "| --- | --- | --- | --- | --- |\n");
    }
    out += MarkdownRow(field);
  }
  return out;
}

// `defaults` (the same list for a default config) adds comments; nullptr: values only.
std::string DumpFields(const FieldList& fields, const FieldList* defaults) {
  std::string out;
  std::vector<std::string_view> open;  // sections that are written already
  for (size_t i = 0; i < fields.size(); ++i) {
    const Field& field = fields[i];
    std::vector<std::string_view> parts = Parts(field.key);
    const std::string_view leaf = parts.back();
    parts.pop_back();
    const auto [mine, theirs] = std::mismatch(parts.begin(), parts.end(), open.begin(), open.end());
    for (auto part = mine; part != parts.end(); ++part) {
      const auto depth = static_cast<size_t>(part - parts.begin());
      if (defaults != nullptr && depth == 0) out += "\n";
      out += std::string(2 * depth, ' ').append(*part).append(":\n");
    }
    open = parts;
    const std::string indent(2 * parts.size(), ' ');
    if (defaults != nullptr) {
      if (parts.empty()) out += "\n";
      out += Comment(std::string(field.help), indent);
      out += Comment(Details(field, (*defaults)[i]), indent);
    }
    out += indent + std::string(leaf) + ": " + FormatValue(field) + "\n";
  }
  return out;
}

template <typename Config>
std::string Plain(Config config) {
  return DumpFields(FieldsOf(&config), nullptr);
}

template <typename Config>
std::string Annotated(Config config) {
  Config default_config;
  const FieldList defaults = FieldsOf(&default_config);
  return DumpFields(FieldsOf(&config), &defaults);
}

}  // namespace

std::string DumpYaml(const ClientConfig& config) { return Plain(config); }
std::string DumpYaml(const ServerFileConfig& config) { return Plain(config); }
std::string AnnotatedYaml(const ClientConfig& config) { return Annotated(config); }
std::string AnnotatedYaml(const ServerFileConfig& config) { return Annotated(config); }

std::string ConfigMarkdown() {
  ClientConfig client;
  ServerFileConfig server;
  return StrCat("# Configuration\n\n",
                "Generated from the field list (`src/config/*_fields.cc`) by the target "
                "`amaq_config_doc`; a\n",
                "test compares it. One YAML file per party: the client's describes the run, the "
                "server's the\n",
                "deployment. `configs/client.yaml` and `configs/server.yaml` show every key.\n\n",
                "- A flag overrides the file: `--set train.max_steps=60` for any key, or the key's "
                "own flag.\n",
                "  Of several for one key the last wins. `--print-config` prints the effective "
                "config, which\n",
                "  can be fed back with `--config`.\n",
                "- The other names in the last column are accepted at the top level of the file\n",
                "  (`learning_rate: 4e-4`) and as flags (`--learning_rate 4e-4`).\n",
                "- Relative paths are relative to the config file's folder; those given by flags "
                "to the current\n",
                "  folder.\n",
                "- An unknown key, a value out of range or a key set twice is an error with file "
                "and line. A\n",
                "  bad config ends the program with code 1, a wrong command line with code 2.\n",
                "- A file has at most 1 MiB; YAML aliases and several documents in a file are not "
                "accepted.\n\n",
                "## The client's file\n", MarkdownTables(FieldsOf(&client)),
                "\n## The server's file\n", MarkdownTables(FieldsOf(&server)));
}

}  // namespace amaq::config
