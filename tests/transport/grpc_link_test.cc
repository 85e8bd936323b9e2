#include <gtest/gtest.h>

#include <filesystem>

#include "tests/contract/link_contract.h"
#include "tests/support/tcp_relay.h"
#include "transport/capture.h"
#include "transport/grpc_client_link.h"
#include "transport/grpc_service.h"

namespace amaq::test {
namespace {

using transport::GrpcClientLink;
using transport::GrpcServer;

class GrpcHarness {
 public:
  explicit GrpcHarness(transport::Endpoint& endpoint)
      : server_(
            GrpcServer::Create({.endpoint = &endpoint, .chunk_bytes = transport::kMinChunkBytes})) {
  }
  std::unique_ptr<transport::Link> Connect() {
    return GrpcClientLink::Create({.address = StrCat("127.0.0.1:", server_->port()),
                                   .chunk_bytes = transport::kMinChunkBytes});
  }

 private:
  std::unique_ptr<GrpcServer> server_;
};

INSTANTIATE_TYPED_TEST_SUITE_P(Grpc, LinkContract, GrpcHarness);

TEST(GrpcLinkTest, ARelayCountsWhatTheLinkCounts) {
  ScriptedEndpoint endpoint;
  const auto server = GrpcServer::Create({.endpoint = &endpoint});
  TcpRelay relay(server->port());
  const auto link = GrpcClientLink::Create({.address = StrCat("127.0.0.1:", relay.port())});
  link->Open({});
  link->PutAdapter(RandomBytes(1000000, 1));
  for (uint32_t i = 0; i < 4; ++i) {
    link->Send(Forward(0, i, {1000000}));
    link->Receive();
  }
  link->FetchAdapter();
  link->Close();

  const auto counted = static_cast<double>(link->traffic().total_bytes);
  const auto seen = static_cast<double>(relay.bytes());

  EXPECT_GT(counted, 10e6);
  EXPECT_GE(seen, counted);
  EXPECT_LE(seen, counted * 1.02);
}

TEST(GrpcLinkTest, ACutConnectionIsUnavailable) {
  ScriptedEndpoint endpoint;
  const auto server = GrpcServer::Create({.endpoint = &endpoint});
  TcpRelay relay(server->port());
  const auto link = GrpcClientLink::Create({.address = StrCat("127.0.0.1:", relay.port())});
  link->Open({});
  link->Send(Forward(0, 0, {1000}));
  link->Receive();

  relay.CutConnections();

  EXPECT_THROWS(link->Receive(), Code::kUnavailable,
                StrCat("the exchange with the server at 127.0.0.1:", relay.port(), " ended"));
  endpoint.WaitUntilClosed();  // nobody holds the session any more
}

TEST(GrpcLinkTest, NoServerIsSaidWithAddressTimeAndReason) {
  int port = 0;
  {
    ScriptedEndpoint endpoint;
    port = GrpcServer::Create({.endpoint = &endpoint})->port();
  }
  const auto link = GrpcClientLink::Create(
      {.address = StrCat("127.0.0.1:", port), .connect_timeout = std::chrono::milliseconds(500)});

  EXPECT_THROWS(link->Open({}), Code::kUnavailable,
                StrCat("no server at 127.0.0.1:", port, ": tried for 0.5 s (connection refused)"));
}

TEST(GrpcLinkTest, SilenceOfTheServerEndsTheExchange) {
  std::promise<void> go;
  ScriptedEndpoint endpoint([&](transport::Message, const auto&) { go.get_future().wait(); });
  const auto server = GrpcServer::Create({.endpoint = &endpoint});
  const auto link = GrpcClientLink::Create({.address = StrCat("127.0.0.1:", server->port()),
                                            .silence_timeout = std::chrono::milliseconds(200)});
  link->Open({});
  link->Send(Forward(0, 0, {}));

  EXPECT_THROWS(link->Receive(), Code::kDeadlineExceeded, "sent nothing for 200 ms");
  EXPECT_THROWS(link->Send(Forward(0, 1, {})), Code::kDeadlineExceeded, "sent nothing");
  go.set_value();
}

TEST(GrpcLinkTest, ProgressKeepsASlowStepAlive) {
  std::promise<void> go;
  ScriptedEndpoint endpoint([&](transport::Message message, const auto& reply) {
    go.get_future().wait();
    Echo(std::move(message), reply);
  });
  const auto server = GrpcServer::Create(
      {.endpoint = &endpoint, .progress_interval = std::chrono::milliseconds(50)});
  const auto link = GrpcClientLink::Create({.address = StrCat("127.0.0.1:", server->port()),
                                            .silence_timeout = std::chrono::milliseconds(1000)});
  link->Open({});
  link->Send(Forward(0, 0, {}));
  const uint64_t before = link->traffic().total_bytes;
  std::thread worker([&] {
    // As long as the silence that would end the exchange, in signs of life: 30 of them.
    const uint64_t frame = [] {
      transport::Message progress;
      progress.key = {.epoch = 1, .phase = transport::Phase::kProgress};
      return transport::WireBytes(progress, transport::kMinChunkBytes);
    }();
    while (link->traffic().total_bytes < before + 30 * frame) std::this_thread::yield();
    go.set_value();
  });

  EXPECT_EQ(link->Receive().key.phase, transport::Phase::kBackward);

  worker.join();
}

// An acknowledgement leaves before the answer to its message, so the answer finds the rate known.
TEST(GrpcLinkTest, BothEndsKnowTheRateOfALinkThatIsMeasured) {
  std::atomic<double> download_rate = -1;
  ScriptedEndpoint endpoint(Echo, &download_rate);
  const auto server = GrpcServer::Create({.endpoint = &endpoint});
  const auto link = GrpcClientLink::Create(
      {.address = StrCat("127.0.0.1:", server->port()), .measures_link = true});
  link->Open({});
  EXPECT_FALSE(link->upload_bytes_per_second().has_value());
  link->Send(Forward(0, 0, {100}));  // too small to tell
  link->Receive();
  EXPECT_FALSE(link->upload_bytes_per_second().has_value());

  link->Send(Forward(0, 1, {1000000}));
  link->Receive();
  EXPECT_GT(link->upload_bytes_per_second().value_or(-1), 0);
  EXPECT_EQ(download_rate, -1);  // the second answer is acknowledged now
  link->Send(Forward(0, 2, {100}));
  link->Receive();
  EXPECT_GT(download_rate, 0);
}

TEST(GrpcLinkTest, ALinkThatIsNotMeasuredCarriesNoAcknowledgements) {
  ScriptedEndpoint endpoint;
  const auto server = GrpcServer::Create({.endpoint = &endpoint});
  const auto link = GrpcClientLink::Create({.address = StrCat("127.0.0.1:", server->port())});
  link->Open({});
  const uint64_t before = link->traffic().total_bytes;
  transport::Message message = Forward(0, 0, {1000000});
  const uint64_t bytes = transport::WireBytes(message, transport::kDefaultChunkBytes);
  link->Send(std::move(message));
  link->Receive();

  EXPECT_FALSE(link->upload_bytes_per_second().has_value());
  EXPECT_LT(link->traffic().total_bytes - before, 2 * bytes + 20);
}

TEST(GrpcLinkTest, TheEndsMayCutChunksOfDifferentSizes) {
  ScriptedEndpoint endpoint;
  const auto server =
      GrpcServer::Create({.endpoint = &endpoint, .chunk_bytes = transport::kMaxChunkBytes});
  const auto link = GrpcClientLink::Create(
      {.address = StrCat("127.0.0.1:", server->port()), .chunk_bytes = transport::kMinChunkBytes});
  link->Open({});
  const transport::Message message = Forward(0, 0, {9000000});

  link->Send(message);

  EXPECT_TRUE(link->Receive().sections[0].bytes == message.sections[0].bytes);
}

TEST(GrpcLinkTest, AMessageAboveTheServersLimitIsRefusedByName) {
  ScriptedEndpoint endpoint;
  const auto server = GrpcServer::Create({.endpoint = &endpoint, .max_message_bytes = 1000});
  const auto link = GrpcClientLink::Create({.address = StrCat("127.0.0.1:", server->port())});
  link->Open({});

  link->Send(Forward(3, 1, {1001}));

  EXPECT_THROWS(link->Receive(), Code::kInvalidArgument,
                "FORWARD step 3.0 micro-batch 1 announces 1001 bytes, the limit is 1000");
}

TEST(GrpcLinkTest, AnAdapterAboveTheServersLimitIsRefused) {
  ScriptedEndpoint endpoint;
  const auto server = GrpcServer::Create({.endpoint = &endpoint, .max_adapter_bytes = 100000});
  const auto link = GrpcClientLink::Create({.address = StrCat("127.0.0.1:", server->port())});
  link->Open({});

  EXPECT_THROWS(link->PutAdapter(Bytes(1000000)), Code::kInvalidArgument, "the limit is 100000");
}

TEST(GrpcLinkTest, BothEndsCaptureTheSameMessages) {
  const std::string dir = ::testing::TempDir() + "/grpc_capture";
  std::filesystem::remove_all(dir);
  ScriptedEndpoint endpoint;
  const auto server = GrpcServer::Create({.endpoint = &endpoint, .capture_dir = dir + "/server"});
  const auto link = GrpcClientLink::Create(
      {.address = StrCat("127.0.0.1:", server->port()), .capture_dir = dir + "/client"});
  link->Open({});

  link->Send(Forward(0, 0, {300000}));
  link->Receive();

  for (const std::string name : {"step00000000.attempt0.mb0000.FORWARD.up.frame",
                                 "step00000000.attempt0.mb0000.BACKWARD.down.frame"}) {
    ExpectEqual(transport::ReadCapture(dir + "/client/" + name),
                transport::ReadCapture(dir + "/server/session-1/" + name));
  }
}

TEST(GrpcLinkTest, PingsWithinThePairKeepAnIdleStreamAndFasterOnesDoNot) {
  ScriptedEndpoint endpoint;
  const auto patient = GrpcServer::Create(
      {.endpoint = &endpoint, .min_ping_interval = std::chrono::milliseconds(50)});
  const auto strict =
      GrpcServer::Create({.endpoint = &endpoint, .min_ping_interval = std::chrono::minutes(5)});
  const auto connect = [](int port) {
    auto link = GrpcClientLink::Create({.address = StrCat("127.0.0.1:", port),
                                        .silence_timeout = std::chrono::milliseconds(20000),
                                        .ping_interval = std::chrono::milliseconds(150)});
    link->Open({});
    return link;
  };
  const auto kept = connect(patient->port());
  const auto lost = connect(strict->port());

  // The strict server ends the connection after a few pings; by then as many have reached the
  // other.
  EXPECT_THROWS(lost->Receive(), Code::kUnavailable, "ended");

  kept->Send(Forward(0, 0, {10}));
  EXPECT_EQ(kept->Receive().key.phase, transport::Phase::kBackward);
}

}  // namespace
}  // namespace amaq::test
