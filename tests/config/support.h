#ifndef AMAQ_TESTS_CONFIG_SUPPORT_H_
#define AMAQ_TESTS_CONFIG_SUPPORT_H_

// What the tests of this folder share.

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "config/load.h"
#include "config/party.h"
#include "core/error.h"

namespace amaq::config {

// The message of the amaq::Error that `action` throws; fails when it throws none.
template <typename Action>
std::string ErrorOf(Action action) {
  try {
    action();
  } catch (const Error& error) {
    return error.message();
  }
  ADD_FAILURE() << "no error";
  return "";
}

// A config out of YAML without the checks between members.
template <typename Config>
Config ReadYaml(const std::string& text) {
  Config config;
  Party(&config).ApplyYaml(text, "x.yaml", "/base");
  return config;
}

inline std::string ClientError(const std::string& text) {
  return ErrorOf([&] { ReadYaml<ClientConfig>(text); });
}

// A folder of its own below TempDir() for the running test.
inline std::filesystem::path TestFolder() {
  const auto* info = ::testing::UnitTest::GetInstance()->current_test_info();
  const auto folder = std::filesystem::path(::testing::TempDir()) /
                      (std::string("amaq_config_") + info->test_suite_name() + info->name());
  std::filesystem::create_directories(folder);
  return folder;
}

inline void WriteText(const std::filesystem::path& file, const std::string& text) {
  std::ofstream(file, std::ios::binary) << text;
}

inline std::string ReadText(const std::filesystem::path& file) {
  std::ifstream stream(file, std::ios::binary);
  if (!stream) ADD_FAILURE() << "cannot read " << file;
  std::ostringstream text;
  text << stream.rdbuf();
  return text.str();
}

// Runs the client's command line as main would.
inline std::variant<ClientInvocation, Exit> Client(std::vector<std::string> arguments) {
  std::vector<const char*> argv = {"amaq-client"};
  for (const std::string& argument : arguments) argv.push_back(argument.c_str());
  return ParseClientCommandLine(static_cast<int>(argv.size()), argv.data());
}

inline Exit ClientExit(std::vector<std::string> arguments) {
  const auto parsed = Client(std::move(arguments));
  if (const auto* exit = std::get_if<Exit>(&parsed)) return *exit;
  ADD_FAILURE() << "the command line was accepted";
  return {};
}

inline ClientConfig ClientRun(std::vector<std::string> arguments) {
  const auto parsed = Client(std::move(arguments));
  if (const auto* run = std::get_if<ClientInvocation>(&parsed)) return run->config;
  ADD_FAILURE() << std::get<Exit>(parsed).err_text;
  return {};
}

}  // namespace amaq::config

#endif  // AMAQ_TESTS_CONFIG_SUPPORT_H_
