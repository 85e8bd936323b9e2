#include "transport/inproc_link.h"

#include <future>
#include <optional>
#include <utility>

#include "core/check.h"
#include "core/lane.h"
#include "core/queue.h"
#include "transport/boundary.h"
#include "transport/capture.h"
#include "transport/chunker.h"
#include "transport/traffic.h"

namespace amaq::transport {
namespace {

class InprocLinkImpl final : public Link {
 public:
  explicit InprocLinkImpl(const InprocLink::Options& options)
      : endpoint_(*options.endpoint),
        chunk_bytes_(options.chunk_bytes),
        capture_(options.capture_dir),
        replies_(options.queue_messages),
        // Tasks catch what they throw: the lane itself never ends by an exception.
        lane_("compute", options.queue_messages, [](std::exception_ptr) { AMAQ_CHECK(false); }) {}

  ~InprocLinkImpl() override { InprocLinkImpl::Close(); }

  OpenReply Open(const OpenRequest& request) override;
  void Send(Message message) override;
  Message Receive() override;
  void PutAdapter(ByteSpan adapter) override;
  Bytes FetchAdapter() override;
  void Close() override;
  LinkTraffic traffic() const override { return meter_.Snapshot(); }

 private:
  void Count(const Message& message, Way way) {
    meter_.CountFrames(way, message.key.phase, WireBytes(message, chunk_bytes_));
    capture_.Store(message, way);
  }
  void Work(Message message);
  void End(Error error) AMAQ_EXCLUDES(mutex_);
  bool HasEnded() const AMAQ_EXCLUDES(mutex_);
  [[noreturn]] void ThrowEnd() const AMAQ_EXCLUDES(mutex_);
  // Runs `work` on the session's lane and waits for it.
  void OnLane(const std::function<void()>& work);
  // Bytes of adapter chunks on a network, near enough: 5 bytes of gRPC and some 20 of fields each.
  void CountAdapter(size_t bytes) { meter_.CountControl(bytes + 25 * (bytes / chunk_bytes_ + 1)); }

  Endpoint& endpoint_;
  const uint32_t chunk_bytes_;
  const Capture capture_;
  TrafficMeter meter_;
  std::string session_id_;
  uint32_t epoch_ = 0;
  std::shared_ptr<Session> session_;  // shared by Endpoint's contract
  mutable Mutex mutex_;
  std::optional<Error> end_ AMAQ_GUARDED_BY(mutex_);
  bool closed_ AMAQ_GUARDED_BY(mutex_) = false;
  BoundedQueue<Message> replies_;
  Lane lane_;
};

OpenReply InprocLinkImpl::Open(const OpenRequest& request) {
  AMAQ_CHECK(session_ == nullptr);
  try {
    OpenReply reply = endpoint_.Open(request);
    session_ = endpoint_.Find(reply.session_id, reply.epoch);
    session_id_ = reply.session_id;
    epoch_ = reply.epoch;
    return reply;
  } catch (...) {
    throw ToError(std::current_exception(), "Open");
  }
}

void InprocLinkImpl::End(Error error) {
  {
    MutexLock lock(mutex_);
    if (!end_) end_ = std::move(error);
  }
  replies_.Close();
}

bool InprocLinkImpl::HasEnded() const {
  MutexLock lock(mutex_);
  return end_.has_value();
}

void InprocLinkImpl::ThrowEnd() const {
  MutexLock lock(mutex_);
  throw Error(*end_);
}

void InprocLinkImpl::Send(Message message) {
  if (HasEnded()) ThrowEnd();
  if (session_ == nullptr) Throw(Code::kFailedPrecondition, "Send before Open");
  message.key.epoch = epoch_;
  Count(message, Way::kUp);
  if (!lane_.Post([this, message = std::move(message)]() mutable { Work(std::move(message)); })) {
    ThrowEnd();
  }
}

void InprocLinkImpl::Work(Message message) {
  if (HasEnded()) return;
  const std::string name = ToString(message.key);
  try {
    session_->OnMessage(std::move(message), [this](Message reply) {
      reply.key.epoch = epoch_;
      Count(reply, Way::kDown);
      if (reply.key.phase != Phase::kProgress) replies_.Push(std::move(reply));
    });
  } catch (...) {
    End(ToError(std::current_exception(), name));
  }
}

Message InprocLinkImpl::Receive() {
  if (session_ == nullptr) Throw(Code::kFailedPrecondition, "Receive before Open");
  std::optional<Message> message = replies_.Pop();
  if (!message) ThrowEnd();
  return *std::move(message);
}

void InprocLinkImpl::OnLane(const std::function<void()>& work) {
  if (HasEnded()) ThrowEnd();
  if (session_ == nullptr) Throw(Code::kFailedPrecondition, "an adapter call before Open");
  std::promise<void> promise;
  const bool posted = lane_.Post([&] {
    try {
      work();
      promise.set_value();
    } catch (...) {
      promise.set_exception(std::make_exception_ptr(ToError(std::current_exception(), "adapter")));
    }
  });
  if (!posted) ThrowEnd();
  promise.get_future().get();
}

void InprocLinkImpl::PutAdapter(ByteSpan adapter) {
  OnLane([&] { session_->PutAdapter(adapter); });
  CountAdapter(adapter.size());
}

Bytes InprocLinkImpl::FetchAdapter() {
  Bytes adapter;
  OnLane([&] { adapter = session_->FetchAdapter(); });
  CountAdapter(adapter.size());
  return adapter;
}

void InprocLinkImpl::Close() {
  {
    MutexLock lock(mutex_);
    if (closed_) return;
    closed_ = true;
  }
  End({Code::kCancelled, "the link was closed"});
  lane_.Finish();
  if (session_ == nullptr) return;
  try {
    endpoint_.Close(session_id_);
  } catch (const Error&) {
    // The endpoint ended the session before: Close is idempotent.
  }
}

}  // namespace

std::unique_ptr<Link> InprocLink::Create(const Options& options) {
  AMAQ_CHECK(options.endpoint != nullptr);
  CheckChunkBytes(options.chunk_bytes);
  return std::make_unique<InprocLinkImpl>(options);
}

}  // namespace amaq::transport
