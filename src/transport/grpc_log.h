#ifndef AMAQ_TRANSPORT_GRPC_LOG_H_
#define AMAQ_TRANSPORT_GRPC_LOG_H_

namespace amaq::transport {

// gRPC's own log lines become debug lines of ours: what a person must know comes as an Error.
// Process-wide, thread-safe, any number of times.
void RouteGrpcLog();

}  // namespace amaq::transport

#endif  // AMAQ_TRANSPORT_GRPC_LOG_H_
