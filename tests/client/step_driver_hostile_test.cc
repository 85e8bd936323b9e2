// What a server may send that it should not: the driver ends the run, it never trains on it.

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <limits>

#include "client/step_driver.h"
#include "tests/support/driven.h"
#include "tests/support/errors.h"

namespace amaq::client {
namespace {

using test::Driven;
using transport::Message;
using transport::Phase;

class HostileServerTest : public test::DrivenTest {
 protected:
  // A step, an evaluation and a generation; `change` sees each message of the server.
  void ExpectRefused(const std::function<void(Message&)>& change, Code code,
                     const std::string& text) const {
    Driven driven = Drive();
    driven.link.change_down = change;
    EXPECT_THROWS(
        {
          driven.driver->RunStep(Batches(2, 2), 1e-2);
          driven.driver->Drain();
          driven.driver->Evaluate(Batches(2, 2));
          driven.driver->Generate({104}, 1, -1);
        },
        code, text);
  }
  // Only messages of that phase.
  void ExpectRefused(Phase phase, const std::function<void(Message&)>& change, Code code,
                     const std::string& text) const {
    ExpectRefused(
        [&](Message& message) {
          if (message.key.phase == phase) change(message);
        },
        code, text);
  }
};

TEST_F(HostileServerTest, MessagesOutOfPlace) {
  const auto refused = [this](Phase phase, const std::function<void(Message&)>& change) {
    ExpectRefused(phase, change, Code::kDataLoss, "is due");
  };
  refused(Phase::kBackward, [](Message& m) { m.key.phase = Phase::kForward; });
  refused(Phase::kBackward, [](Message& m) { m.key.step = 1; });
  refused(Phase::kBackward, [](Message& m) { m.key.attempt = 1; });
  refused(Phase::kBackward, [](Message& m) { m.key.micro_batch = 7; });
  refused(Phase::kNorm, [](Message& m) { m.key.phase = Phase::kCommitted; });
  refused(Phase::kCommitted, [](Message& m) { m.key.phase = Phase::kNorm; });
  refused(Phase::kEvaluate, [](Message& m) { m.key.phase = Phase::kDecode; });
  refused(Phase::kEvaluate, [](Message& m) { m.key.request_id = 77; });
  refused(Phase::kDecode, [](Message& m) { m.key.request_id = 0; });
}

TEST_F(HostileServerTest, ItemsThatAreMissing) {
  const auto drop = [](Message& m) { m.item = std::monostate{}; };
  ExpectRefused(Phase::kBackward, drop, Code::kDataLoss, "carries no gradient");
  ExpectRefused(
      Phase::kBackward, [](Message& m) { m.tensor.reset(); }, Code::kDataLoss,
      "carries no gradient");
  ExpectRefused(Phase::kNorm, drop, Code::kDataLoss, "has no norms");
  ExpectRefused(Phase::kCommitted, drop, Code::kDataLoss, "confirms another step");
  ExpectRefused(Phase::kEvaluate, drop, Code::kDataLoss, "without a loss");
  ExpectRefused(Phase::kDecode, drop, Code::kDataLoss, "without a token");
}

TEST_F(HostileServerTest, ACommittedOfAnotherStep) {
  ExpectRefused(
      Phase::kCommitted, [](Message& m) { m.item = transport::CommittedInfo{2}; }, Code::kDataLoss,
      "confirms another step than 1");
}

TEST_F(HostileServerTest, NormsOfAnotherNumber) {
  for (const int change : {-8, 8, 3}) {
    ExpectRefused(
        Phase::kNorm,
        [change](Message& m) {
          Bytes& bytes = m.sections.at(0).bytes;
          bytes.resize(static_cast<size_t>(static_cast<int64_t>(bytes.size()) + change));
        },
        Code::kDataLoss, "norms section");
  }
  ExpectRefused(
      Phase::kNorm, [](Message& m) { m.sections.clear(); }, Code::kDataLoss, "has no norms");
}

TEST_F(HostileServerTest, NormsThatCannotBe) {
  const auto set = [](double value) {
    return [value](Message& m) { std::memcpy(m.sections.at(0).bytes.data(), &value, 8); };
  };
  ExpectRefused(Phase::kNorm, set(-1), Code::kDataLoss, "negative");
  ExpectRefused(Phase::kNorm, set(-std::numeric_limits<double>::infinity()), Code::kDataLoss,
                "negative");
}

TEST_F(HostileServerTest, GradientsThatDoNotFit) {
  const auto resize = [](Message& m) { m.sections.at(0).bytes.pop_back(); };
  ExpectRefused(Phase::kBackward, resize, Code::kDataLoss, "raw");
  ExpectRefused(
      Phase::kBackward, [](Message& m) { m.sections.clear(); }, Code::kDataLoss, "raw");
  ExpectRefused(
      Phase::kBackward, [](Message& m) { m.gate.version = 3; }, Code::kDataLoss,
      "coded with gate version 3");
  ExpectRefused(
      Phase::kBackward, [](Message& m) { m.gate.decoded_version = 3; }, Code::kDataLoss,
      "echoes 3");
}

TEST_F(HostileServerTest, NamesThatWouldReachTheTerminal) {
  ExpectRefused(
      Phase::kBackward,
      [](Message& m) {
        m.item = transport::NonFinite{"\x1b[2J", 0, 0};
      },
      Code::kDataLoss, "names no tensor that could be");
}

TEST_F(HostileServerTest, AnEvaluationThatIsNotFinite) {
  ExpectRefused(
      Phase::kEvaluate,
      [](Message& m) {
        m.item = transport::EvalInfo{NAN, 1, 1};
      },
      Code::kInternal, "the evaluation loss of batch 0 is not finite");
}

TEST_F(HostileServerTest, ATokenOutsideTheVocabulary) {
  Driven driven = Drive();
  driven.link.change_down = [](Message& m) { m.item = transport::DecodeInfo{0x80000000u}; };

  EXPECT_THROWS(driven.driver->Generate({104}, 2, -1), Code::kDataLoss, "2147483648");
}

}  // namespace
}  // namespace amaq::client
