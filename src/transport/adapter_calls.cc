#include "transport/adapter_calls.h"

#include <grpcpp/support/server_callback.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "amaq/v1/split_learning.pb.h"
#include "core/digest.h"
#include "transport/boundary.h"
#include "transport/exchange_stream.h"
#include "transport/status_convert.h"

namespace amaq::transport {
namespace {

const Error kBusy{Code::kResourceExhausted, "the server has too many control calls waiting"};

// Runs `work` on the session while no message is being worked on.
template <typename Work>
void WithSession(const AdapterCallOptions& options, const SessionName& name, Work work) {
  const std::shared_ptr<Session> session = options.endpoint->Find(name.session_id, name.epoch);
  if (session == nullptr) {
    Throw(Code::kNotFound, "there is no session ", name.session_id, " on this server");
  }
  const std::shared_ptr<SessionSlot> slot = options.slots->Get(name.session_id);
  MutexLock lock(slot->work());
  work(*session);
}

class PutAdapterCall final : public grpc::ServerReadReactor<v1::AdapterChunk> {
 public:
  PutAdapterCall(const AdapterCallOptions& options, grpc::CallbackServerContext* context,
                 v1::PutAdapterReply* reply)
      : options_(options), reply_(reply) {
    try {
      name_ = ReadSessionName(*context);
      StartRead(&chunk_);
    } catch (const Error& error) {
      Finish(ToStatus(error));
    }
  }

  void OnReadDone(bool ok) override {
    if (!ok) {
      if (!options_.pool->TryPost([this] { Put(); })) Finish(ToStatus(kBusy));
      return;
    }
    total_bytes_ += chunk_.data().size();
    if (chunk_.data().empty()) {
      Finish(ToStatus({Code::kInvalidArgument, "a chunk of the adapter is empty"}));
      return;
    }
    if (total_bytes_ > options_.max_adapter_bytes) {
      Finish(ToStatus({Code::kInvalidArgument,
                       StrCat("the adapter has ", total_bytes_, " bytes and more, the limit is ",
                              options_.max_adapter_bytes)}));
      return;
    }
    announced_bytes_ = chunk_.total_bytes();
    announced_digest_ = chunk_.digest();
    chunks_.push_back(std::move(*chunk_.mutable_data()));
    StartRead(&chunk_);
  }
  void OnDone() override { delete this; }

 private:
  void Put() {
    grpc::Status status;
    try {
      Bytes adapter;
      adapter.reserve(total_bytes_);
      for (const std::string& chunk : chunks_) {
        adapter.insert(adapter.end(), chunk.begin(), chunk.end());
      }
      chunks_.clear();
      const uint64_t digest = Digest(adapter);
      if (announced_bytes_ != adapter.size() || announced_digest_ != digest) {
        Throw(Code::kDataLoss, "the adapter arrived damaged: ", adapter.size(), " bytes of ",
              announced_bytes_, ", digest ", Hex(digest), " instead of ", Hex(announced_digest_));
      }
      WithSession(options_, name_, [&](Session& session) { session.PutAdapter(adapter); });
      reply_->set_total_bytes(adapter.size());
      reply_->set_digest(digest);
    } catch (...) {
      status = ToStatus(ToError(std::current_exception(), "PutAdapter"));
    }
    Finish(std::move(status));
  }

  const AdapterCallOptions options_;
  v1::PutAdapterReply* const reply_;
  SessionName name_;
  v1::AdapterChunk chunk_;
  std::vector<std::string> chunks_;
  uint64_t total_bytes_ = 0;
  uint64_t announced_bytes_ = 0;  // of the last chunk
  uint64_t announced_digest_ = 0;
};

class FetchAdapterCall final : public grpc::ServerWriteReactor<v1::AdapterChunk> {
 public:
  FetchAdapterCall(const AdapterCallOptions& options, const v1::FetchAdapterRequest& request)
      : options_(options), name_{request.session_id(), request.epoch()} {
    if (!options_.pool->TryPost([this] { Fetch(); })) Finish(ToStatus(kBusy));
  }

  void OnWriteDone(bool ok) override {
    if (ok && next_ < chunks_.size()) {
      StartWrite(&chunks_[next_++]);
    } else {
      Finish(ok ? grpc::Status::OK : grpc::Status::CANCELLED);
    }
  }
  void OnDone() override { delete this; }

 private:
  void Fetch() {
    try {
      Bytes adapter;
      WithSession(options_, name_, [&](Session& session) { adapter = session.FetchAdapter(); });
      Cut(adapter);
    } catch (...) {
      Finish(ToStatus(ToError(std::current_exception(), "FetchAdapter")));
      return;
    }
    StartWrite(&chunks_[next_++]);
  }

  // At least one chunk; the last one has size and digest of the whole.
  void Cut(ByteSpan adapter) {
    const uint64_t digest = Digest(adapter);
    const size_t total_bytes = adapter.size();
    do {
      const size_t count = std::min<size_t>(adapter.size(), options_.chunk_bytes);
      chunks_.emplace_back().set_data(adapter.data(), count);
      adapter = adapter.subspan(count);
    } while (!adapter.empty());
    chunks_.back().set_total_bytes(total_bytes);
    chunks_.back().set_digest(digest);
  }

  const AdapterCallOptions options_;
  const SessionName name_;
  std::vector<v1::AdapterChunk> chunks_;
  size_t next_ = 0;
};

}  // namespace

grpc::ServerReadReactor<v1::AdapterChunk>* StartPutAdapter(const AdapterCallOptions& options,
                                                           grpc::CallbackServerContext* context,
                                                           v1::PutAdapterReply* reply) {
  return new PutAdapterCall(options, context, reply);
}

grpc::ServerWriteReactor<v1::AdapterChunk>* StartFetchAdapter(
    const AdapterCallOptions& options, const v1::FetchAdapterRequest& request) {
  return new FetchAdapterCall(options, request);
}

}  // namespace amaq::transport
