#include "transport/grpc_service.h"

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include <future>
#include <memory>
#include <thread>

#include "amaq/v1/split_learning.grpc.pb.h"
#include "tests/support/errors.h"
#include "tests/support/message_builder.h"
#include "tests/support/scripted_endpoint.h"
#include "transport/chunker.h"
#include "transport/grpc_client_link.h"
#include "transport/proto_convert.h"
#include "transport/protowire.h"

namespace amaq::test {
namespace {

using std::chrono::milliseconds;
using transport::GrpcClientLink;
using transport::GrpcServer;

// A client in generated code: it may send anything.
class RawClient {
 public:
  explicit RawClient(const GrpcServer& server)
      : stub_(v1::SplitLearning::NewStub(grpc::CreateChannel(
            StrCat("127.0.0.1:", server.port()), grpc::InsecureChannelCredentials()))) {}

  v1::OpenReply Open() {
    grpc::ClientContext context;
    v1::OpenReply reply;
    EXPECT_TRUE(stub_->Open(&context, v1::OpenRequest(), &reply).ok());
    return reply;
  }
  void Start(const std::string& session_id, const std::string& epoch) {
    context_ = std::make_unique<grpc::ClientContext>();
    context_->AddMetadata("amaq-session", session_id);
    context_->AddMetadata("amaq-epoch", epoch);
    stream_ = stub_->Exchange(context_.get());
  }
  void OpenAndStart() { Start(Open().session_id(), "1"); }
  bool Write(const v1::Frame& frame) { return stream_->Write(frame); }
  bool Read(v1::Frame* frame) { return stream_->Read(frame); }
  grpc::Status HalfCloseAndFinish() {
    stream_->WritesDone();
    return Finish();
  }
  grpc::Status Finish() {
    v1::Frame frame;
    while (stream_->Read(&frame)) {
    }
    return stream_->Finish();
  }

 private:
  std::unique_ptr<v1::SplitLearning::Stub> stub_;
  std::unique_ptr<grpc::ClientContext> context_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::Frame, v1::Frame>> stream_;
};

std::vector<v1::Frame> Frames(const transport::Message& message, uint64_t sequence = 1) {
  transport::Chunker chunker(message, sequence, 1000);
  std::vector<v1::Frame> frames;
  while (!chunker.done()) {
    const Bytes bytes = transport::FlattenFrame(chunker.Next(0));
    EXPECT_TRUE(frames.emplace_back().ParseFromArray(bytes.data(), static_cast<int>(bytes.size())));
  }
  return frames;
}

std::unique_ptr<transport::Link> Connect(const GrpcServer& server) {
  auto link = GrpcClientLink::Create({.address = StrCat("127.0.0.1:", server.port())});
  link->Open({});
  return link;
}

void ExpectServes(const GrpcServer& server) {
  const auto link = Connect(server);
  link->Send(Forward(0, 0, {10}));
  EXPECT_EQ(link->Receive().key.phase, transport::Phase::kBackward);
}

TEST(GrpcServiceTest, AGeneratedClientCanExchange) {
  ScriptedEndpoint endpoint;
  const auto server = GrpcServer::Create({.endpoint = &endpoint});
  RawClient client(*server);
  client.OpenAndStart();
  for (const v1::Frame& frame : Frames(Forward(3, 1, {2500}))) ASSERT_TRUE(client.Write(frame));

  v1::Frame reply;
  ASSERT_TRUE(client.Read(&reply));

  EXPECT_EQ(reply.phase(), v1::PHASE_BACKWARD);
  EXPECT_EQ(reply.step(), 3u);
  EXPECT_EQ(reply.ack(), 1u);
  EXPECT_EQ(reply.payload().size(), 2500u);
  EXPECT_TRUE(client.HalfCloseAndFinish().ok());
  endpoint.WaitUntilClosed();
}

TEST(GrpcServiceTest, MalformedFramesCloseTheirStreamAndNoOther) {
  ScriptedEndpoint endpoint;
  const auto server = GrpcServer::Create({.endpoint = &endpoint});
  const auto bystander = Connect(*server);
  const v1::Frame good = Frames(Forward(0, 0, {10}))[0];
  v1::Frame flipped = good;
  (*flipped.mutable_payload())[3] = static_cast<char>(flipped.payload()[3] ^ 1);
  v1::Frame header = good;
  header.set_header("\xff\xff\xff");
  v1::Frame phase = good;
  phase.set_phase(static_cast<v1::Phase>(99));
  v1::Frame unordered = good;
  unordered.set_sequence(5);
  v1::Frame epoch = good;
  epoch.set_epoch(2);
  for (const v1::Frame& bad : {flipped, header, phase, unordered, epoch, v1::Frame()}) {
    RawClient client(*server);
    client.OpenAndStart();
    client.Write(bad);

    const grpc::Status status = client.Finish();

    EXPECT_FALSE(status.ok());
    EXPECT_FALSE(status.error_message().empty());
  }
  bystander->Send(Forward(0, 0, {10}));
  EXPECT_EQ(bystander->Receive().key.phase, transport::Phase::kBackward);
  ExpectServes(*server);
}

TEST(GrpcServiceTest, BytesThatAreNoFrameCloseTheirStreamAndNoOther) {
  ScriptedEndpoint endpoint;
  const auto server = GrpcServer::Create({.endpoint = &endpoint});
  grpc::GenericStub stub(grpc::CreateChannel(StrCat("127.0.0.1:", server->port()),
                                             grpc::InsecureChannelCredentials()));
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const std::string session_id = RawClient(*server).Open().session_id();
    const Bytes garbage = RandomBytes(1000, seed);
    const grpc::Slice slice(garbage.data(), garbage.size());
    const grpc::ByteBuffer sent(&slice, 1);
    grpc::ByteBuffer received;
    grpc::ClientContext context;
    context.AddMetadata("amaq-session", session_id);
    context.AddMetadata("amaq-epoch", "1");
    std::promise<grpc::Status> done;
    stub.UnaryCall(&context, "/amaq.v1.SplitLearning/Exchange", {}, &sent, &received,
                   [&](grpc::Status status) { done.set_value(std::move(status)); });

    EXPECT_FALSE(done.get_future().get().ok()) << "seed " << seed;
  }

  ExpectServes(*server);
}

TEST(GrpcServiceTest, ADamagedChunkIsDataLoss) {
  ScriptedEndpoint endpoint;
  const auto server = GrpcServer::Create({.endpoint = &endpoint});
  RawClient client(*server);
  client.OpenAndStart();
  v1::Frame frame = Frames(Forward(0, 0, {10}))[0];
  (*frame.mutable_payload())[3] = static_cast<char>(frame.payload()[3] ^ 1);
  client.Write(frame);

  const grpc::Status status = client.Finish();

  EXPECT_EQ(status.error_code(), grpc::StatusCode::DATA_LOSS);
  EXPECT_EQ(status.error_message(),
            "chunk 0 of FORWARD step 0.0 micro-batch 0 is damaged: its CRC does not match");
}

TEST(GrpcServiceTest, AnExchangeThatEndsInsideAMessageIsDataLoss) {
  ScriptedEndpoint endpoint;
  const auto server = GrpcServer::Create({.endpoint = &endpoint});
  RawClient client(*server);
  client.OpenAndStart();
  client.Write(Frames(Forward(0, 0, {2500}))[0]);

  EXPECT_EQ(client.HalfCloseAndFinish().error_code(), grpc::StatusCode::DATA_LOSS);
}

TEST(GrpcServiceTest, AMessageThatStopsHalfWayTimesOut) {
  ScriptedEndpoint endpoint;
  const auto server =
      GrpcServer::Create({.endpoint = &endpoint, .silence_timeout = milliseconds(100)});
  RawClient client(*server);
  client.OpenAndStart();
  client.Write(Frames(Forward(0, 0, {2500}))[0]);

  const grpc::Status status = client.Finish();

  EXPECT_EQ(status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_NE(status.error_message().find("in the middle of a message"), std::string::npos);
}

TEST(GrpcServiceTest, AnIdleStreamDoesNotTimeOut) {
  ScriptedEndpoint endpoint;
  const auto server =
      GrpcServer::Create({.endpoint = &endpoint, .silence_timeout = milliseconds(50)});
  const auto idle = Connect(*server);
  RawClient stalled(*server);  // its time-out shows that the time has passed
  stalled.OpenAndStart();
  stalled.Write(Frames(Forward(0, 0, {2500}))[0]);
  stalled.Finish();

  idle->Send(Forward(0, 0, {10}));

  EXPECT_EQ(idle->Receive().key.step, 0u);
}

TEST(GrpcServiceTest, AClientThatReadsNothingIsCutOff) {
  ScriptedEndpoint endpoint([](const transport::Message&, const auto& reply) {
    for (uint32_t i = 0; i < 50; ++i) reply(Forward(0, i, {1000000}));
  });
  const auto server =
      GrpcServer::Create({.endpoint = &endpoint, .silence_timeout = milliseconds(200)});
  RawClient client(*server);
  client.OpenAndStart();
  client.Write(Frames(Forward(0, 0, {10}))[0]);

  endpoint.WaitUntilClosed();  // without a single read

  EXPECT_FALSE(client.Finish().ok());
}

TEST(GrpcServiceTest, ASessionThatWorksLongIsReportedByProgress) {
  std::promise<void> go;
  ScriptedEndpoint endpoint([&](transport::Message message, const auto& reply) {
    go.get_future().wait();
    Echo(std::move(message), reply);
  });
  const auto server =
      GrpcServer::Create({.endpoint = &endpoint, .progress_interval = milliseconds(20)});
  RawClient client(*server);
  client.OpenAndStart();
  client.Write(Frames(Forward(7, 2, {10}))[0]);
  v1::Frame frame;
  for (uint64_t sequence = 1; sequence <= 3; ++sequence) {
    ASSERT_TRUE(client.Read(&frame));
    EXPECT_EQ(frame.phase(), v1::PHASE_PROGRESS);
    EXPECT_EQ(frame.step(), 7u);
    EXPECT_EQ(frame.sequence(), sequence);
  }

  go.set_value();

  while (client.Read(&frame) && frame.phase() == v1::PHASE_PROGRESS) {
  }
  EXPECT_EQ(frame.phase(), v1::PHASE_BACKWARD);
  EXPECT_TRUE(client.HalfCloseAndFinish().ok());
}

TEST(GrpcServiceTest, ExchangeNeedsASessionThatIsThere) {
  ScriptedEndpoint endpoint;
  const auto server = GrpcServer::Create({.endpoint = &endpoint});
  const auto status_of = [&](const std::string& session_id, const std::string& epoch) {
    RawClient client(*server);
    client.Start(session_id, epoch);
    return client.Finish().error_code();
  };
  const std::string session_id = RawClient(*server).Open().session_id();

  EXPECT_EQ(status_of("nobody", "1"), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(status_of(session_id, "2"), grpc::StatusCode::ABORTED);
  EXPECT_EQ(status_of(session_id, "one"), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(status_of(session_id, ""), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(status_of("../escape", "1"), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(endpoint.open_sessions(), 1u);  // a refused exchange closes nobody's session
}

TEST(GrpcServiceTest, ASecondExchangeOfASessionIsRefused) {
  ScriptedEndpoint endpoint;
  const auto server = GrpcServer::Create({.endpoint = &endpoint});
  RawClient first(*server);
  const std::string session_id = first.Open().session_id();
  first.Start(session_id, "1");
  first.Write(Frames(Forward(0, 0, {10}))[0]);
  v1::Frame reply;
  ASSERT_TRUE(first.Read(&reply));  // so the first exchange is there

  RawClient second(*server);
  second.Start(session_id, "1");

  EXPECT_EQ(second.Finish().error_code(), grpc::StatusCode::ALREADY_EXISTS);
  EXPECT_TRUE(first.HalfCloseAndFinish().ok());
}

TEST(GrpcServiceTest, ShutdownEndsAnIdleStreamAsUnavailable) {
  ScriptedEndpoint endpoint;
  const auto server = GrpcServer::Create({.endpoint = &endpoint});
  const auto link = Connect(*server);
  link->Send(Forward(0, 0, {1}));
  link->Receive();
  std::thread receiver(
      [&] { EXPECT_THROWS(link->Receive(), Code::kUnavailable, "the server is shutting down"); });

  server->Shutdown();
  server->Shutdown();

  receiver.join();
  EXPECT_EQ(endpoint.open_sessions(), 0u);
}

TEST(GrpcServiceTest, ShutdownLetsTheMessageUnderWorkEnd) {
  std::promise<void> working;
  std::promise<void> go;
  ScriptedEndpoint endpoint([&](transport::Message message, const auto& reply) {
    if (message.key.step == 5) {
      working.set_value();
      go.get_future().wait();
    }
    Echo(std::move(message), reply);
  });
  const auto server = GrpcServer::Create({.endpoint = &endpoint});
  const auto link = Connect(*server);
  link->Send(Forward(5, 0, {100000}));
  link->Send(Forward(6, 0, {100000}));
  working.get_future().wait();
  std::thread stopper([&] { server->Shutdown(); });

  go.set_value();

  EXPECT_EQ(link->Receive().key.step, 5u);
  // The second message may or may not have been begun before Shutdown.
  EXPECT_THROWS(
      {
        EXPECT_EQ(link->Receive().key.step, 6u);
        link->Receive();
      },
      Code::kUnavailable, "the server is shutting down");
  stopper.join();
}

TEST(GrpcServiceTest, ShutdownCancelsWhatDoesNotEnd) {
  std::promise<void> working;
  std::promise<void> go;
  ScriptedEndpoint endpoint([&](const transport::Message&, const auto&) {
    working.set_value();
    go.get_future().wait();
  });
  const auto server =
      GrpcServer::Create({.endpoint = &endpoint, .drain_timeout = milliseconds(10)});
  const auto link = Connect(*server);
  link->Send(Forward(0, 0, {}));
  working.get_future().wait();
  std::thread stopper([&] { server->Shutdown(); });

  EXPECT_THROWS(link->Receive(), Code::kUnavailable, "ended");

  go.set_value();
  stopper.join();
}

TEST(GrpcServiceTest, PlainTextBeyondLoopbackNeedsToBeAllowed) {
  ScriptedEndpoint endpoint;
  for (const std::string listen : {"0.0.0.0:0", "[::]:0", "192.168.1.2:7420", "127.evil.org:1"}) {
    EXPECT_THROWS(GrpcServer::Create({.listen = listen, .endpoint = &endpoint}),
                  Code::kFailedPrecondition, "security.allow_plaintext");
  }

  EXPECT_GT(
      GrpcServer::Create({.listen = "0.0.0.0:0", .endpoint = &endpoint, .allow_plaintext = true})
          ->port(),
      0);
}

TEST(GrpcServiceTest, LoopbackAddressesAreKnown) {
  for (const std::string address : {"127.0.0.1:1", "127.1.2.3:0", "localhost:7420", "[::1]:7420"}) {
    EXPECT_TRUE(transport::IsLoopback(address)) << address;
  }
  for (const std::string address :
       {"10.0.0.1:1", "localhost.evil.org:1", "[::]:1", ":7420", "*:1"}) {
    EXPECT_FALSE(transport::IsLoopback(address)) << address;
  }
}

TEST(GrpcServiceTest, ATakenPortIsSaid) {
  ScriptedEndpoint endpoint;
  const auto server = GrpcServer::Create({.endpoint = &endpoint});
  const std::string listen = StrCat("127.0.0.1:", server->port());

  EXPECT_THROWS(GrpcServer::Create({.listen = listen, .endpoint = &endpoint}), Code::kUnavailable,
                StrCat("cannot listen on ", listen));
}

// A server that drops a field of the request, as one of another version would.
class ForgetfulService final : public v1::SplitLearning::Service {
 public:
  grpc::Status Open(grpc::ServerContext*, const v1::OpenRequest* request,
                    v1::OpenReply* reply) override {
    transport::OpenRequest understood = transport::FromProto(*request);
    understood.memory_policy.clear();
    reply->set_server_version("9.9");
    reply->set_understood(transport::UnderstoodDigest(understood));
    return grpc::Status::OK;
  }
};

TEST(GrpcServiceTest, ARequestThatIsNotUnderstoodWholeIsRefusedByTheClient) {
  ForgetfulService service;
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&service);
  const auto server = builder.BuildAndStart();
  const auto link = GrpcClientLink::Create({.address = StrCat("127.0.0.1:", port)});

  EXPECT_THROWS(link->Open({}), Code::kFailedPrecondition,
                "(version 9.9) did not understand the whole request");
}

TEST(GrpcServiceTest, HealthSaysServing) {
  ScriptedEndpoint endpoint;
  const auto server = GrpcServer::Create({.endpoint = &endpoint});
  grpc::GenericStub stub(grpc::CreateChannel(StrCat("127.0.0.1:", server->port()),
                                             grpc::InsecureChannelCredentials()));
  const auto check = [&stub](const std::string& service) {
    // HealthCheckRequest{service} and HealthCheckResponse{status}, by hand.
    Bytes request;
    transport::ProtoWriter(&request).String(1, service);
    const grpc::Slice slice(request.data(), request.size());
    const grpc::ByteBuffer sent(&slice, 1);
    grpc::ByteBuffer received;
    grpc::ClientContext context;
    std::promise<grpc::Status> done;
    stub.UnaryCall(&context, "/grpc.health.v1.Health/Check", {}, &sent, &received,
                   [&](grpc::Status status) { done.set_value(std::move(status)); });
    const grpc::Status status = done.get_future().get();
    grpc::Slice reply;
    return status.ok() && received.DumpToSingleSlice(&reply).ok() && reply.size() == 2 &&
           reply.begin()[1] == 1;
  };

  EXPECT_TRUE(check("amaq.v1.SplitLearning"));
  EXPECT_FALSE(check("amaq.v1.Another"));
}

TEST(GrpcServiceTest, ManyClientsComeAndGo) {
  ScriptedEndpoint endpoint;
  const auto server = GrpcServer::Create({.endpoint = &endpoint});
  std::vector<std::thread> clients;
  for (int i = 0; i < 4; ++i) {
    clients.emplace_back([&] {
      for (int round = 0; round < 5; ++round) ExpectServes(*server);
    });
  }
  for (std::thread& client : clients) client.join();

  endpoint.WaitUntilClosed();
}

}  // namespace
}  // namespace amaq::test
