#include "transport/client_exchange.h"

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/client_callback.h>

#include <algorithm>
#include <atomic>
#include <optional>
#include <utility>

#include "core/check.h"
#include "core/lane.h"
#include "core/queue.h"
#include "transport/boundary.h"
#include "transport/chunker.h"
#include "transport/exchange_stream.h"
#include "transport/frame_buffer.h"
#include "transport/limits.h"
#include "transport/link_rate.h"
#include "transport/status_convert.h"
#include "transport/stream_state.h"

namespace amaq::transport {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr const char kMethod[] = "/amaq.v1.SplitLearning/Exchange";

class ClientExchangeImpl final
    : public ClientExchange,
      public grpc::ClientBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  explicit ClientExchangeImpl(const Options& options);
  ~ClientExchangeImpl() override { ClientExchangeImpl::Close(); }

  void Send(Message message) override;
  Message Receive() override;
  void Close() override;
  std::optional<double> upload_bytes_per_second() const override {
    return upload_.bytes_per_second();
  }

  // Reactions: they only move pointers.
  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnDone(const grpc::Status& status) override;

 private:
  using State = StreamState<grpc::ByteBuffer>;

  void TakeFrame();                                                 // receive lane
  void Acknowledge(const MessageKey& key);                          // receive lane
  void SendMessage(const std::shared_ptr<const Message>& message);  // send lane
  void HalfClose();                                                 // send lane
  void Read();
  void Act(State::Next next);
  // The first error wins. The call goes on until it is cancelled or the server ends it.
  void End(Error error) AMAQ_EXCLUDES(mutex_);
  void Fail(Error error);  // End, and cancel the call
  bool WaitUntilDone(milliseconds timeout) AMAQ_EXCLUDES(mutex_);
  [[noreturn]] void ThrowEnd() const AMAQ_EXCLUDES(mutex_);
  bool HasEnded() const AMAQ_EXCLUDES(mutex_);
  void Touch() { last_activity_ = Clock::now().time_since_epoch().count(); }
  // `task` on a lane: what it throws ends the exchange.
  template <typename Task>
  void Guard(Task task) {
    try {
      task();
    } catch (...) {
      Fail(ToError(std::current_exception(), "Exchange"));
    }
  }

  const Options options_;
  grpc::GenericStub stub_;
  grpc::ClientContext context_;
  grpc::ByteBuffer read_buffer_;
  State state_;
  Assembler assembler_;    // receive lane
  uint64_t sequence_ = 0;  // send lane
  LinkRate upload_;

  std::atomic<uint64_t> verified_ = 0;
  std::atomic<Clock::rep> last_activity_;
  std::atomic<bool> broken_ = false;  // nothing can be sent any more

  mutable Mutex mutex_;
  CondVar changed_;
  std::optional<Error> end_ AMAQ_GUARDED_BY(mutex_);
  bool done_ AMAQ_GUARDED_BY(mutex_) = false;
  bool closing_ AMAQ_GUARDED_BY(mutex_) = false;

  BoundedQueue<Message> received_;
  Lane receive_;
  Lane send_;
};

// Tasks catch what they throw: a lane never ends by an exception.
void NeverThrows(std::exception_ptr) { AMAQ_CHECK(false); }

ClientExchangeImpl::ClientExchangeImpl(const Options& options)
    : options_(options),
      stub_(options.channel),
      assembler_(options.max_message_bytes),
      last_activity_(Clock::now().time_since_epoch().count()),
      received_(options.queue_messages),
      // One read is outstanding and one buffer parsed: a reaction never waits for room.
      receive_("receive", 8, NeverThrows),
      send_("send", options.queue_messages, NeverThrows) {
  context_.AddMetadata(kSessionMetadata, options.session_id);
  context_.AddMetadata(kEpochMetadata, StrCat(options.epoch));
  stub_.PrepareBidiStreamingCall(&context_, kMethod, {}, this);
  {
    // The call hands this object to threads of gRPC by means that the thread sanitizer cannot see;
    // with OnDone's this lock makes it visible.
    MutexLock lock(mutex_);
  }
  AddHold();  // operations are started by our lanes; given back when the state says kFinish
  StartRead(&read_buffer_);
  StartCall();
}

void ClientExchangeImpl::Read() {
  if (!state_.BeginStart()) return;
  StartRead(&read_buffer_);
  Act(state_.EndStart());
}

void ClientExchangeImpl::OnReadDone(bool ok) {
  Touch();
  receive_.Post([this, ok] {
    if (ok) {
      Guard([this] { TakeFrame(); });
    } else {
      Act(state_.Abandon());
    }
  });
}

void ClientExchangeImpl::TakeFrame() {
  grpc::ByteBuffer buffer;
  buffer.Swap(&read_buffer_);
  Read();  // the next one comes in while this one is parsed
  std::optional<Message> message;
  WithFrame(buffer, [&](const Frame& frame) {
    options_.meter->CountFrames(Way::kDown, frame.key.phase, buffer.Length() + kGrpcPrefixBytes);
    upload_.Acknowledged(frame.ack, Clock::now());
    message = assembler_.Add(frame);
    options_.meter->CountCopied(PayloadBytes(frame));
  });
  verified_ = assembler_.verified();
  if (!message || message->key.phase == Phase::kProgress) return;
  if (options_.measures_link) Acknowledge(message->key);
  options_.capture->Store(*message, Way::kDown);
  received_.Push(*std::move(message));
}

// A frame without contents that carries verified_. With a full send lane others will carry it.
void ClientExchangeImpl::Acknowledge(const MessageKey& key) {
  auto progress = std::make_shared<Message>();
  progress->key = key;
  progress->key.phase = Phase::kProgress;
  send_.TryPost([this, shared = std::shared_ptr<const Message>(std::move(progress))] {
    Guard([&] { SendMessage(shared); });
  });
}

void ClientExchangeImpl::OnWriteDone(bool ok) {
  Touch();
  if (!ok) broken_ = true;
  Act(state_.Written(ok));
}

void ClientExchangeImpl::Act(State::Next next) {
  if (next == State::Next::kWrite) StartWrite(state_.current());
  if (next == State::Next::kFinish) RemoveHold();
}

void ClientExchangeImpl::OnDone(const grpc::Status& status) {
  {
    MutexLock lock(mutex_);
    broken_ = true;
    if (!end_) {
      end_ = status.ok() ? Error(Code::kUnavailable, StrCat("the exchange with the server at ",
                                                            options_.address, " ended"))
                         : FromCall(status, "the exchange", options_.address);
    }
  }
  received_.Close();
  MutexLock lock(mutex_);
  done_ = true;
  changed_.NotifyAll();
}

void ClientExchangeImpl::End(Error error) {
  MutexLock lock(mutex_);
  if (!end_) end_ = std::move(error);
}

void ClientExchangeImpl::Fail(Error error) {
  End(std::move(error));
  broken_ = true;
  received_.Close();
  context_.TryCancel();
}

bool ClientExchangeImpl::HasEnded() const {
  MutexLock lock(mutex_);
  return end_.has_value();
}

void ClientExchangeImpl::ThrowEnd() const {
  MutexLock lock(mutex_);
  throw Error(*end_);
}

void ClientExchangeImpl::Send(Message message) {
  if (HasEnded()) ThrowEnd();
  message.key.epoch = options_.epoch;
  // Shared with gRPC, which frees the slices that point into it.
  auto shared = std::make_shared<const Message>(std::move(message));
  const bool posted =
      send_.Post([this, shared = std::move(shared)] { Guard([&] { SendMessage(shared); }); });
  if (!posted) ThrowEnd();
}

void ClientExchangeImpl::SendMessage(const std::shared_ptr<const Message>& message) {
  if (broken_) return;
  options_.capture->Store(*message, Way::kUp);
  Chunker chunker(*message, ++sequence_, options_.chunk_bytes);
  const bool is_acknowledged = message->key.phase != Phase::kProgress;
  if (options_.measures_link && is_acknowledged) {
    upload_.Sent(sequence_, WireBytes(*message, options_.chunk_bytes), Clock::now());
  }
  while (!chunker.done() && !broken_) {
    grpc::ByteBuffer buffer = FrameToBuffer(chunker.Next(verified_), message);
    options_.meter->CountFrames(Way::kUp, message->key.phase, buffer.Length() + kGrpcPrefixBytes);
    Act(state_.Offer(std::move(buffer)));
  }
}

Message ClientExchangeImpl::Receive() {
  const auto entry = Clock::now();
  while (true) {
    const auto last = std::max(entry, Clock::time_point(Clock::duration(last_activity_)));
    const auto left =
        std::chrono::ceil<milliseconds>(last + options_.silence_timeout - Clock::now());
    if (left.count() <= 0) break;
    std::optional<Message> message = received_.PopFor(left);
    if (message) return *std::move(message);
    if (received_.closed()) {
      // Between the two calls the last message may have come in.
      message = received_.Pop();
      if (message) return *std::move(message);
      ThrowEnd();
    }
  }
  Fail({Code::kDeadlineExceeded,
        StrCat("the server at ", options_.address, " sent nothing for ",
               options_.silence_timeout.count(), " ms (wire.silence_timeout)")});
  ThrowEnd();
}

void ClientExchangeImpl::HalfClose() {
  if (broken_) return;
  state_.WaitUntilWritten();
  broken_ = true;  // a message that comes now would be written after the end
  if (!state_.BeginStart()) return;
  StartWritesDone();
  Act(state_.EndStart());
}

bool ClientExchangeImpl::WaitUntilDone(milliseconds timeout) {
  const auto deadline = Clock::now() + timeout;
  MutexLock lock(mutex_);
  while (!done_) {
    const auto left = std::chrono::ceil<milliseconds>(deadline - Clock::now());
    if (left.count() <= 0) return false;
    changed_.WaitFor(mutex_, left);
  }
  return true;
}

void ClientExchangeImpl::Close() {
  {
    MutexLock lock(mutex_);
    if (std::exchange(closing_, true)) return;
  }
  End({Code::kCancelled, "the link was closed"});
  received_.Close();
  // With a full queue the server is not reading: there is nothing to wait for.
  if (!send_.TryPost([this] { HalfClose(); }) || !WaitUntilDone(options_.close_timeout)) {
    context_.TryCancel();
  }
  {
    MutexLock lock(mutex_);
    while (!done_) changed_.Wait(mutex_);
  }
  send_.Finish();
  receive_.Finish();
}

}  // namespace

std::unique_ptr<ClientExchange> ClientExchange::Create(const Options& options) {
  return std::make_unique<ClientExchangeImpl>(options);
}

}  // namespace amaq::transport
