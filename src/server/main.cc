// amaq-server: the datacenter party of split fine-tuning runs.

#include <chrono>
#include <csignal>
#include <cstdio>
#include <exception>
#include <string>
#include <variant>

#include "config/load.h"
#include "core/error.h"
#include "core/log.h"
#include "io/file.h"
#include "quant/kernels.h"
#include "server/endpoint.h"
#include "tensor/bridge.h"
#include "transport/grpc_service.h"

namespace {

int Run(const amaq::config::ServerFileConfig& config) {
  amaq::SetLogLevel(amaq::ParseLogLevel(config.log_level));
  amaq::tensor::ConfigureCompute(static_cast<int>(config.threads));
  const std::string_view kernels = amaq::quant::ActiveKernelSet().name;  // refuses a wrong choice
  AMAQ_LOG(kDebug, "codec kernels: ", kernels);
  // Signals are taken by sigwait below; every thread made from here on inherits the mask.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);

  const auto endpoint = amaq::server::MakeEndpoint(config);
  amaq::transport::GrpcServer::Options options;
  options.listen = config.server.address;
  options.endpoint = endpoint.get();
  options.allow_plaintext = config.security.allow_plaintext;
  options.chunk_bytes = config.wire.chunk_bytes;
  options.silence_timeout =
      std::chrono::milliseconds(static_cast<int64_t>(config.server.silence_timeout_s * 1000));
  options.capture_dir = config.wire.capture_dir;
  const auto server = amaq::transport::GrpcServer::Create(options);
  const std::string& address = config.server.address;
  const std::string host = address.substr(0, address.rfind(':'));
  std::printf("amaq-server listens on %s:%d (model %s)\n", host.c_str(), server->port(),
              config.model.model_name_or_path.c_str());
  std::fflush(stdout);
  if (!config.server.port_file.empty()) {
    amaq::io::WriteFileAtomically(config.server.port_file,
                                  std::string_view(amaq::StrCat(server->port(), "\n")));
  }
  int signal = 0;
  sigwait(&signals, &signal);
  AMAQ_LOG(kInfo, "stopping");
  server->Shutdown();
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const auto parsed = amaq::config::ParseServerCommandLine(argc, argv);
  if (const auto* exit = std::get_if<amaq::config::Exit>(&parsed)) {
    std::fputs(exit->out_text.c_str(), stdout);
    std::fputs(exit->err_text.c_str(), stderr);
    return exit->code;
  }
  try {
    return Run(std::get<amaq::config::ServerInvocation>(parsed).config);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "amaq-server: %s\n", error.what());
    return 1;
  }
}
