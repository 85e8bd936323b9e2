#include "transport/exchange_stream.h"

#include <grpcpp/server_context.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <atomic>
#include <charconv>
#include <optional>
#include <string_view>
#include <utility>

#include "core/check.h"
#include "core/error.h"
#include "core/lane.h"
#include "core/log.h"
#include "transport/boundary.h"
#include "transport/capture.h"
#include "transport/chunker.h"
#include "transport/frame_buffer.h"
#include "transport/link_rate.h"
#include "transport/status_convert.h"
#include "transport/stream_state.h"

namespace amaq::transport {
namespace {

std::string FindMetadata(const grpc::CallbackServerContext& context, const char* key) {
  const auto found = context.client_metadata().find(key);
  if (found == context.client_metadata().end()) return {};
  return {found->second.data(), found->second.size()};
}

// A session id becomes a folder of the capture: one plain name.
bool IsPlainName(std::string_view name) {
  constexpr std::string_view kAllowed =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
  return !name.empty() && name.size() <= 64 && name[0] != '.' &&
         name.find_first_not_of(kAllowed) == std::string_view::npos;
}

class ExchangeStreamImpl final : public ExchangeStream, public ExchangeStream::Reactor {
 public:
  ExchangeStreamImpl(const Options& options, grpc::CallbackServerContext* context);

  Reactor* Start() override;
  void Tick(Clock::time_point now) override;
  void Stop() override;
  void Join() override;

  // Reactions: they only move pointers.
  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override {
    const auto on_done = options_.on_done;  // the stream may be gone before it returns
    on_done(this);
  }

 private:
  using State = StreamState<grpc::ByteBuffer>;

  // Receive lane.
  void Begin();
  void TakeFrame();
  void EndOfInput();
  void Read();
  // Compute lane.
  void Work(Message message);
  void EndAfterReplies(Error error);
  void EndIfStopped() AMAQ_EXCLUDES(mutex_);  // any lane
  // Send lane.
  void SendMessage(const std::shared_ptr<const Message>& message);
  // Any thread.
  void SendProgress(const MessageKey& key);
  Lane::Task SendTask(Message message);

  // Any thread.
  void Act(State::Next next);
  void FailNow(const Error& error);
  void SetStatus(grpc::Status status) AMAQ_EXCLUDES(mutex_);
  void Touch() { last_activity_ = Clock::now().time_since_epoch().count(); }
  template <typename Task>
  void Guard(std::string_view doing, Task task) {
    try {
      task();
    } catch (...) {
      FailNow(ToError(std::current_exception(), doing));
    }
  }

  const Options options_;
  grpc::CallbackServerContext* const context_;  // valid until OnDone
  Assembler assembler_;                         // receive lane
  std::shared_ptr<Session> session_;            // set by Begin; shared by Endpoint's contract
  std::shared_ptr<SessionSlot> slot_;
  std::optional<Capture> capture_;
  SessionName name_;
  bool measures_link_ = false;  // set by Begin
  uint64_t sequence_ = 0;       // send lane
  LinkRate download_;
  grpc::ByteBuffer read_buffer_;
  State state_;

  std::atomic<uint64_t> verified_ = 0;
  std::atomic<Clock::rep> last_activity_;
  std::atomic<bool> is_reading_ = false;         // a read is outstanding
  std::atomic<bool> is_inside_message_ = false;  // chunks of a message are missing
  std::atomic<bool> ended_ = false;              // drop everything
  std::atomic<bool> refuses_work_ = false;       // drop messages, send replies
  std::atomic<int> sends_ = 0;                   // messages on their way to or in the send lane

  Mutex mutex_;
  std::optional<grpc::Status> status_ AMAQ_GUARDED_BY(mutex_);
  std::optional<MessageKey> working_on_ AMAQ_GUARDED_BY(mutex_);
  bool stopping_ AMAQ_GUARDED_BY(mutex_) = false;

  Lane receive_;
  Lane compute_;
  Lane send_;
};

// Tasks catch what they throw: a lane never ends by an exception.
void NeverThrows(std::exception_ptr) { AMAQ_CHECK(false); }

ExchangeStreamImpl::ExchangeStreamImpl(const Options& options, grpc::CallbackServerContext* context)
    : options_(options),
      context_(context),
      assembler_(options.max_message_bytes),
      last_activity_(Clock::now().time_since_epoch().count()),
      // One read is outstanding and one buffer parsed: a reaction never waits for room.
      receive_("receive", 8, NeverThrows),
      compute_("compute", options.queue_messages, NeverThrows),
      send_("send", options.queue_messages, NeverThrows) {}

ExchangeStream::Reactor* ExchangeStreamImpl::Start() {
  Guard("Exchange", [this] { name_ = ReadSessionName(*context_); });
  receive_.Post([this] { Guard("Exchange", [this] { Begin(); }); });
  return this;
}

void ExchangeStreamImpl::Begin() {
  if (ended_) return;
  std::shared_ptr<Session> session = options_.endpoint->Find(name_.session_id, name_.epoch);
  if (session == nullptr) {
    Throw(Code::kNotFound, "there is no session ", name_.session_id, " on this server");
  }
  std::shared_ptr<SessionSlot> slot = options_.slots->Get(name_.session_id);
  std::string dir = options_.capture_dir;
  if (!dir.empty()) dir += "/" + name_.session_id;
  capture_.emplace(dir);
  if (!slot->BeginExchange()) {
    Throw(Code::kAlreadyExists, "session ", name_.session_id, " has an exchange already");
  }
  slot_ = std::move(slot);
  session_ = std::move(session);
  measures_link_ = session_->measures_links();
  Read();
}

void ExchangeStreamImpl::Read() {
  if (!state_.BeginStart()) return;
  is_reading_ = true;
  StartRead(&read_buffer_);
  Act(state_.EndStart());
}

void ExchangeStreamImpl::OnReadDone(bool ok) {
  is_reading_ = false;
  Touch();
  receive_.Post([this, ok] {
    if (ended_) return;
    Guard("Exchange", [this, ok] { ok ? TakeFrame() : EndOfInput(); });
  });
}

void ExchangeStreamImpl::TakeFrame() {
  grpc::ByteBuffer buffer;
  buffer.Swap(&read_buffer_);
  Read();  // the next one comes in while this one is parsed
  std::optional<Message> message;
  WithFrame(buffer, [&](const Frame& frame) {
    if (frame.key.epoch != name_.epoch) {
      Throw(Code::kAborted, ToString(frame.key), " is of epoch ", frame.key.epoch,
            ", the exchange is of ", name_.epoch);
    }
    download_.Acknowledged(frame.ack, Clock::now());
    message = assembler_.Add(frame);
  });
  verified_ = assembler_.verified();
  is_inside_message_ = assembler_.inside_message();
  if (!message || message->key.phase == Phase::kProgress) return;
  if (measures_link_) SendProgress(message->key);
  capture_->Store(*message, Way::kUp);
  compute_.Post([this, message = *std::move(message)]() mutable { Work(std::move(message)); });
}

void ExchangeStreamImpl::EndOfInput() {
  if (assembler_.inside_message()) Throw(Code::kDataLoss, "the exchange ended inside a message");
  compute_.Post([this] {
    send_.Post([this] {
      SetStatus(grpc::Status::OK);
      Act(state_.Finish());
    });
  });
}

void ExchangeStreamImpl::Work(Message message) {
  if (ended_ || refuses_work_) return;
  const MessageKey key = message.key;
  {
    MutexLock lock(mutex_);
    if (stopping_) return;
    working_on_ = key;
  }
  Touch();
  try {
    MutexLock work(slot_->work());
    if (const std::optional<double> rate = download_.bytes_per_second()) {
      session_->OnDownloadRate(*rate);
    }
    session_->OnMessage(std::move(message),
                        [this](Message reply) { send_.Post(SendTask(std::move(reply))); });
  } catch (...) {
    EndAfterReplies(ToError(std::current_exception(), ToString(key)));
  }
  {
    MutexLock lock(mutex_);
    working_on_.reset();
  }
  EndIfStopped();
}

void ExchangeStreamImpl::EndAfterReplies(Error error) {
  refuses_work_ = true;
  send_.Post([this, error = std::move(error)] {
    SetStatus(ToStatus(error));
    Act(state_.Finish());
  });
}

Lane::Task ExchangeStreamImpl::SendTask(Message message) {
  message.key.epoch = name_.epoch;
  ++sends_;
  // Shared with gRPC, which frees the slices that point into it.
  auto shared = std::make_shared<const Message>(std::move(message));
  return [this, shared = std::move(shared)] {
    Guard(ToString(shared->key), [&] { SendMessage(shared); });
    --sends_;
    EndIfStopped();
  };
}

void ExchangeStreamImpl::SendMessage(const std::shared_ptr<const Message>& message) {
  if (ended_) return;
  capture_->Store(*message, Way::kDown);
  Chunker chunker(*message, ++sequence_, options_.chunk_bytes);
  if (measures_link_ && message->key.phase != Phase::kProgress) {  // those are not acknowledged
    download_.Sent(sequence_, WireBytes(*message, options_.chunk_bytes), Clock::now());
  }
  while (!chunker.done() && !ended_) {
    Act(state_.Offer(FrameToBuffer(chunker.Next(verified_), message)));
  }
}

void ExchangeStreamImpl::OnWriteDone(bool ok) {
  Touch();
  if (!ok) ended_ = true;
  Act(state_.Written(ok));
}

void ExchangeStreamImpl::OnCancel() {
  SetStatus({grpc::StatusCode::CANCELLED, "the exchange was cancelled"});
  ended_ = true;
  Act(state_.Abandon());
}

void ExchangeStreamImpl::Act(State::Next next) {
  if (next == State::Next::kWrite) StartWrite(state_.current());
  if (next != State::Next::kFinish) return;
  grpc::Status status;
  {
    MutexLock lock(mutex_);
    status = status_.value_or(grpc::Status::OK);
  }
  Reactor::Finish(std::move(status));
}

void ExchangeStreamImpl::SetStatus(grpc::Status status) {
  MutexLock lock(mutex_);
  if (!status_) status_ = std::move(status);
}

void ExchangeStreamImpl::FailNow(const Error& error) {
  AMAQ_LOG(kDebug, "exchange of session ", name_.session_id, " ends: ", error.message());
  SetStatus(ToStatus(error));
  ended_ = true;
  Act(state_.Abandon());
}

void ExchangeStreamImpl::Tick(Clock::time_point now) {
  if (ended_) return;
  const auto idle = now.time_since_epoch() - Clock::duration(last_activity_);
  const bool is_writing = state_.is_writing();
  if (idle >= options_.silence_timeout && (is_writing || (is_inside_message_ && is_reading_))) {
    FailNow({Code::kDeadlineExceeded,
             StrCat("nothing moved for ",
                    std::chrono::duration_cast<std::chrono::milliseconds>(idle).count(),
                    " ms in the middle of a message")});
    // A peer that reads nothing would hold the write, and with it the end, for ever.
    if (is_writing && state_.BeginStart()) {
      context_->TryCancel();
      Act(state_.EndStart());
    }
    return;
  }
  if (idle < options_.progress_interval || sends_ > 0) return;
  MessageKey key;
  {
    MutexLock lock(mutex_);
    if (!working_on_) return;
    key = *working_on_;
  }
  Touch();
  SendProgress(key);
}

void ExchangeStreamImpl::SendProgress(const MessageKey& key) {
  Message progress;
  progress.key = key;
  progress.key.phase = Phase::kProgress;
  // Replies that overtook it and fill the lane are a better sign of life.
  if (!send_.TryPost(SendTask(std::move(progress)))) --sends_;
}

void ExchangeStreamImpl::Stop() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
  }
  EndIfStopped();
}

void ExchangeStreamImpl::EndIfStopped() {
  {
    MutexLock lock(mutex_);
    if (!stopping_ || working_on_ || sends_ > 0) return;
  }
  SetStatus({grpc::StatusCode::UNAVAILABLE, "the server is shutting down"});
  ended_ = true;
  Act(state_.Finish());
}

void ExchangeStreamImpl::Join() {
  ended_ = true;
  receive_.Finish();
  compute_.Finish();
  send_.Finish();
  if (slot_ == nullptr) return;  // refused: the session is another exchange's, or nobody's
  slot_->EndExchange();
  try {
    options_.endpoint->Close(name_.session_id);
  } catch (const Error&) {
    // The client closed it before.
  }
}

}  // namespace

SessionName ReadSessionName(const grpc::CallbackServerContext& context) {
  SessionName name;
  name.session_id = FindMetadata(context, kSessionMetadata);
  const std::string epoch = FindMetadata(context, kEpochMetadata);
  const auto [end, error] = std::from_chars(epoch.data(), epoch.data() + epoch.size(), name.epoch);
  if (!IsPlainName(name.session_id) || error != std::errc() || end != epoch.data() + epoch.size()) {
    Throw(Code::kInvalidArgument, "the call must carry ", kSessionMetadata, " and ", kEpochMetadata,
          " in its initial metadata");
  }
  return name;
}

std::unique_ptr<ExchangeStream> ExchangeStream::Create(const Options& options,
                                                       grpc::CallbackServerContext* context) {
  return std::make_unique<ExchangeStreamImpl>(options, context);
}

}  // namespace amaq::transport
