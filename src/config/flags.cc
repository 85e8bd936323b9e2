#include <CLI/CLI.hpp>
#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include "config/budget.h"
#include "config/load.h"
#include "config/party.h"
#include "config/value.h"
#include "core/error.h"
#include "core/version.h"

namespace amaq::config {
namespace {

struct Program {
  std::string_view name;
  std::string_view summary;
  std::string_view example;
  std::string_view note;
};

constexpr Program kClient = {
    "amaq-client", "Fine-tunes a model that is split between this process and an amaq-server.",
    "  amaq-client --config configs/quickstart-client.yaml\n"
    "  amaq-client --config configs/client.yaml --max-steps 20 --set quant.target_bits=4\n"
    "  amaq-client --config configs/client.yaml --server inproc    both halves in one process\n",
    "\nHugging Face names work too (--learning_rate, --max_steps, --output_dir, ...).\n"};

constexpr Program kServer = {
    "amaq-server", "Serves the upper half of a model to clients that fine-tune it.",
    "  amaq-server --config configs/quickstart-server.yaml\n"
    "  amaq-server --model model.gguf --listen 127.0.0.1:0 --port-file server.port\n",
    "\n"};

// "--learning-rate", "--learning_rate": how HF tools and ours write the same flag.
std::vector<std::string> FlagNames(const Field& field) {
  std::vector<std::string> names;
  const auto add = [&names](const std::string& name) {
    if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  };
  const auto add_both = [&add](std::string name) {
    add(name);
    std::replace(name.begin() + 2, name.end(), '_', '-');
    add(name);
    std::replace(name.begin() + 2, name.end(), '-', '_');
    add(name);
  };
  if (!field.flag.empty()) add_both(std::string(field.flag));
  for (std::string_view alias : SplitWords(field.aliases)) {
    if (alias.size() > 1) add_both(StrCat("--", alias));
  }
  return names;
}

std::string_view Placeholder(const Field& field) {
  if (field.is_path) return "PATH";
  if (!field.names.empty()) return "NAME";
  if (std::holds_alternative<std::string*>(field.target)) return "TEXT";
  if (std::holds_alternative<std::vector<std::string>*>(field.target)) return "A,B";
  if (std::holds_alternative<bool*>(field.target)) return "";
  return "N";
}

// One option: names in a column, then the help wrapped beside it.
std::string HelpLine(const std::string& names, const std::string& help) {
  constexpr size_t kIndent = 36;
  constexpr size_t kColumns = 100;
  std::string out;
  std::string line = "  " + names;
  line.resize(std::max(line.size() + 2, kIndent), ' ');
  for (std::string_view word : SplitWords(help)) {
    if (line.size() + word.size() > kColumns) {
      out += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
      line = std::string(kIndent, ' ');
    }
    line.append(word).append(" ");
  }
  return out + line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
}

std::string FlagHelp(const Field& field) {
  std::string help(field.help);
  if (!field.names.empty()) {
    const char* separator = " ";
    for (const std::string_view name : SplitWords(field.names)) {
      help += StrCat(separator, name);
      separator = " | ";
    }
  }
  if (field.required) return help + " [required]";
  std::string value = FormatValue(field);
  if (value == "\"\"") return help;
  if (value.front() == '[' || value.front() == '"') value = value.substr(1, value.size() - 2);
  return help + " [" + value + "]";
}

std::string HelpText(const Program& program, const FieldList& defaults) {
  std::string out =
      StrCat(program.summary, "\n\nUsage: ", program.name,
             " --config FILE [options]\n\nExamples:\n", program.example, "\nGeneral:\n");
  out += HelpLine("--config FILE", "Read this YAML file; every key: configs/ and docs/config.md.");
  out += HelpLine("--set KEY=VALUE", "Set any key, overriding the file; may be repeated.");
  out +=
      HelpLine("--print-config", "Print the effective config as YAML (can be fed back) and exit.");
  out += HelpLine("--help-keys", "Print every key with its help, range and default, and exit.");
  out += HelpLine("--version", "Print the version and exit.");
  out += HelpLine("-h, --help", "Print this text and exit.");
  std::string_view section;
  for (const Field& field : defaults) {
    if (field.flag.empty()) continue;
    const std::string_view here = field.key.substr(0, field.key.find('.'));
    const bool is_top = SectionOf(field.key).empty();
    if (section != (is_top ? "other" : here)) {
      section = is_top ? "other" : here;
      std::string title(section);
      title[0] = static_cast<char>(title[0] - 'a' + 'A');
      out += "\n" + title + ":\n";
    }
    out += HelpLine(StrCat(field.flag, " ", Placeholder(field)), FlagHelp(field));
  }
  return StrCat(out, program.note, "Exit codes: 0 done, 1 error, 2 wrong usage.\n");
}

Exit UsageError(const Program& program, const std::string& sentence) {
  return {.code = 2,
          .err_text = StrCat(program.name, ": ", sentence, "\nTry ", program.name, " --help\n")};
}

// Owns the CLI11 app and remembers which field each option sets.
class CommandLine {
 public:
  explicit CommandLine(const FieldList& fields) {
    app_.set_help_flag();  // our own text
    app_.allow_extras();   // reported by us, with the nearest name
    config_ = AddValue("--config", nullptr);
    set_ = AddValue("--set", nullptr);
    print_config_ = app_.add_flag("--print-config");
    help_ = app_.add_flag("-h,--help");
    help_keys_ = app_.add_flag("--help-keys");
    version_ = app_.add_flag("--version");
    for (const Field& field : fields) {
      std::string names;
      for (const std::string& name : FlagNames(field)) {
        names += (names.empty() ? "" : ",") + name;
        known_.push_back(name);
      }
      if (!names.empty()) AddValue(names, &field);
    }
  }

  // An error in what is on the command line, for a person.
  std::optional<std::string> Parse(int argc, const char* const* argv) {
    std::vector<std::string> arguments(argv + std::min(argc, 1), argv + argc);
    std::reverse(arguments.begin(), arguments.end());  // what CLI11 wants
    try {
      app_.parse(arguments);
    } catch (const CLI::ArgumentMismatch& error) {
      const std::string text = error.what();
      return text.substr(0, text.find(':')) + " wants a value";
    } catch (const CLI::ParseError& error) {
      return error.what();
    }
    const std::vector<std::string> extras = app_.remaining();
    if (extras.empty()) return std::nullopt;
    const std::string name = extras[0].substr(0, extras[0].find('='));
    if (!name.starts_with('-')) {
      return StrCat("unexpected argument ", name, "; a config file is given by --config ", name);
    }
    std::vector<std::string_view> known(known_.begin(), known_.end());
    known.insert(known.end(), {"--config", "--set", "--print-config", "--help", "--version"});
    const std::string_view near = NearestName(name, known);
    return StrCat("unknown option ", name,
                  near.empty() ? "" : StrCat("; did you mean ", near, "?"));
  }

  bool wants_help() const { return help_->count() > 0; }
  bool wants_keys() const { return help_keys_->count() > 0; }
  bool wants_version() const { return version_->count() > 0; }
  bool wants_config() const { return print_config_->count() > 0; }
  const std::vector<std::string>& config_files() const { return config_->results(); }

  // What sets a key, in the order of the command line: the field (nullptr for --set), name, value.
  struct Setting {
    const Field* field;
    std::string name;
    std::string text;
  };
  std::vector<Setting> Settings() const {
    std::vector<Setting> settings;
    std::map<const CLI::Option*, size_t> next;
    for (const CLI::Option* option : app_.parse_order()) {
      const bool is_set = option == set_;
      if (!is_set && !fields_.contains(option)) continue;
      settings.push_back({.field = is_set ? nullptr : fields_.at(option),
                          .name = "--" + option->get_lnames().at(0),
                          .text = option->results().at(next[option]++)});
    }
    return settings;
  }

 private:
  CLI::Option* AddValue(const std::string& names, const Field* field) {
    const bool is_switch = field != nullptr && std::holds_alternative<bool*>(field->target);
    CLI::Option* option =
        is_switch ? app_.add_flag(names)->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
                  : app_.add_option(names)->expected(1)->multi_option_policy(
                        CLI::MultiOptionPolicy::TakeAll);
    option->allow_extra_args(false);
    if (field != nullptr) fields_[option] = field;
    return option;
  }

  CLI::App app_;
  CLI::Option* config_;
  CLI::Option* set_;
  CLI::Option* print_config_;
  CLI::Option* help_;
  CLI::Option* help_keys_;
  CLI::Option* version_;
  std::map<const CLI::Option*, const Field*> fields_;
  std::vector<std::string> known_;
};

// nullopt when all settings are in; a sentence when the command line itself is wrong.
std::optional<std::string> ApplySettings(const CommandLine& line, Party* party) {
  for (const CommandLine::Setting& setting : line.Settings()) {
    const Field* field = setting.field;
    std::string_view text = setting.text;
    std::string where = setting.name;
    if (field == nullptr) {
      const size_t equals = text.find('=');
      if (equals == std::string_view::npos || equals == 0) {
        return StrCat("--set wants key=value, got ", text);
      }
      const std::string_view key = text.substr(0, equals);
      text.remove_prefix(equals + 1);
      field = FindField(party->fields(), key);
      if (field == nullptr) return "--set: " + party->DescribeUnknownKey(key);
      where = StrCat("--set ", key);
    }
    party->ApplyFlag(*field, text, where);
  }
  return std::nullopt;
}

template <typename Invocation>
std::variant<Invocation, Exit> ParseCommandLine(const Program& program, int argc,
                                                const char* const* argv) {
  Invocation invocation;
  Party party(&invocation.config);
  CommandLine line(party.fields());
  const std::optional<std::string> problem = line.Parse(argc, argv);
  if (problem.has_value()) return UsageError(program, *problem);
  if (line.wants_help()) return Exit{.out_text = HelpText(program, party.fields())};
  if (line.wants_keys()) return Exit{.out_text = AnnotatedYaml(invocation.config)};
  if (line.wants_version()) return Exit{.out_text = StrCat(program.name, " ", kVersion, "\n")};
  if (line.config_files().size() > 1) return UsageError(program, "--config is given twice");
  try {
    if (!line.config_files().empty()) {
      invocation.config_path = line.config_files()[0];
      party.ApplyFile(invocation.config_path);
    }
    const std::optional<std::string> wrong = ApplySettings(line, &party);
    if (wrong.has_value()) return UsageError(program, *wrong);
    party.Finish();
    ValidateFields(party.fields(), party.provenance());
    ApplyBudget(&invocation.config, party.provenance());
    ValidateRelations(invocation.config, party.provenance());
    if (line.wants_config()) return Exit{.out_text = DumpYaml(invocation.config)};
    party.RequireComplete();
  } catch (const Error& error) {
    return Exit{.code = 1, .err_text = StrCat(program.name, ": ", error.message(), "\n")};
  }
  return invocation;
}

template <typename Config>
Config LoadFile(const std::string& file) {
  Config config;
  Party party(&config);
  party.ApplyFile(file);
  party.Finish();
  ValidateFields(party.fields(), party.provenance());
  ApplyBudget(&config, party.provenance());
  ValidateRelations(config, party.provenance());
  party.RequireComplete();
  return config;
}

}  // namespace

std::variant<ClientInvocation, Exit> ParseClientCommandLine(int argc, const char* const* argv) {
  return ParseCommandLine<ClientInvocation>(kClient, argc, argv);
}

std::variant<ServerInvocation, Exit> ParseServerCommandLine(int argc, const char* const* argv) {
  return ParseCommandLine<ServerInvocation>(kServer, argc, argv);
}

ClientConfig LoadClientFile(const std::string& file) { return LoadFile<ClientConfig>(file); }
ServerFileConfig LoadServerFile(const std::string& file) {
  return LoadFile<ServerFileConfig>(file);
}

}  // namespace amaq::config
