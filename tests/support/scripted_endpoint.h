#ifndef AMAQ_TESTS_SUPPORT_SCRIPTED_ENDPOINT_H_
#define AMAQ_TESTS_SUPPORT_SCRIPTED_ENDPOINT_H_

// An Endpoint whose sessions do what a test says. Without a script they echo: each message comes
// back with the phase BACKWARD. Thread-safe where Endpoint is; set the script before Open.

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "core/error.h"
#include "core/mutex.h"
#include "transport/endpoint.h"

namespace amaq::test {

using Script = std::function<void(transport::Message, const transport::Session::Reply&)>;

inline void Echo(transport::Message message, const transport::Session::Reply& reply) {
  message.key.phase = transport::Phase::kBackward;
  reply(std::move(message));
}

class ScriptedSession final : public transport::Session {
 public:
  // download_rate: where what OnDownloadRate says goes; nullptr: links are not measured.
  explicit ScriptedSession(Script script, std::atomic<double>* download_rate = nullptr)
      : script_(std::move(script)), download_rate_(download_rate) {}
  void OnMessage(transport::Message message, const Reply& reply) override {
    script_(std::move(message), reply);
  }
  void PutAdapter(ByteSpan adapter) override {
    if (adapter.size() == 1) Throw(Code::kFailedPrecondition, "the adapter does not fit");
    adapter_.assign(adapter.begin(), adapter.end());
  }
  Bytes FetchAdapter() override { return adapter_; }
  bool measures_links() const override { return download_rate_ != nullptr; }
  void OnDownloadRate(double bytes_per_second) override { *download_rate_ = bytes_per_second; }

 private:
  const Script script_;
  std::atomic<double>* const download_rate_;
  Bytes adapter_ = {42};
};

class ScriptedEndpoint final : public transport::Endpoint {
 public:
  explicit ScriptedEndpoint(Script script = Echo, std::atomic<double>* download_rate = nullptr)
      : script_(std::move(script)), download_rate_(download_rate) {}

  transport::OpenReply Open(const transport::OpenRequest& request) override {
    if (request.run_id == "refused") {
      Throw(Code::kFailedPrecondition, "lora.r is 512, this server allows at most 64");
    }
    MutexLock lock(mutex_);
    transport::OpenReply reply;
    reply.session_id = StrCat("session-", ++opened_);
    reply.server_version = "test";
    reply.max_tokens = request.max_tokens;
    reply.max_in_flight = request.in_flight;
    sessions_[reply.session_id] = std::make_shared<ScriptedSession>(script_, download_rate_);
    changed_.NotifyAll();
    return reply;
  }
  std::shared_ptr<transport::Session> Find(const std::string& session_id, uint32_t epoch) override {
    MutexLock lock(mutex_);
    const auto found = sessions_.find(session_id);
    if (found == sessions_.end()) Throw(Code::kNotFound, "there is no session ", session_id);
    if (epoch != 1) Throw(Code::kAborted, "epoch ", epoch, " is not the session's");
    return found->second;
  }
  void Close(const std::string& session_id) override {
    MutexLock lock(mutex_);
    if (sessions_.erase(session_id) == 0)
      Throw(Code::kNotFound, "there is no session ", session_id);
    changed_.NotifyAll();
  }

  size_t open_sessions() const {
    MutexLock lock(mutex_);
    return sessions_.size();
  }
  void WaitUntilClosed() {
    MutexLock lock(mutex_);
    while (!sessions_.empty()) changed_.Wait(mutex_);
  }

 private:
  const Script script_;
  std::atomic<double>* const download_rate_;
  mutable Mutex mutex_;
  CondVar changed_;
  int opened_ AMAQ_GUARDED_BY(mutex_) = 0;
  std::map<std::string, std::shared_ptr<ScriptedSession>> sessions_ AMAQ_GUARDED_BY(mutex_);
};

}  // namespace amaq::test

#endif  // AMAQ_TESTS_SUPPORT_SCRIPTED_ENDPOINT_H_
