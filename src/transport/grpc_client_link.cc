#include "transport/grpc_client_link.h"

#include <grpcpp/channel.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/channel_arguments.h>

#include <algorithm>
#include <atomic>
#include <utility>

#include "amaq/v1/split_learning.grpc.pb.h"
#include "core/digest.h"
#include "core/error.h"
#include "core/log.h"
#include "transport/capture.h"
#include "transport/client_exchange.h"
#include "transport/exchange_stream.h"
#include "transport/grpc_log.h"
#include "transport/proto_convert.h"
#include "transport/status_convert.h"
#include "transport/traffic.h"

namespace amaq::transport {
namespace {

using std::chrono::milliseconds;

std::shared_ptr<grpc::Channel> Connect(const GrpcClientLink::Options& options) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);  // a connection of its own
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);             // replay is ours
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, static_cast<int>(options.ping_interval.count()));
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10000);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  // The two ends may cut chunks of different sizes, so the limit is that of the largest.
  arguments.SetMaxReceiveMessageSize(static_cast<int>(kMaxChunkBytes + kReceiveSlack));
  arguments.SetCompressionAlgorithm(GRPC_COMPRESS_NONE);
  return grpc::CreateCustomChannel(options.address, grpc::InsecureChannelCredentials(), arguments);
}

ByteSpan AsBytes(const std::string& text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

// gRPC's words for why a connection failed, in ours.
std::string ConnectReason(const grpc::Status& status) {
  const std::string& text = status.error_message();
  if (text.find("Connection refused") != std::string::npos) return "connection refused";
  if (text.find("No route to host") != std::string::npos) return "no route to the host";
  if (text.find("Network is unreachable") != std::string::npos) return "network unreachable";
  if (text.find("resol") != std::string::npos || text.find("DNS") != std::string::npos) {
    return "the name is not known";
  }
  return "no answer";
}

class GrpcClientLinkImpl final : public Link {
 public:
  explicit GrpcClientLinkImpl(const GrpcClientLink::Options& options)
      : options_(options),
        capture_(options.capture_dir),
        control_(Connect(options)),
        stub_(v1::SplitLearning::NewStub(control_)) {}

  ~GrpcClientLinkImpl() override {
    if (exchange_ != nullptr) exchange_->Close();
  }

  OpenReply Open(const OpenRequest& request) override;
  void Send(Message message) override { exchange().Send(std::move(message)); }
  Message Receive() override { return exchange().Receive(); }
  void PutAdapter(ByteSpan adapter) override;
  Bytes FetchAdapter() override;
  void Close() override;
  LinkTraffic traffic() const override { return meter_.Snapshot(); }
  std::optional<double> upload_bytes_per_second() const override {
    return exchange_ == nullptr ? std::nullopt : exchange_->upload_bytes_per_second();
  }

 private:
  ClientExchange& exchange() {
    if (exchange_ == nullptr) Throw(Code::kFailedPrecondition, "the link is not open");
    return *exchange_;
  }
  void Count(const google::protobuf::MessageLite& message) {
    meter_.CountControl(message.ByteSizeLong() + kGrpcPrefixBytes);
  }
  void SetDeadline(grpc::ClientContext* context, milliseconds timeout) {
    context->set_deadline(std::chrono::system_clock::now() + timeout);
  }

  const GrpcClientLink::Options options_;
  const Capture capture_;
  TrafficMeter meter_;
  std::shared_ptr<grpc::Channel> control_;  // shared: gRPC's own handle
  std::unique_ptr<v1::SplitLearning::Stub> stub_;
  OpenReply opened_;
  std::unique_ptr<ClientExchange> exchange_;  // set by Open, then constant
  std::atomic<bool> closed_ = false;
};

OpenReply GrpcClientLinkImpl::Open(const OpenRequest& request) {
  if (exchange_ != nullptr) Throw(Code::kFailedPrecondition, "the link is open already");
  v1::OpenRequest proto;
  ToProto(request, &proto);
  v1::OpenReply reply;
  const bool connected =
      control_->WaitForConnected(std::chrono::system_clock::now() + options_.connect_timeout);
  grpc::ClientContext context;
  // Not connected: the call only asks why.
  SetDeadline(&context, connected ? options_.control_timeout : milliseconds(1000));
  const grpc::Status status = stub_->Open(&context, proto, &reply);
  if (!connected && (status.error_code() == grpc::StatusCode::UNAVAILABLE ||
                     status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED)) {
    Throw(Code::kUnavailable, "no server at ", options_.address, ": tried for ",
          static_cast<double>(options_.connect_timeout.count()) / 1000, " s (",
          ConnectReason(status), ")");
  }
  if (!status.ok()) throw FromCall(status, "Open", options_.address);
  Count(proto);
  Count(reply);
  if (reply.understood() != UnderstoodDigest(request)) {
    Throw(Code::kFailedPrecondition, "the server at ", options_.address, " (version ",
          reply.server_version(), ") did not understand the whole request of this client (version ",
          request.client_version, ")");
  }
  opened_ = FromProto(reply);
  exchange_ = ClientExchange::Create({.channel = Connect(options_),
                                      .address = options_.address,
                                      .session_id = opened_.session_id,
                                      .epoch = opened_.epoch,
                                      .chunk_bytes = options_.chunk_bytes,
                                      .max_message_bytes = options_.max_message_bytes,
                                      .queue_messages = options_.queue_messages,
                                      .measures_link = options_.measures_link,
                                      .silence_timeout = options_.silence_timeout,
                                      .close_timeout = options_.close_timeout,
                                      .capture = &capture_,
                                      .meter = &meter_});
  return opened_;
}

void GrpcClientLinkImpl::PutAdapter(ByteSpan adapter) {
  exchange();
  if (adapter.empty()) Throw(Code::kInvalidArgument, "the adapter to send is empty");
  grpc::ClientContext context;
  context.AddMetadata(kSessionMetadata, opened_.session_id);
  context.AddMetadata(kEpochMetadata, StrCat(opened_.epoch));
  v1::PutAdapterReply reply;
  const auto writer = stub_->PutAdapter(&context, &reply);
  const uint64_t digest = Digest(adapter);
  const size_t total_bytes = adapter.size();
  while (!adapter.empty()) {
    v1::AdapterChunk chunk;
    const size_t count = std::min<size_t>(adapter.size(), options_.chunk_bytes);
    chunk.set_data(adapter.data(), count);
    adapter = adapter.subspan(count);
    if (adapter.empty()) {
      chunk.set_total_bytes(total_bytes);
      chunk.set_digest(digest);
    }
    Count(chunk);
    if (!writer->Write(chunk)) break;  // Finish says why
  }
  writer->WritesDone();
  const grpc::Status status = writer->Finish();
  if (!status.ok()) throw FromCall(status, "PutAdapter", options_.address);
  Count(reply);
  if (reply.digest() != digest || reply.total_bytes() != total_bytes) {
    Throw(Code::kDataLoss,
          "the server received another adapter than was sent: ", reply.total_bytes(),
          " bytes instead of ", total_bytes);
  }
}

Bytes GrpcClientLinkImpl::FetchAdapter() {
  exchange();
  grpc::ClientContext context;
  v1::FetchAdapterRequest request;
  request.set_session_id(opened_.session_id);
  request.set_epoch(opened_.epoch);
  Count(request);
  const auto reader = stub_->FetchAdapter(&context, request);
  Bytes adapter;
  v1::AdapterChunk chunk;
  uint64_t total_bytes = 0;
  uint64_t digest = 0;
  while (reader->Read(&chunk)) {
    Count(chunk);
    if (adapter.size() + chunk.data().size() > options_.max_adapter_bytes) {
      context.TryCancel();
      Throw(Code::kInvalidArgument, "the server's adapter has more than ",
            options_.max_adapter_bytes, " bytes");
    }
    const ByteSpan data = AsBytes(chunk.data());
    adapter.insert(adapter.end(), data.begin(), data.end());
    total_bytes = chunk.total_bytes();
    digest = chunk.digest();
  }
  const grpc::Status status = reader->Finish();
  if (!status.ok()) throw FromCall(status, "FetchAdapter", options_.address);
  if (total_bytes != adapter.size() || digest != Digest(adapter)) {
    Throw(Code::kDataLoss, "the server's adapter arrived damaged: ", adapter.size(), " bytes of ",
          total_bytes);
  }
  return adapter;
}

void GrpcClientLinkImpl::Close() {
  if (closed_.exchange(true) || exchange_ == nullptr) return;
  exchange_->Close();
  grpc::ClientContext context;
  SetDeadline(&context, options_.close_timeout);
  v1::CloseRequest request;
  request.set_session_id(opened_.session_id);
  request.set_epoch(opened_.epoch);
  v1::CloseReply reply;
  const grpc::Status status = stub_->Close(&context, request, &reply);
  if (!status.ok()) {
    AMAQ_LOG(kDebug, "Close was not heard by ", options_.address, ": ", status.error_message());
  }
  Count(request);
  Count(reply);
}

}  // namespace

std::unique_ptr<Link> GrpcClientLink::Create(const Options& options) {
  CheckChunkBytes(options.chunk_bytes);
  RouteGrpcLog();
  return std::make_unique<GrpcClientLinkImpl>(options);
}

}  // namespace amaq::transport
