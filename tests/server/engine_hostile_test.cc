// Messages that a client would not send: the engine answers or throws amaq::Error, nothing else,
// and its adapter stays as it was.

#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "core/rng.h"
#include "tests/support/errors.h"
#include "tests/support/server_session.h"

namespace amaq::server {
namespace {

using test::AsRequest;
using test::CodedForward;
using test::RawForward;
using test::SectionOf;
using test::ServerSession;
using test::TinyRun;
using transport::Message;
using transport::Phase;

class EngineHostileTest : public ::testing::Test {
 protected:
  EngineHostileTest() : run_("hostile"), session_(run_) {}

  // As a FORWARD, an EVALUATE and a DECODE.
  void ExpectRefused(const std::function<void(Message&)>& change, Code code,
                     const std::string& text) {
    ExpectRefused(RawForward(), change, code, text);
  }
  void ExpectRefused(Message message, const std::function<void(Message&)>& change, Code code,
                     const std::string& text) {
    change(message);
    session_.Reopen();
    const Bytes before = session_.Adapter();
    EXPECT_THROWS(session_.Send(message), code, text);
    EXPECT_THROWS(session_.Send(AsRequest(message, Phase::kEvaluate)), code, text);
    EXPECT_THROWS(session_.Send(AsRequest(message, Phase::kDecode)), code, text);
    EXPECT_EQ(session_.Adapter(), before);
  }

  TinyRun run_;
  ServerSession session_;
};

std::vector<uint8_t> SomeWidths() {
  std::vector<uint8_t> widths(32);
  for (size_t c = 0; c < widths.size(); ++c) widths[c] = static_cast<uint8_t>(2 + c % 4);
  return widths;
}

void Drop(Message& message, SectionKind kind) {
  std::erase_if(message.sections, [kind](const Section& section) { return section.kind == kind; });
}

void SetWord(Bytes& bytes, size_t index, uint32_t value) {
  ASSERT_LE((index + 1) * 4, bytes.size());
  std::memcpy(bytes.data() + index * 4, &value, 4);
}

TEST_F(EngineHostileTest, TheUnchangedMessagesAreFine) {
  EXPECT_EQ(session_.Send(RawForward()).size(), 2u);
  session_.Reopen();
  EXPECT_EQ(session_.Send(CodedForward(1, SomeWidths())).size(), 2u);
}

TEST_F(EngineHostileTest, TensorsOfAnotherShapeThanWasAgreed) {
  ExpectRefused([](Message& m) { m.tensor.reset(); }, Code::kInvalidArgument, "carries no tensor");
  ExpectRefused([](Message& m) { m.tensor->channels = 31; }, Code::kInvalidArgument,
                "has 31 channels; the model has 32");
  ExpectRefused([](Message& m) { m.tensor->channels = 0; }, Code::kInvalidArgument, "0 channels");
  ExpectRefused([](Message& m) { m.tensor->channels = 0xffffffffu; }, Code::kInvalidArgument,
                "channels");
  ExpectRefused([](Message& m) { m.tensor->tokens = 0; }, Code::kInvalidArgument, "has 0 tokens");
  ExpectRefused([](Message& m) { m.tensor->tokens = 65; }, Code::kInvalidArgument,
                "granted 1 to 64");
  ExpectRefused([](Message& m) { m.tensor->tokens = uint64_t{1} << 63; }, Code::kInvalidArgument,
                "granted 1 to 64");
  ExpectRefused([](Message& m) { m.tensor->cut = 1; }, Code::kInvalidArgument, "of cut 2");
  ExpectRefused([](Message& m) { m.tensor->direction = transport::Direction::kBackward; },
                Code::kInvalidArgument, "not a forward tensor");
}

TEST_F(EngineHostileTest, SectionsThatAreMissing) {
  ExpectRefused([](Message& m) { Drop(m, SectionKind::kRaw); }, Code::kDataLoss, "raw");
  ExpectRefused([](Message& m) { Drop(m, SectionKind::kSegments); }, Code::kInvalidArgument,
                "segments");
  ExpectRefused([](Message& m) { Drop(m, SectionKind::kSpans); }, Code::kInvalidArgument, "spans");
  ExpectRefused([](Message& m) { Drop(m, SectionKind::kTargets); }, Code::kInvalidArgument,
                "targets");
  const Message coded = CodedForward(1, SomeWidths());
  ExpectRefused(
      coded, [](Message& m) { Drop(m, SectionKind::kWidths); }, Code::kFailedPrecondition,
      "does not hold");
  ExpectRefused(
      coded, [](Message& m) { Drop(m, SectionKind::kRanges); }, Code::kDataLoss, "ranges");
  ExpectRefused(
      coded, [](Message& m) { Drop(m, SectionKind::kSinkRows); }, Code::kDataLoss, "sink");
  ExpectRefused(
      coded, [](Message& m) { Drop(m, SectionKind::kCodes); }, Code::kDataLoss, "codes");
}

TEST_F(EngineHostileTest, SectionsOfAnotherLength) {
  const Message coded = CodedForward(1, SomeWidths());
  for (const int change : {-1, 1}) {
    const auto resize = [change](SectionKind kind) {
      return [change, kind](Message& m) {
        Bytes& bytes = SectionOf(m, kind);
        bytes.resize(static_cast<size_t>(static_cast<int64_t>(bytes.size()) + change));
      };
    };
    ExpectRefused(resize(SectionKind::kRaw), Code::kDataLoss, "raw");
    ExpectRefused(coded, resize(SectionKind::kCodes), Code::kDataLoss, "codes");
    ExpectRefused(coded, resize(SectionKind::kRanges), Code::kDataLoss, "ranges");
    ExpectRefused(coded, resize(SectionKind::kSinkRows), Code::kDataLoss, "sink");
    ExpectRefused(coded, resize(SectionKind::kWidths), Code::kInvalidArgument, "widths");
    ExpectRefused(resize(SectionKind::kTargets), Code::kDataLoss, "targets");
  }
}

TEST_F(EngineHostileTest, WidthsThatCannotBe) {
  ExpectRefused(
      CodedForward(1, SomeWidths()), [](Message& m) { SectionOf(m, SectionKind::kWidths)[3] = 9; },
      Code::kInvalidArgument, "width of channel 3");
  ExpectRefused(
      CodedForward(1, SomeWidths()),
      [](Message& m) { SectionOf(m, SectionKind::kWidths)[3] = 255; }, Code::kInvalidArgument,
      "width of channel 3");
}

TEST_F(EngineHostileTest, ValuesThatAreNotFinite) {
  for (const float value : {std::nanf(""), HUGE_VALF}) {
    ExpectRefused(
        [value](Message& m) {
          std::memcpy(SectionOf(m, SectionKind::kRaw).data() + 40, &value, 4);
        },
        Code::kDataLoss, "finite");
  }
}

TEST_F(EngineHostileTest, RawTensorsOfATypeThatDoesNotCross) {
  ExpectRefused([](Message& m) { m.tensor->dtype = DType::kF64; }, Code::kInvalidArgument, "fp64");
  ExpectRefused([](Message& m) { m.tensor->dtype = DType::kBF16; }, Code::kDataLoss, "raw");
}

TEST_F(EngineHostileTest, SegmentsSpansAndTargetsThatDoNotFit) {
  const auto set = [](SectionKind kind, size_t index, uint32_t value) {
    return [=](Message& m) { SetWord(SectionOf(m, kind), index, value); };
  };
  ExpectRefused(set(SectionKind::kSegments, 2, 11), Code::kInvalidArgument, "segments");
  ExpectRefused(set(SectionKind::kSegments, 0, 1), Code::kInvalidArgument, "segments");
  ExpectRefused(set(SectionKind::kSegments, 1, 10), Code::kInvalidArgument, "segment 1");
  ExpectRefused(set(SectionKind::kSegments, 1, 0xffffffffu), Code::kInvalidArgument, "segment 1");
  ExpectRefused(set(SectionKind::kSpans, 3, 11), Code::kInvalidArgument, "span 1");
  ExpectRefused(set(SectionKind::kSpans, 2, 0), Code::kInvalidArgument, "span 1");
  ExpectRefused(set(SectionKind::kSpans, 3, 8), Code::kInvalidArgument, "5 targets for 4");
  ExpectRefused(set(SectionKind::kTargets, 0, 272), Code::kInvalidArgument,
                "target 272 is outside the vocabulary of 272");
  ExpectRefused(set(SectionKind::kTargets, 0, 0xffffffffu), Code::kInvalidArgument, "vocabulary");
}

TEST_F(EngineHostileTest, StepsThatNameFewerTokensThanTheySupervise) {
  for (const uint64_t loss_tokens : {0u, 4u}) {
    session_.Reopen();
    Message message = RawForward();
    message.loss_tokens = loss_tokens;

    EXPECT_THROWS(session_.Send(message), Code::kInvalidArgument, "supervises 5 tokens but names");
  }
}

// A server's context holds 128 positions; the client asked for micro-batches of up to 200 tokens.
TEST_F(EngineHostileTest, ASequenceLongerThanTheModelsContext) {
  auto endpoint = MakeEndpoint(run_.server);
  transport::OpenRequest request = test::RequestOf(run_);
  request.max_tokens = 200;
  const auto session = endpoint->Find(endpoint->Open(request).session_id, 1);
  Message message = RawForward();
  message.tensor->tokens = 129;
  SetWord(SectionOf(message, SectionKind::kSegments), 1, 129);
  SectionOf(message, SectionKind::kSegments).resize(8);
  SectionOf(message, SectionKind::kRaw).assign(129 * 32 * 4, 0);

  EXPECT_THROWS(session->OnMessage(message, [](const Message&) {}), Code::kInvalidArgument,
                "129 tokens exceeds the model's context of 128");
}

TEST_F(EngineHostileTest, NamesThatWouldReachTheLog) {
  Message message = RawForward();
  message.item = transport::NonFinite{"x\namaq-server: all is well", 0, 0};

  EXPECT_THROWS(session_.Send(message), Code::kInvalidArgument, "only an activation");
}

TEST_F(EngineHostileTest, PhasesOfTheServerAndMessagesOutOfPlace) {
  const auto refused = [this](const std::function<void(Message&)>& change, Code code,
                              const std::string& text) {
    session_.Reopen();
    Message message = RawForward();
    change(message);
    EXPECT_THROWS(session_.Send(message), code, text);
  };
  for (const Phase phase : {Phase::kBackward, Phase::kNorm, Phase::kCommitted, Phase::kProgress,
                            static_cast<Phase>(0), static_cast<Phase>(77)}) {
    refused([phase](Message& m) { m.key.phase = phase; }, Code::kInvalidArgument,
            "a client does not send");
  }
  refused([](Message& m) { m.key.epoch = 2; }, Code::kAborted, "epoch");
  refused([](Message& m) { m.key.step = 1; }, Code::kFailedPrecondition, "gap");
  refused([](Message& m) { m.key.attempt = 1; }, Code::kFailedPrecondition, "gap");
  refused([](Message& m) { m.key.micro_batch = 1; }, Code::kInvalidArgument, "micro-batch");
  refused([](Message& m) { m.micro_batches = 0; }, Code::kInvalidArgument, "micro-batches");
  refused([](Message& m) { m.key.phase = Phase::kEvaluate; }, Code::kInvalidArgument, "request id");
}

TEST_F(EngineHostileTest, AMicroBatchThatSupervisesNothingHasNoGradient) {
  for (Message message : {RawForward(), CodedForward(1, SomeWidths())}) {
    session_.Reopen();
    SectionOf(message, SectionKind::kSpans).clear();
    SectionOf(message, SectionKind::kTargets).clear();

    const std::vector<Message> replies = session_.Send(message);

    ASSERT_EQ(replies.size(), 2u);
    EXPECT_EQ(std::get<transport::BackwardInfo>(replies[0].item).tokens, 0u);
    for (const double norm : test::NormsOf(replies[1])) EXPECT_EQ(norm, 0);
  }
}

// Each round changes a few bytes of one section.
void Corrupt(Message& message, uint64_t seed, uint32_t round) {
  const auto words = Philox4x32(seed, {round, 0, 0, 0});
  Bytes& bytes = message.sections[words[0] % message.sections.size()].bytes;
  if (bytes.empty()) return;
  const auto places = Philox4x32(seed, {round, 1, 0, 0});
  for (size_t i = 0; i <= words[1] % 4; ++i) {
    bytes[places[i] % bytes.size()] = static_cast<uint8_t>(words[2] >> (8 * i));
  }
}

TEST_F(EngineHostileTest, RandomBytesInAnySectionAreRefusedOrAnswered) {
  size_t refused = 0;
  size_t answered = 0;
  const Bytes before = session_.Adapter();
  for (uint32_t round = 0; round < 600; ++round) {
    Message message = AsRequest(round % 2 == 0 ? RawForward() : CodedForward(round, SomeWidths()),
                                round % 4 < 2 ? Phase::kEvaluate : Phase::kDecode);
    Corrupt(message, 99, round);
    try {
      answered += session_.Send(message).size();
    } catch (const Error& error) {
      EXPECT_FALSE(error.message().empty());
      ++refused;
    }
  }

  EXPECT_GT(refused, 50u);
  EXPECT_GT(answered, 50u);
  EXPECT_EQ(session_.Adapter(), before);
}

}  // namespace
}  // namespace amaq::server
