// Runs with quant.gradient.method: rd: the same adapter whatever lies between the parties, and the
// rate that was asked for.

#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "server/endpoint.h"
#include "tests/support/tiny_run.h"
#include "transport/capture.h"
#include "transport/grpc_client_link.h"
#include "transport/grpc_service.h"

namespace amaq {
namespace {

using test::RunInproc;
using test::TinyRun;

Bytes RunRdOverGrpc(const TinyRun& run, const config::ClientConfig& config) {
  const auto endpoint = server::MakeEndpoint(run.server);
  transport::GrpcServer::Options options;
  options.endpoint = endpoint.get();
  const auto server = transport::GrpcServer::Create(options);
  transport::GrpcClientLink::Options link_options;
  link_options.address = StrCat("127.0.0.1:", server->port());
  const auto link = transport::GrpcClientLink::Create(link_options);
  EXPECT_EQ(test::Run(config, *link), client::RunOutcome::kDone);
  return test::ReadBytes(config.output.dir + "/adapter_model.safetensors");
}

class RdRunTest : public ::testing::Test {
 protected:
  RdRunTest() : run_("rd-run"), config_(run_.client) {
    config_.wire.dtype = "bf16";
    config_.quant.gradient.method = "rd";
    config_.quant.gradient.target_bits = 2.5;
    config_.quant.adapt_steps = 3;
    config_.train.max_steps = 5;
  }

  Bytes Inproc(const std::string& name) {
    config_.output.dir = run_.Path(name);
    return RunInproc(config_);
  }

  TinyRun run_;
  config::ClientConfig config_;
};

TEST_F(RdRunTest, RunsOfEachForwardMethodAreTheSameOverGrpcAndInOneProcess) {
  for (const std::string method : {"none", "amaq", "group", "waterfill", "aqsgd"}) {
    SCOPED_TRACE(method);
    config_.quant.method = method;
    config_.quant.cache_bytes = 1 << 20;
    config_.quant.cache_dir = run_.Path("cache");
    const Bytes inproc = Inproc(method);
    config_.output.dir = run_.Path(method + "-grpc");
    EXPECT_TRUE(RunRdOverGrpc(run_, config_) == inproc);
  }
}

TEST_F(RdRunTest, TheWindowOfMicroBatchesNeverChangesIt) {
  config_.quant.method = "amaq";
  config_.train.gradient_accumulation_steps = 4;
  config_.train.per_device_train_batch_size = 1;
  config_.train.in_flight = 1;
  const Bytes one = Inproc("window-1");
  for (const uint32_t in_flight : {2u, 4u}) {
    config_.train.in_flight = in_flight;
    EXPECT_TRUE(Inproc(StrCat("window-", in_flight)) == one) << in_flight;
  }
  config_.quant.gradient.target_bits = 1;  // the negative control
  EXPECT_FALSE(Inproc("window-other") == one);
}

TEST_F(RdRunTest, EveryGradientIsRateDistortionCoded) {
  config_.quant.method = "amaq";
  config_.wire.entropy = "on";
  config_.wire.capture_dir = run_.Path("capture");
  Inproc("captured");
  int gradients = 0;
  for (const auto& entry : std::filesystem::directory_iterator(config_.wire.capture_dir)) {
    const transport::Message message = transport::ReadCapture(entry.path().string());
    if (message.key.phase != transport::Phase::kBackward) continue;
    ++gradients;
    EXPECT_NE(FindSection(message.sections, SectionKind::kRdCodes), nullptr);
    EXPECT_EQ(FindSection(message.sections, SectionKind::kCodes), nullptr);
    EXPECT_EQ(FindSection(message.sections, SectionKind::kEntropyCodes), nullptr);
  }
  EXPECT_EQ(gradients, 10);
}

}  // namespace
}  // namespace amaq
