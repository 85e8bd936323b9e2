#ifndef AMAQ_TOOL_COMMAND_LINE_H_
#define AMAQ_TOOL_COMMAND_LINE_H_

// The command line of amaq-codec: which command with which options, or what to print instead.

#include <string>
#include <variant>

#include "tool/commands.h"

namespace amaq::tool {

struct Invocation {
  std::string (*run)(const Options&);
  Options options;
};

// Help, version or a usage error (code 2).
struct Exit {
  int code = 0;
  std::string out_text = {};
  std::string err_text = {};
};

std::variant<Invocation, Exit> ParseCommandLine(int argc, const char* const* argv);

}  // namespace amaq::tool

#endif  // AMAQ_TOOL_COMMAND_LINE_H_
