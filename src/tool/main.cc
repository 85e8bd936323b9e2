// amaq-codec: codes, decodes and shows tensors and captured messages.

#include <cstdio>
#include <exception>
#include <string>
#include <variant>

#include "tool/command_line.h"

int main(int argc, char** argv) {
  const auto parsed = amaq::tool::ParseCommandLine(argc, argv);
  if (const auto* exit = std::get_if<amaq::tool::Exit>(&parsed)) {
    std::fputs(exit->out_text.c_str(), stdout);
    std::fputs(exit->err_text.c_str(), stderr);
    return exit->code;
  }
  try {
    const auto& invocation = std::get<amaq::tool::Invocation>(parsed);
    std::fputs(invocation.run(invocation.options).c_str(), stdout);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "amaq-codec: %s\n", error.what());
    return 1;
  }
}
