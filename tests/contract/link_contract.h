#ifndef AMAQ_TESTS_CONTRACT_LINK_CONTRACT_H_
#define AMAQ_TESTS_CONTRACT_LINK_CONTRACT_H_

// What every Link must do, whatever lies between it and the Endpoint. A harness is made from an
// Endpoint and connects links to it:
//
//   struct Harness {
//     explicit Harness(transport::Endpoint& endpoint);
//     std::unique_ptr<transport::Link> Connect();  // chunks of kMinChunkBytes
//   };
//   INSTANTIATE_TYPED_TEST_SUITE_P(Inproc, LinkContract, Harness);

#include <gtest/gtest.h>

#include <chrono>
#include <future>
#include <memory>
#include <stdexcept>
#include <thread>
#include <utility>

#include "core/log.h"
#include "tests/support/errors.h"
#include "tests/support/message_builder.h"
#include "tests/support/scripted_endpoint.h"
#include "transport/chunker.h"
#include "transport/limits.h"
#include "transport/link.h"

namespace amaq::test {

template <typename Harness>
class LinkContract : public ::testing::Test {
 protected:
  // A link that is open to a session with this script.
  std::unique_ptr<transport::Link> Open(Script script = Echo) {
    harness_.reset();
    endpoint_ = std::make_unique<ScriptedEndpoint>(std::move(script));
    harness_ = std::make_unique<Harness>(*endpoint_);
    std::unique_ptr<transport::Link> link = harness_->Connect();
    link->Open({});
    return link;
  }

  std::unique_ptr<ScriptedEndpoint> endpoint_;
  std::unique_ptr<Harness> harness_;
};
TYPED_TEST_SUITE_P(LinkContract);

TYPED_TEST_P(LinkContract, OpenBringsTheServersAnswer) {
  ScriptedEndpoint endpoint;
  TypeParam harness(endpoint);
  const auto link = harness.Connect();
  transport::OpenRequest request;
  request.max_tokens = 640;
  request.in_flight = 3;
  request.lora.target_modules = {"q_proj", "v_proj"};

  const transport::OpenReply reply = link->Open(request);

  EXPECT_EQ(reply.session_id, "session-1");
  EXPECT_EQ(reply.epoch, 1u);
  EXPECT_EQ(reply.max_tokens, 640u);
  EXPECT_EQ(reply.max_in_flight, 3u);
  EXPECT_TRUE(reply.fetch_adapter_allowed);
  EXPECT_EQ(endpoint.open_sessions(), 1u);
}

TYPED_TEST_P(LinkContract, ARefusalComesWithItsCodeAndSentence) {
  ScriptedEndpoint endpoint;
  TypeParam harness(endpoint);
  const auto link = harness.Connect();
  transport::OpenRequest request;
  request.run_id = "refused";

  EXPECT_THROWS(link->Open(request), Code::kFailedPrecondition,
                "lora.r is 512, this server allows at most 64");
  EXPECT_THROWS(link->Send(Forward(0, 0, {1})), Code::kFailedPrecondition, "");
}

TYPED_TEST_P(LinkContract, MessagesOfEverySizeCrossBothWays) {
  const auto link = this->Open();
  constexpr size_t kChunk = transport::kMinChunkBytes;
  uint64_t step = 0;
  for (const size_t size :
       {size_t{0}, size_t{1}, kChunk - 1, kChunk, kChunk + 1, 10 * kChunk + 3}) {
    transport::Message message = Forward(step++, 0, {size, 5});
    link->Send(message);

    transport::Message back = link->Receive();

    message.key.phase = transport::Phase::kBackward;
    ExpectEqual(back, message);
  }
}

TYPED_TEST_P(LinkContract, SendStampsTheEpochOfTheSession) {
  const auto link = this->Open();
  transport::Message message = Forward(0, 0, {1});
  message.key.epoch = 0;

  link->Send(std::move(message));

  EXPECT_EQ(link->Receive().key.epoch, 1u);
}

TYPED_TEST_P(LinkContract, AWindowFitsWithoutASecondThread) {
  const auto link = this->Open();
  constexpr uint32_t kWindow = 8;
  for (uint32_t i = 0; i < kWindow; ++i) link->Send(Forward(0, i, {300000}));

  for (uint32_t i = 0; i < kWindow; ++i) EXPECT_EQ(link->Receive().key.micro_batch, i);
}

TYPED_TEST_P(LinkContract, BothDirectionsFlowAtOnce) {
  const auto link = this->Open();
  constexpr uint32_t kMessages = 60;
  std::thread sender([&] {
    for (uint32_t i = 0; i < kMessages; ++i) link->Send(Forward(0, i, {200000}));
  });

  for (uint32_t i = 0; i < kMessages; ++i) EXPECT_EQ(link->Receive().key.micro_batch, i);

  sender.join();
}

TYPED_TEST_P(LinkContract, ASessionMayReplyManyTimesOrNotAtAll) {
  const auto link = this->Open([](transport::Message message, const auto& reply) {
    const uint32_t count = message.key.micro_batch;
    for (uint32_t i = 0; i < count; ++i) {
      message.key.micro_batch = i;
      reply(message);
    }
  });

  link->Send(Forward(0, 0, {}));
  link->Send(Forward(1, 3, {}));

  EXPECT_EQ(link->Receive().key.step, 1u);
  EXPECT_EQ(link->Receive().key.micro_batch, 1u);
  EXPECT_EQ(link->Receive().key.micro_batch, 2u);
}

TYPED_TEST_P(LinkContract, ProgressIsNotReturned) {
  const auto link = this->Open([](transport::Message message, const auto& reply) {
    transport::Message progress;
    progress.key.phase = transport::Phase::kProgress;
    reply(progress);
    Echo(std::move(message), reply);
  });

  link->Send(Forward(0, 0, {1}));

  EXPECT_EQ(link->Receive().key.phase, transport::Phase::kBackward);
}

TYPED_TEST_P(LinkContract, AnErrorOfTheSessionComesAfterItsReplies) {
  const auto link = this->Open([](transport::Message message, const auto& reply) {
    const uint64_t step = message.key.step;
    Echo(std::move(message), reply);
    if (step == 1) Throw(Code::kOutOfRange, "step 1 is beyond what this test allows");
  });

  link->Send(Forward(0, 0, {100000}));
  link->Send(Forward(1, 0, {100000}));

  EXPECT_EQ(link->Receive().key.step, 0u);
  EXPECT_EQ(link->Receive().key.step, 1u);
  EXPECT_THROWS(link->Receive(), Code::kOutOfRange, "step 1 is beyond what this test allows");
  EXPECT_THROWS(link->Receive(), Code::kOutOfRange, "beyond");
  EXPECT_THROWS(link->Send(Forward(3, 0, {})), Code::kOutOfRange, "beyond");
}

TYPED_TEST_P(LinkContract, AnExceptionOfAnotherKindIsInternal) {
  SetLogLevel(LogLevel::kOff);
  const auto link = this->Open(
      [](const transport::Message&, const auto&) { throw std::runtime_error("secret"); });

  link->Send(Forward(0, 0, {}));

  EXPECT_THROWS(link->Receive(), Code::kInternal, "the server failed at FORWARD step 0.0");
  SetLogLevel(LogLevel::kInfo);
}

TYPED_TEST_P(LinkContract, AdaptersOfSomeMegabytesCrossBothWays) {
  const auto link = this->Open();
  const Bytes adapter = RandomBytes(3000001, 9);

  link->PutAdapter(adapter);

  EXPECT_TRUE(link->FetchAdapter() == adapter);
  EXPECT_GT(link->traffic().total_bytes, 6000002u);
  EXPECT_EQ(link->traffic().train_bytes_up, 0u);
}

TYPED_TEST_P(LinkContract, AnAdapterThatDoesNotFitIsRefusedAndTheLinkLives) {
  const auto link = this->Open();

  EXPECT_THROWS(link->PutAdapter(Bytes{1}), Code::kFailedPrecondition, "the adapter does not fit");

  EXPECT_EQ(link->FetchAdapter(), Bytes{42});
  link->Send(Forward(0, 0, {1}));
  EXPECT_EQ(link->Receive().key.step, 0u);
}

TYPED_TEST_P(LinkContract, AdapterCallsWaitForTheMessageBeingWorkedOn) {
  std::promise<void> working;
  std::promise<void> go;
  std::atomic<bool> is_done = false;
  const auto link = this->Open([&](transport::Message message, const auto& reply) {
    working.set_value();
    go.get_future().wait();
    is_done = true;
    Echo(std::move(message), reply);
  });
  link->Send(Forward(0, 0, {1}));
  working.get_future().wait();
  std::thread fetcher([&] {
    link->FetchAdapter();
    EXPECT_TRUE(is_done);
  });

  go.set_value();

  fetcher.join();
  link->Receive();
}

TYPED_TEST_P(LinkContract, CloseEndsTheSessionAndMayBeRepeated) {
  const auto link = this->Open();
  link->Send(Forward(0, 0, {100}));
  link->Receive();

  link->Close();
  link->Close();

  this->endpoint_->WaitUntilClosed();
  EXPECT_THROWS(link->Send(Forward(1, 0, {})), Code::kCancelled, "the link was closed");
  EXPECT_THROWS(link->Receive(), Code::kCancelled, "the link was closed");
}

TYPED_TEST_P(LinkContract, CloseDoesNotWaitForRepliesToBeTaken) {
  const auto link = this->Open();
  for (uint32_t i = 0; i < 12; ++i) link->Send(Forward(0, i, {500000}));

  link->Close();

  this->endpoint_->WaitUntilClosed();
}

TYPED_TEST_P(LinkContract, ALinkThatWasNeverOpenedCloses) {
  ScriptedEndpoint endpoint;
  TypeParam harness(endpoint);
  const auto link = harness.Connect();

  EXPECT_THROWS(link->Receive(), Code::kFailedPrecondition, "");

  link->Close();
}

TYPED_TEST_P(LinkContract, TrainBytesAreThoseOfTheFrames) {
  const auto link = this->Open();
  const transport::Message forward = Forward(0, 0, {200000, 77});
  transport::Message backward = forward;
  backward.key.phase = transport::Phase::kBackward;
  const uint64_t up = transport::WireBytes(forward, transport::kMinChunkBytes);
  const uint64_t down = transport::WireBytes(backward, transport::kMinChunkBytes);

  link->Send(forward);
  link->Receive();

  EXPECT_EQ(link->traffic().train_bytes_up, up);
  EXPECT_EQ(link->traffic().train_bytes_down, down);
  EXPECT_EQ(link->traffic().forward_bytes, up);
  EXPECT_EQ(link->traffic().backward_bytes, down);
  EXPECT_GE(link->traffic().total_bytes, up + down);
  EXPECT_LE(link->traffic().copied_bytes, 200077u);  // what arrived, once; what was sent, never
}

TYPED_TEST_P(LinkContract, EvaluationIsNotTraining) {
  const auto link =
      this->Open([](transport::Message message, const auto& reply) { reply(message); });
  transport::Message message = Forward(0, 0, {1000});
  message.key.phase = transport::Phase::kEvaluate;
  message.key.request_id = 1;

  link->Send(message);
  link->Receive();

  EXPECT_EQ(link->traffic().train_bytes_up, 0u);
  EXPECT_EQ(link->traffic().train_bytes_down, 0u);
  EXPECT_GT(link->traffic().total_bytes, 2000u);
}

REGISTER_TYPED_TEST_SUITE_P(
    LinkContract, OpenBringsTheServersAnswer, ARefusalComesWithItsCodeAndSentence,
    MessagesOfEverySizeCrossBothWays, SendStampsTheEpochOfTheSession,
    AWindowFitsWithoutASecondThread, BothDirectionsFlowAtOnce, ASessionMayReplyManyTimesOrNotAtAll,
    ProgressIsNotReturned, AnErrorOfTheSessionComesAfterItsReplies,
    AnExceptionOfAnotherKindIsInternal, AdaptersOfSomeMegabytesCrossBothWays,
    AnAdapterThatDoesNotFitIsRefusedAndTheLinkLives, AdapterCallsWaitForTheMessageBeingWorkedOn,
    CloseEndsTheSessionAndMayBeRepeated, CloseDoesNotWaitForRepliesToBeTaken,
    ALinkThatWasNeverOpenedCloses, TrainBytesAreThoseOfTheFrames, EvaluationIsNotTraining);

}  // namespace amaq::test

#endif  // AMAQ_TESTS_CONTRACT_LINK_CONTRACT_H_
