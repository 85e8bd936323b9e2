#ifndef AMAQ_TESTS_SUPPORT_CHILD_PROCESS_H_
#define AMAQ_TESTS_SUPPORT_CHILD_PROCESS_H_

// A program that a test started: its output line by line, signals to it by its number, its exit
// status. Killed when the test leaves it running.

#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <string>
#include <vector>

namespace amaq::test {

class ChildProcess {
 public:
  // Standard output and standard error come through one pipe.
  explicit ChildProcess(std::vector<std::string> command) {
    std::array<int, 2> ends{-1, -1};
    EXPECT_EQ(pipe(ends.data()), 0);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDERR_FILENO);
    posix_spawn_file_actions_addclose(&actions, ends[0]);
    posix_spawn_file_actions_addclose(&actions, ends[1]);
    std::vector<char*> arguments;
    for (std::string& part : command) arguments.push_back(part.data());
    arguments.push_back(nullptr);
    EXPECT_EQ(posix_spawn(&pid_, arguments[0], &actions, nullptr, arguments.data(), environ), 0)
        << command[0];
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    output_ = ends[0];
  }
  ~ChildProcess() {
    if (pid_ > 0) {
      kill(pid_, SIGKILL);
      waitpid(pid_, nullptr, 0);
    }
    close(output_);
  }
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  // Blocks until a line contains `text` and returns it; empty when the output ended first.
  std::string WaitForLine(const std::string& text) {
    std::string line;
    char c = 0;
    while (read(output_, &c, 1) == 1) {
      all_ += c;
      if (c != '\n') {
        line += c;
        continue;
      }
      if (line.find(text) != std::string::npos) return line;
      line.clear();
    }
    return {};
  }

  void Signal(int number) const { EXPECT_EQ(kill(pid_, number), 0); }

  // Reads the rest of the output; 128 + the signal when one ended it.
  int Wait() {
    char c = 0;
    while (read(output_, &c, 1) == 1) all_ += c;
    int status = 0;
    EXPECT_EQ(waitpid(pid_, &status, 0), pid_);
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }

  const std::string& all_output() const { return all_; }

 private:
  pid_t pid_ = -1;
  int output_ = -1;
  std::string all_;
};

}  // namespace amaq::test

#endif  // AMAQ_TESTS_SUPPORT_CHILD_PROCESS_H_
