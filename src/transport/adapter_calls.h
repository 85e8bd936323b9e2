#ifndef AMAQ_TRANSPORT_ADAPTER_CALLS_H_
#define AMAQ_TRANSPORT_ADAPTER_CALLS_H_

// The server's end of PutAdapter and FetchAdapter: each call is a reactor that deletes itself when
// it is done; the session's work happens in the control pool.

#include <cstdint>

#include "transport/control_pool.h"
#include "transport/endpoint.h"
#include "transport/session_slots.h"

namespace grpc {
class CallbackServerContext;
template <typename Request>
class ServerReadReactor;
template <typename Response>
class ServerWriteReactor;
}  // namespace grpc
namespace amaq::v1 {
class AdapterChunk;
class FetchAdapterRequest;
class PutAdapterReply;
}  // namespace amaq::v1

namespace amaq::transport {

struct AdapterCallOptions {
  Endpoint* endpoint = nullptr;  // all three outlive the call
  SessionSlots* slots = nullptr;
  ControlPool* pool = nullptr;
  uint32_t chunk_bytes = 0;
  uint64_t max_adapter_bytes = 0;
};

grpc::ServerReadReactor<v1::AdapterChunk>* StartPutAdapter(const AdapterCallOptions& options,
                                                           grpc::CallbackServerContext* context,
                                                           v1::PutAdapterReply* reply);
grpc::ServerWriteReactor<v1::AdapterChunk>* StartFetchAdapter(
    const AdapterCallOptions& options, const v1::FetchAdapterRequest& request);

}  // namespace amaq::transport

#endif  // AMAQ_TRANSPORT_ADAPTER_CALLS_H_
