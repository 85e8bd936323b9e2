#include "transport/grpc_log.h"

#include <grpc/support/log.h>

#include "core/log.h"

namespace amaq::transport {

void RouteGrpcLog() {
  gpr_set_log_function([](gpr_log_func_args* args) { AMAQ_LOG(kDebug, "gRPC: ", args->message); });
}

}  // namespace amaq::transport
