#include "transport/grpc_service.h"

#include <grpcpp/ext/health_check_service_server_builder_option.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <algorithm>
#include <map>
#include <thread>
#include <utility>
#include <vector>

#include "amaq/v1/split_learning.grpc.pb.h"
#include "core/check.h"
#include "core/error.h"
#include "core/lane.h"
#include "transport/adapter_calls.h"
#include "transport/boundary.h"
#include "transport/control_pool.h"
#include "transport/exchange_stream.h"
#include "transport/grpc_log.h"
#include "transport/proto_convert.h"
#include "transport/session_slots.h"
#include "transport/status_convert.h"

namespace amaq::transport {
namespace {

constexpr const char kServiceName[] = "amaq.v1.SplitLearning";
constexpr size_t kControlThreads = 4;
constexpr size_t kControlQueue = 64;

// Exchange in raw buffers (frame_buffer.h), the rest in generated messages.
template <typename Base>
using WithExchange = v1::SplitLearning::WithRawCallbackMethod_Exchange<Base>;
template <typename Base>
using WithControl =
    v1::SplitLearning::WithCallbackMethod_Open<v1::SplitLearning::WithCallbackMethod_PutAdapter<
        v1::SplitLearning::WithCallbackMethod_FetchAdapter<
            v1::SplitLearning::WithCallbackMethod_Close<Base>>>>;
using Service = WithExchange<WithControl<v1::SplitLearning::Service>>;

class GrpcServerImpl final : public GrpcServer, private Service {
 public:
  explicit GrpcServerImpl(const Options& options);
  ~GrpcServerImpl() override { GrpcServerImpl::Shutdown(); }

  int port() const override { return port_; }
  void Shutdown() override;

 private:
  using Context = grpc::CallbackServerContext;

  grpc::ServerUnaryReactor* Open(Context* context, const v1::OpenRequest* request,
                                 v1::OpenReply* reply) override;
  grpc::ServerUnaryReactor* Close(Context* context, const v1::CloseRequest* request,
                                  v1::CloseReply* reply) override;
  ExchangeStream::Reactor* Exchange(Context* context) override;
  grpc::ServerReadReactor<v1::AdapterChunk>* PutAdapter(Context* context,
                                                        v1::PutAdapterReply* reply) override {
    return StartPutAdapter(adapter_calls_, context, reply);
  }
  grpc::ServerWriteReactor<v1::AdapterChunk>* FetchAdapter(
      Context*, const v1::FetchAdapterRequest* request) override {
    return StartFetchAdapter(adapter_calls_, *request);
  }

  // `work` runs in the control pool; what it throws becomes the status.
  grpc::ServerUnaryReactor* Unary(Context* context, const char* name, std::function<void()> work);
  void Listen();
  void Watch();
  std::vector<std::shared_ptr<ExchangeStream>> Streams() AMAQ_EXCLUDES(mutex_);
  void WaitForStreams();

  const Options options_;
  SessionSlots slots_;
  ControlPool pool_;
  const AdapterCallOptions adapter_calls_;
  std::unique_ptr<grpc::Server> server_;
  int port_ = 0;

  Mutex mutex_;
  CondVar changed_;
  bool stopping_ AMAQ_GUARDED_BY(mutex_) = false;
  bool watching_ AMAQ_GUARDED_BY(mutex_) = true;
  // Shared: gRPC decides when a stream ends, also while Watch or Shutdown looks at it.
  std::map<ExchangeStream*, std::shared_ptr<ExchangeStream>> streams_ AMAQ_GUARDED_BY(mutex_);
  Mutex shutdown_mutex_;  // one Shutdown at a time

  Lane reaper_;  // joins the lanes of ended streams
  std::thread watch_;
};

GrpcServerImpl::GrpcServerImpl(const Options& options)
    : options_(options),
      pool_(kControlThreads, kControlQueue),
      adapter_calls_{.endpoint = options.endpoint,
                     .slots = &slots_,
                     .pool = &pool_,
                     .chunk_bytes = options.chunk_bytes,
                     .max_adapter_bytes = options.max_adapter_bytes},
      reaper_("reaper", 1024, [](const std::exception_ptr&) { AMAQ_CHECK(false); }) {
  Listen();
  watch_ = std::thread([this] { Watch(); });
}

void GrpcServerImpl::Listen() {
  RouteGrpcLog();
  grpc::EnableDefaultHealthCheckService(true);
  grpc::ServerBuilder builder;
  builder.AddListeningPort(options_.listen, grpc::InsecureServerCredentials(), &port_);
  builder.RegisterService(static_cast<Service*>(this));
  // The two ends may cut chunks of different sizes, so the limit is that of the largest.
  builder.SetMaxReceiveMessageSize(static_cast<int>(kMaxChunkBytes + kReceiveSlack));
  builder.SetDefaultCompressionAlgorithm(GRPC_COMPRESS_NONE);
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                             static_cast<int>(options_.min_ping_interval.count()));
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  // A client that vanished without a word is noticed by the server's own pings.
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 60000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 20000);
  server_ = builder.BuildAndStart();
  if (server_ == nullptr || port_ == 0) {
    Throw(Code::kUnavailable, "cannot listen on ", options_.listen,
          ": the port is taken or the address is not one of this machine");
  }
  server_->GetHealthCheckService()->SetServingStatus(kServiceName, true);
}

grpc::ServerUnaryReactor* GrpcServerImpl::Unary(Context* context, const char* name,
                                                std::function<void()> work) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  const bool posted = pool_.TryPost([reactor, name, work = std::move(work)] {
    try {
      work();
    } catch (...) {
      reactor->Finish(ToStatus(ToError(std::current_exception(), name)));
      return;
    }
    reactor->Finish(grpc::Status::OK);
  });
  if (!posted) {
    reactor->Finish(
        {grpc::StatusCode::RESOURCE_EXHAUSTED, "the server has too many control calls waiting"});
  }
  return reactor;
}

grpc::ServerUnaryReactor* GrpcServerImpl::Open(Context* context, const v1::OpenRequest* request,
                                               v1::OpenReply* reply) {
  return Unary(context, "Open", [this, request, reply] {
    const OpenRequest understood = FromProto(*request);
    ToProto(options_.endpoint->Open(understood), reply);
    reply->set_understood(UnderstoodDigest(understood));
  });
}

grpc::ServerUnaryReactor* GrpcServerImpl::Close(Context* context, const v1::CloseRequest* request,
                                                v1::CloseReply*) {
  return Unary(context, "Close", [this, request] {
    try {
      options_.endpoint->Close(request->session_id());
    } catch (const Error& error) {
      // Its exchange ended first: closing is idempotent.
      if (error.code() != Code::kNotFound) throw;
    }
  });
}

ExchangeStream::Reactor* GrpcServerImpl::Exchange(Context* context) {
  const std::shared_ptr<ExchangeStream> stream =
      ExchangeStream::Create({.endpoint = options_.endpoint,
                              .slots = &slots_,
                              .on_done =
                                  [this](ExchangeStream* done) {
                                    reaper_.Post([this, done] {
                                      {  // after the thread that made it has entered it
                                        MutexLock lock(mutex_);
                                        AMAQ_CHECK(streams_.contains(done));
                                      }
                                      done->Join();
                                      MutexLock lock(mutex_);
                                      streams_.erase(done);
                                      changed_.NotifyAll();
                                    });
                                  },
                              .chunk_bytes = options_.chunk_bytes,
                              .max_message_bytes = options_.max_message_bytes,
                              .queue_messages = options_.queue_messages,
                              .progress_interval = options_.progress_interval,
                              .silence_timeout = options_.silence_timeout,
                              .capture_dir = options_.capture_dir},
                             context);
  bool stopping = false;
  {
    MutexLock lock(mutex_);
    stopping = stopping_;
    streams_.emplace(stream.get(), stream);
  }
  ExchangeStream::Reactor* const reactor = stream->Start();
  if (stopping) stream->Stop();
  return reactor;
}

void GrpcServerImpl::Watch() {
  const auto tick = std::max(std::chrono::milliseconds(1),
                             std::min(options_.progress_interval, options_.silence_timeout) / 4);
  while (true) {
    {
      MutexLock lock(mutex_);
      if (watching_) changed_.WaitFor(mutex_, tick);
      if (!watching_) return;
    }
    for (const auto& stream : Streams()) stream->Tick(ExchangeStream::Clock::now());
  }
}

std::vector<std::shared_ptr<ExchangeStream>> GrpcServerImpl::Streams() {
  MutexLock lock(mutex_);
  std::vector<std::shared_ptr<ExchangeStream>> streams;
  for (const auto& [raw, stream] : streams_) streams.push_back(stream);
  return streams;
}

void GrpcServerImpl::WaitForStreams() {
  const auto deadline = std::chrono::steady_clock::now() + options_.drain_timeout;
  MutexLock lock(mutex_);
  while (!streams_.empty()) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        deadline - std::chrono::steady_clock::now());
    if (left.count() <= 0) return;
    changed_.WaitFor(mutex_, left);
  }
}

void GrpcServerImpl::Shutdown() {
  MutexLock one(shutdown_mutex_);
  {
    MutexLock lock(mutex_);
    if (std::exchange(stopping_, true)) return;
  }
  server_->GetHealthCheckService()->Shutdown();
  for (const auto& stream : Streams()) stream->Stop();
  WaitForStreams();
  server_->Shutdown(std::chrono::system_clock::now());
  pool_.Finish();
  {
    MutexLock lock(mutex_);
    watching_ = false;
    changed_.NotifyAll();
  }
  watch_.join();
  reaper_.Finish();
}

}  // namespace

bool IsLoopback(const std::string& address) {
  if (address.starts_with("unix:")) return true;
  const size_t colon = address.rfind(':');
  const std::string host = address.substr(0, colon);
  if (host == "localhost" || host == "[::1]" || host == "::1") return true;
  // A dotted quad of 127.0.0.0/8, not a name that begins like one.
  return host.starts_with("127.") && host.find_first_not_of("0123456789.") == std::string::npos;
}

std::unique_ptr<GrpcServer> GrpcServer::Create(const Options& options) {
  AMAQ_CHECK(options.endpoint != nullptr);
  CheckChunkBytes(options.chunk_bytes);
  if (!options.allow_plaintext && !IsLoopback(options.listen)) {
    Throw(
        Code::kFailedPrecondition, "the server would listen on ", options.listen,
        " in plain text: only loopback addresses may be, unless security.allow_plaintext is true");
  }
  return std::make_unique<GrpcServerImpl>(options);
}

}  // namespace amaq::transport
