#ifndef AMAQ_TESTS_SUPPORT_DIRECT_LINK_H_
#define AMAQ_TESTS_SUPPORT_DIRECT_LINK_H_

// A Link without threads: Send runs the session at once, Receive takes the oldest reply. Keeps a
// copy of every message and lets a test change messages on their way.

#include <deque>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "core/error.h"
#include "transport/endpoint.h"
#include "transport/link.h"

namespace amaq::test {

class DirectLink final : public transport::Link {
 public:
  explicit DirectLink(transport::Endpoint& endpoint) : endpoint_(endpoint) {}

  // Called with each message before it arrives.
  std::function<void(transport::Message&)> change_up = [](transport::Message&) {};
  std::function<void(transport::Message&)> change_down = [](transport::Message&) {};
  std::vector<transport::Message> sent, received;

  transport::OpenReply Open(const transport::OpenRequest& request) override {
    reply_ = endpoint_.Open(request);
    session_ = endpoint_.Find(reply_.session_id, reply_.epoch);
    return reply_;
  }
  void Send(transport::Message message) override {
    message.key.epoch = reply_.epoch;
    change_up(message);
    sent.push_back(message);
    session_->OnMessage(std::move(message), [this](transport::Message reply) {
      change_down(reply);
      replies_.push_back(std::move(reply));
    });
  }
  transport::Message Receive() override {
    if (replies_.empty()) Throw(Code::kUnavailable, "nothing is on its way");
    transport::Message message = std::move(replies_.front());
    replies_.pop_front();
    received.push_back(message);
    return message;
  }
  void PutAdapter(ByteSpan adapter) override { session_->PutAdapter(adapter); }
  Bytes FetchAdapter() override { return session_->FetchAdapter(); }
  void Close() override { endpoint_.Close(reply_.session_id); }
  transport::LinkTraffic traffic() const override { return {}; }

  // Messages of a phase, in order.
  static std::vector<const transport::Message*> Of(const std::vector<transport::Message>& messages,
                                                   transport::Phase phase) {
    std::vector<const transport::Message*> found;
    for (const transport::Message& message : messages) {
      if (message.key.phase == phase) found.push_back(&message);
    }
    return found;
  }

 private:
  transport::Endpoint& endpoint_;
  transport::OpenReply reply_;
  std::shared_ptr<transport::Session> session_;  // shared by Endpoint's contract
  std::deque<transport::Message> replies_;
};

}  // namespace amaq::test

#endif  // AMAQ_TESTS_SUPPORT_DIRECT_LINK_H_
