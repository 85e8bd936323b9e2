// Prints what is generated from the field list: amaq_config_doc markdown > docs/config.md;
// "client" and "server" print a file with every key at its default and its comment.

#include <iostream>
#include <string_view>

#include "config/load.h"

int main(int argc, char** argv) {
  const std::string_view what = argc > 1 ? argv[1] : "";
  if (what == "markdown") {
    std::cout << amaq::config::ConfigMarkdown();
  } else if (what == "client") {
    std::cout << amaq::config::AnnotatedYaml(amaq::config::ClientConfig());
  } else if (what == "server") {
    std::cout << amaq::config::AnnotatedYaml(amaq::config::ServerFileConfig());
  } else {
    std::cerr << "usage: amaq_config_doc markdown|client|server\n";
    return 2;
  }
  return 0;
}
