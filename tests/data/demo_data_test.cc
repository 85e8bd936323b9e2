// scripts/make_demo_data.py: what the quick start trains on.

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>

#include "io/file.h"

namespace amaq::data {
namespace {

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
  const std::regex step(R"((\d+) ([-+*/]) (\d+) = (\d+))");

  for (const auto& record : Records("a/train.jsonl")) {
    const std::string answer = record["answer"];
    long last = -1;
    int steps = 0;
    for (std::sregex_iterator match(answer.begin(), answer.end(), step), end; match != end;
         ++match) {
      const long a = std::stol((*match)[1]);
      const long b = std::stol((*match)[3]);
      last = std::stol((*match)[4]);
      switch ((*match)[2].str()[0]) {
        case '+':
          EXPECT_EQ(a + b, last) << answer;
          break;
        case '-':
          EXPECT_EQ(a - b, last) << answer;
          break;
        case '*':
          EXPECT_EQ(a * b, last) << answer;
          break;
        default:
          EXPECT_EQ(last * b, a) << answer;
      }
      ++steps;
    }
    EXPECT_GE(steps, 2) << answer;
    EXPECT_TRUE(answer.ends_with("\n#### " + std::to_string(last))) << answer;
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
