#ifndef AMAQ_CONFIG_LOAD_H_
#define AMAQ_CONFIG_LOAD_H_

// From command lines and YAML files to a checked config, and back to YAML. Flags override the file.
// Relative paths are relative to the config file's folder, those given by flags to the current
// folder; in a loaded config all paths are absolute, so that its dump can be fed back from
// anywhere. Pure functions apart from reading the file; thread-compatible. Source: our choice
// (docs/config.md).
//
//   int main(int argc, char** argv) {
//     const auto parsed = amaq::config::ParseClientCommandLine(argc, argv);
//     if (const auto* exit = std::get_if<amaq::config::Exit>(&parsed)) {
//       std::cout << exit->out_text;
//       std::cerr << exit->err_text;
//       return exit->code;
//     }
//     const auto& invocation = std::get<amaq::config::ClientInvocation>(parsed);
//     ...
//   }

#include <string>
#include <string_view>
#include <variant>

#include "config/config.h"

namespace amaq::config {

// The program has nothing to run: --help, --version, --print-config or an error.
struct Exit {
  int code = 0;               // 0; 1: bad config; 2: wrong usage
  std::string out_text = {};  // for standard output
  std::string err_text = {};  // for standard error
};

struct ClientInvocation {
  ClientConfig config;
  std::string config_path;  // as given by --config; empty when there was none
};

struct ServerInvocation {
  ServerFileConfig config;
  std::string config_path;
};

// Never throw amaq::Error: errors are an Exit. argv[0] is skipped.
std::variant<ClientInvocation, Exit> ParseClientCommandLine(int argc, const char* const* argv);
std::variant<ServerInvocation, Exit> ParseServerCommandLine(int argc, const char* const* argv);

// A complete, checked file. kNotFound, or kInvalidArgument as "configs/x.yaml:14: lora.r must ...".
ClientConfig LoadClientFile(const std::string& file);
ServerFileConfig LoadServerFile(const std::string& file);

// Ranges and what must hold between members. kInvalidArgument naming key, value and limit.
void Validate(const ClientConfig& config);
void Validate(const ServerFileConfig& config);

// Every key with its value. Loading the text gives an equal config (paths absolute).
std::string DumpYaml(const ClientConfig& config);
std::string DumpYaml(const ServerFileConfig& config);

// The same with each key's help and range above it: what the files in configs/ are made from.
std::string AnnotatedYaml(const ClientConfig& config);
std::string AnnotatedYaml(const ServerFileConfig& config);

// The text of docs/config.md.
std::string ConfigMarkdown();

}  // namespace amaq::config

#endif  // AMAQ_CONFIG_LOAD_H_
