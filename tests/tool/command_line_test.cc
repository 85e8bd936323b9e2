#include "tool/command_line.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

namespace amaq::tool {
namespace {

std::variant<Invocation, Exit> Parse(std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), "amaq-codec");
  return ParseCommandLine(static_cast<int>(arguments.size()), arguments.data());
}

TEST(CommandLineTest, EncodeTakesItsOptions) {
  const auto parsed = Parse({"encode", "x.npy", "x.frame", "--target-bits", "3.5", "--b-max", "6",
                             "--range", "absmax", "--sink-rows", "1"});

  ASSERT_TRUE(std::holds_alternative<Invocation>(parsed));
  const auto& invocation = std::get<Invocation>(parsed);
  EXPECT_EQ(invocation.run, &RunEncode);
  EXPECT_EQ(invocation.options.coding.target_bits, 3.5);
  EXPECT_EQ(invocation.options.coding.b_max, 6);
  EXPECT_EQ(invocation.options.coding.range, quant::Range::kAbsMax);
  EXPECT_EQ(invocation.options.coding.sink_rows, 1u);
}

TEST(CommandLineTest, WrongUsageIsOneSentenceAndCode2) {
  for (const auto& arguments : std::vector<std::vector<const char*>>{
           {},
           {"frobnicate"},
           {"encode", "x.npy"},
           {"encode", "x.npy", "x.frame", "--bits", "3", "--target-bits", "3"},
           {"encode", "x.npy", "x.frame", "--b-max", "3"},
           {"inspect", "x.npy", "--range", "huge"},
           {"inspect", "x.npy", "--bits", "three"},
           {"decode", "x.frame", "x.npy", "--sink-rows", "1"}}) {
    const auto parsed = Parse(arguments);

    ASSERT_TRUE(std::holds_alternative<Exit>(parsed));
    const Exit& exit = std::get<Exit>(parsed);
    EXPECT_EQ(exit.code, 2);
    EXPECT_EQ(exit.out_text, "");
    EXPECT_THAT(exit.err_text, ::testing::StartsWith("amaq-codec: "));
    EXPECT_EQ(std::count(exit.err_text.begin(), exit.err_text.end(), '\n'), 2) << exit.err_text;
  }
}

TEST(CommandLineTest, HelpNamesTheCommandsAndHelpOfACommandItsOptions) {
  const Exit all = std::get<Exit>(Parse({"--help"}));
  const Exit encode = std::get<Exit>(Parse({"encode", "--help"}));

  EXPECT_EQ(all.code, 0);
  EXPECT_THAT(all.out_text, ::testing::HasSubstr("inspect"));
  EXPECT_THAT(encode.out_text, ::testing::HasSubstr("--target-bits"));
}

}  // namespace
}  // namespace amaq::tool
