// amaq-server and amaq-client as a person starts them: files in, exit codes and files out.

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "config/load.h"
#include "core/error.h"
#include "io/file.h"
#include "tests/support/child_process.h"
#include "tests/support/tiny_hf_model.h"
#include "tests/support/tiny_run.h"

namespace amaq {
namespace {

using test::ChildProcess;
using test::TinyRun;

class TwoProcessesTest : public ::testing::Test {
 protected:
  TwoProcessesTest() : run_("processes") {
    run_.server.server.port_file = run_.Path("port");
    StartServer();
  }

  void StartServer() {
    test::WriteText(run_.Path("server.yaml"), config::DumpYaml(run_.server));
    server_ = std::make_unique<ChildProcess>(
        std::vector<std::string>{AMAQ_SERVER, "--config", run_.Path("server.yaml")});
    const std::string line = server_->WaitForLine("listens on 127.0.0.1:");
    const size_t colon = line.find("127.0.0.1:");
    ASSERT_NE(colon, std::string::npos) << server_->all_output();
    address_ = line.substr(colon, line.find(' ', colon) - colon);
  }

  std::unique_ptr<ChildProcess> StartClient(config::ClientConfig config,
                                            const std::string& name) const {
    if (config.server.address == "inproc") config.server.address = address_;
    config.output.dir = run_.Path(name);
    test::WriteText(run_.Path(name + ".yaml"), config::DumpYaml(config));
    return std::make_unique<ChildProcess>(
        std::vector<std::string>{AMAQ_CLIENT, "--config", run_.Path(name + ".yaml")});
  }

  void ExpectARunSucceeds(const std::string& name) const {
    const auto client = StartClient(run_.client, name);
    EXPECT_EQ(client->Wait(), 0) << client->all_output();
    EXPECT_TRUE(test::Exists(run_.Path(name + "/adapter_model.safetensors")));
  }

  TinyRun run_;
  std::unique_ptr<ChildProcess> server_;
  std::string address_;
};

TEST_F(TwoProcessesTest, MakeTheAdapterOfOneProcessAndTheServerEndsOnItsSignal) {
  const Bytes inproc = test::RunInproc(run_.client);

  ExpectARunSucceeds("split");
  server_->Signal(SIGINT);

  EXPECT_EQ(server_->Wait(), 0) << server_->all_output();
  EXPECT_TRUE(test::ReadBytes(run_.Path("split/adapter_model.safetensors")) == inproc);
  EXPECT_EQ("127.0.0.1:" + io::ReadTextFile(run_.Path("port"), 16), address_ + "\n");
}

TEST_F(TwoProcessesTest, AnInterruptedClientLeavesACheckpointAndTheServerServing) {
  config::ClientConfig config = run_.client;
  config.train.max_steps = 1'000'000;
  config.output.progress = "plain";
  const auto client = StartClient(config, "interrupted");
  ASSERT_NE(client->WaitForLine("step 3/"), "") << client->all_output();

  client->Signal(SIGINT);

  const std::string line = client->WaitForLine("interrupted after step");
  EXPECT_EQ(client->Wait(), 130) << client->all_output();
  const std::string folder = line.substr(line.rfind(' ') + 1);
  EXPECT_NE(folder.find(run_.Path("interrupted") + "/checkpoint-"), std::string::npos) << line;
  EXPECT_TRUE(test::Exists(folder + "/adapter_model.safetensors"));
  EXPECT_TRUE(test::Exists(folder + "/adapter_config.json"));
  EXPECT_FALSE(test::Exists(run_.Path("interrupted/adapter_model.safetensors")));
  ExpectARunSucceeds("after");
}

TEST_F(TwoProcessesTest, AClientKilledInTheMiddleLeavesTheServerServing) {
  run_.server.limits.max_sessions = 1;
  StartServer();
  config::ClientConfig config = run_.client;
  config.train.max_steps = 1'000'000;
  config.output.progress = "plain";
  const auto client = StartClient(config, "killed");
  ASSERT_NE(client->WaitForLine("step 2/"), "") << client->all_output();

  client->Signal(SIGKILL);

  EXPECT_EQ(client->Wait(), 128 + SIGKILL);
  // The session's place is free as soon as the server has seen the broken connection.
  std::string output;
  for (int attempt = 0; attempt < 50; ++attempt) {
    const auto next = StartClient(run_.client, StrCat("after-", attempt));
    if (next->Wait() == 0) return;
    output = next->all_output();
    ASSERT_NE(output.find("limits.max_sessions is 1"), std::string::npos) << output;
  }
  FAIL() << output;
}

TEST_F(TwoProcessesTest, ARunThatTheServerLosesEndsWithAnErrorAndNoAdapter) {
  config::ClientConfig config = run_.client;
  config.train.max_steps = 1'000'000;
  config.output.progress = "plain";
  const auto client = StartClient(config, "lost");
  ASSERT_NE(client->WaitForLine("step 2/"), "") << client->all_output();

  server_->Signal(SIGKILL);

  EXPECT_EQ(client->Wait(), 1) << client->all_output();
  EXPECT_FALSE(test::Exists(run_.Path("lost/adapter_model.safetensors")));
}

TEST_F(TwoProcessesTest, ErrorsExitWithOneAndOneSentence) {
  config::ClientConfig config = run_.client;
  config.model.model_name_or_path = run_.Path("no-model.gguf");

  const auto client = StartClient(config, "missing");

  EXPECT_EQ(client->Wait(), 1);
  EXPECT_NE(client->all_output().find("amaq-client: "), std::string::npos);
  EXPECT_NE(client->all_output().find("no-model.gguf"), std::string::npos) << client->all_output();
  EXPECT_FALSE(test::Exists(run_.Path("missing")));
}

TEST_F(TwoProcessesTest, AServerThatIsNotThereIsNamedWithTheTimeTried) {
  config::ClientConfig config = run_.client;
  config.server.address = "127.0.0.1:1";
  config.server.connect_timeout_s = 0.25;

  const auto client = StartClient(config, "alone");

  EXPECT_EQ(client->Wait(), 1);
  EXPECT_NE(client->all_output().find("127.0.0.1:1"), std::string::npos) << client->all_output();
  EXPECT_NE(client->all_output().find("0.25"), std::string::npos) << client->all_output();
  EXPECT_FALSE(test::Exists(run_.Path("alone")));
}

TEST_F(TwoProcessesTest, AServerWithoutItsModelDoesNotStart) {
  run_.server.model.model_name_or_path = run_.Path("no-model.gguf");
  test::WriteText(run_.Path("bad.yaml"), config::DumpYaml(run_.server));

  ChildProcess server({AMAQ_SERVER, "--config", run_.Path("bad.yaml")});

  EXPECT_EQ(server.Wait(), 1);
  EXPECT_NE(server.all_output().find("no-model.gguf"), std::string::npos) << server.all_output();
}

TEST_F(TwoProcessesTest, AWrongFlagIsAUsageError) {
  ChildProcess client({AMAQ_CLIENT, "--no-such-flag"});

  EXPECT_EQ(client.Wait(), 2);
}

}  // namespace
}  // namespace amaq
