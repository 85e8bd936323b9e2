// scripts/make_demo_data.py: what the quick start trains on.

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "io/file.h"

namespace amaq::data {
namespace {

struct Step {
  long left = 0;
  std::string sign;
  long right = 0;
  long result = 0;
};

// Each "a * b = c" of the text.
std::vector<Step> StepsOf(const std::string& text) {
  std::istringstream stream(text);
  std::vector<std::string> words;
  for (std::string word; stream >> word;) words.push_back(word);
  std::vector<Step> steps;
  for (size_t i = 3; i + 1 < words.size(); ++i) {
    if (words[i] != "=") continue;
    steps.push_back(
        {std::stol(words[i - 3]), words[i - 2], std::stol(words[i - 1]), std::stol(words[i + 1])});
  }
  return steps;
}

// -1 for a division with a remainder.
long Result(const Step& step) {
  if (step.sign == "+") return step.left + step.right;
  if (step.sign == "-") return step.left - step.right;
  if (step.sign == "*") return step.left * step.right;
  return step.left % step.right == 0 ? step.left / step.right : -1;
}

class DemoDataTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (std::system("python3 --version > /dev/null 2>&1") != 0) GTEST_SKIP() << "needs python3";
    folder_ = ::testing::TempDir() + "amaq_demo_" +
              ::testing::UnitTest::GetInstance()->current_test_info()->name();
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  void Make(const std::string& name, const std::string& flags) const {
    const std::string command = "python3 '" AMAQ_SOURCE_DIR "/scripts/make_demo_data.py' --out '" +
                                folder_ + "/" + name + "' " + flags;
    ASSERT_EQ(std::system(command.c_str()), 0) << command;
  }
  std::string Text(const std::string& name) const {
    return io::ReadTextFile(folder_ + "/" + name, 1 << 24);
  }
  std::vector<nlohmann::json> Records(const std::string& name) const {
    std::vector<nlohmann::json> records;
    std::istringstream lines(Text(name));
    for (std::string line; std::getline(lines, line);) {
      records.push_back(nlohmann::json::parse(line));
    }
    return records;
  }

  std::string folder_;
};

TEST_F(DemoDataTest, SetsHaveTheirSizesAndShareNoQuestion) {
  Make("a", "--train 400 --eval 64");

  const auto train = Records("a/train.jsonl");
  const auto eval = Records("a/eval.jsonl");

  EXPECT_EQ(train.size(), 400u);
  EXPECT_EQ(eval.size(), 64u);
  std::set<std::string> questions;
  for (const auto& record : train) questions.insert(record["question"]);
  for (const auto& record : eval) questions.insert(record["question"]);
  EXPECT_EQ(questions.size(), 464u);
}

TEST_F(DemoDataTest, EveryStepIsRightAndTheLastResultIsTheAnswer) {
  Make("a", "--train 2000 --eval 1");

  for (const auto& record : Records("a/train.jsonl")) {
    const std::string answer = record["answer"];
    const std::vector<Step> steps = StepsOf(answer);
    for (const Step& step : steps) EXPECT_EQ(Result(step), step.result) << answer;
    ASSERT_GE(steps.size(), 2u) << answer;
    EXPECT_TRUE(answer.ends_with("\n#### " + std::to_string(steps.back().result))) << answer;
    EXPECT_EQ(answer.find("<<"), std::string::npos);
  }
}

TEST_F(DemoDataTest, TheSeedDecides) {
  Make("a", "--train 50 --eval 5 --seed 1");
  Make("b", "--train 50 --eval 5 --seed 1");
  Make("c", "--train 50 --eval 5 --seed 2");

  EXPECT_EQ(Text("a/train.jsonl"), Text("b/train.jsonl"));
  EXPECT_NE(Text("a/train.jsonl"), Text("c/train.jsonl"));
}

}  // namespace
}  // namespace amaq::data
