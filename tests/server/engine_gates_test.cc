// Widths of gates at the server: its own for the gradient (gradient.bits: own), and those of token
// positions that a client sends.

#include <gtest/gtest.h>

#include "tests/support/errors.h"
#include "tests/support/server_session.h"

namespace amaq::server {
namespace {

using test::CodedForward;
using test::Commit;
using test::ServerSession;
using test::TinyRun;
using transport::Message;
using transport::Phase;

class OwnGradientTest : public ::testing::Test {
 protected:
  OwnGradientTest() : run_("own-gradient") {
    run_.client.quant.method = "amaq";
    run_.client.quant.gradient.bits = "own";
    run_.client.quant.adapt_steps = 2;
    run_.client.quant.b_start = 6;
    session_ = std::make_unique<ServerSession>(run_);
  }
  static Message Forward(uint64_t step, uint32_t attempt, uint64_t echo) {
    Message message = CodedForward(1, std::vector<uint8_t>(32, 5));
    message.key.step = step;
    message.key.attempt = attempt;
    message.gate.decoded_version = echo;
    return message;
  }
  static bool HasWidths(const Message& backward) {
    return FindSection(backward.sections, SectionKind::kWidths) != nullptr;
  }

  TinyRun run_;
  std::unique_ptr<ServerSession> session_;
};

TEST_F(OwnGradientTest, AnEchoBeyondTheNewestVersionIsRefused) {
  EXPECT_THROWS(session_->Send(Forward(0, 0, 2)), Code::kInvalidArgument,
                "echoes version 2 of the gradient's gate, the newest is 1");
  session_->Reopen();
  const uint64_t first = session_->Send(Forward(0, 0, 0)).at(0).gate.version;
  session_->Send(Commit(0, {false, 1, 0, 1}));
  const uint64_t second = session_->Send(Forward(1, 0, first)).at(0).gate.version;
  ASSERT_GT(second, first) << "the target fell";
  session_->Send(Commit(1, {false, 1, 0, 1}));

  EXPECT_NO_THROW(session_->Send(Forward(2, 0, second)));
}

TEST_F(OwnGradientTest, WidthsCrossAgainAfterAnAbort) {
  Message first = Forward(0, 0, 0);
  first.micro_batches = 3;
  first.loss_tokens = 15;
  Message second = first;
  second.key.micro_batch = 1;
  const Message sent = session_->Send(first).at(0);
  EXPECT_TRUE(HasWidths(sent));
  EXPECT_FALSE(HasWidths(session_->Send(second).at(0))) << "once a version, unless";
  Message abort;
  abort.key = {1, 0, 0, 0, Phase::kAbort, 0};
  abort.item = transport::AbortInfo{"a test"};
  session_->Send(abort);

  const Message again = session_->Send(Forward(0, 1, 0)).at(0);

  ASSERT_TRUE(HasWidths(again));
  EXPECT_EQ(again.gate.version, sent.gate.version);
  EXPECT_EQ(*FindSection(again.sections, SectionKind::kWidths),
            *FindSection(sent.sections, SectionKind::kWidths));
}

class TokenWidthsTest : public ::testing::Test {
 protected:
  static constexpr uint32_t kLength = 7;

  TokenWidthsTest() : run_("token-widths") {
    run_.client.quant.method = "fixed";
    run_.client.quant.axis = "token";
    run_.client.data.max_length = kLength;
    session_ = std::make_unique<ServerSession>(run_);
  }
  Message Forward(const std::vector<uint8_t>& widths, size_t sent_widths) const {
    train::CutCoder coder(client::CutOptionsOf(run_.client));
    Message message = test::RawForward();
    message.gate.version = 1;
    message.sections = {{SectionKind::kWidths, Bytes(sent_widths, widths[0])}};
    const train::CodedTensor coded =
        coder.EncodeActivation(test::TinyActivation(), test::TinySupervision().segments, widths);
    message.sections.insert(message.sections.end(), coded.sections.begin(), coded.sections.end());
    train::AppendSupervision(test::TinySupervision(), &message.sections);
    return message;
  }

  TinyRun run_;
  std::unique_ptr<ServerSession> session_;
};

TEST_F(TokenWidthsTest, ThereMustBeOneForEachPositionAndNoneMayBeTooLarge) {
  const std::vector<uint8_t> widths(kLength, 4);
  EXPECT_EQ(session_->Send(Forward(widths, kLength)).size(), 2u);
  for (const size_t count : {size_t{0}, size_t{kLength - 1}, size_t{kLength + 1}, size_t{32}}) {
    session_->Reopen();
    EXPECT_THROWS(session_->Send(Forward(widths, count)), Code::kInvalidArgument,
                  "widths; there must be 7");
  }
  session_->Reopen();
  Message large = Forward(widths, kLength);
  test::SectionOf(large, SectionKind::kWidths)[3] = 9;
  EXPECT_THROWS(session_->Send(large), Code::kInvalidArgument, "must be in [0, 8]");
}

TEST_F(TokenWidthsTest, CodesOfAnotherSizeThanTheirTokensWidthsMakeAreRefused) {
  for (const SectionKind kind :
       {SectionKind::kCodes, SectionKind::kRanges, SectionKind::kSinkRows}) {
    session_->Reopen();
    const Bytes before = session_->Adapter();
    Message message = Forward(std::vector<uint8_t>(kLength, 4), kLength);
    test::SectionOf(message, kind).pop_back();
    EXPECT_THROWS(session_->Send(message), Code::kDataLoss, "section");
    EXPECT_EQ(session_->Adapter(), before);
  }
}

}  // namespace
}  // namespace amaq::server
