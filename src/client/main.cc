// amaq-client: the edge party of a split fine-tuning run.

#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <exception>
#include <variant>

#include "client/client.h"
#include "client/inproc.h"
#include "client/settings.h"
#include "config/load.h"
#include "core/error.h"
#include "core/log.h"
#include "quant/kernels.h"
#include "tensor/bridge.h"
#include "transport/grpc_client_link.h"

namespace {

// A signal handler reaches nothing else.
// NOLINTNEXTLINE(cppcoreguidelines-avoid-non-const-global-variables)
std::atomic<bool> interrupted = false;

// The first signal ends the run after the step under way, the second at once.
void OnSignal(int signal) {
  if (interrupted.exchange(true)) _exit(128 + signal);
}

std::unique_ptr<amaq::transport::Link> Connect(const amaq::config::ClientConfig& config) {
  amaq::transport::GrpcClientLink::Options options;
  options.address = config.server.address;
  options.connect_timeout =
      std::chrono::milliseconds(static_cast<int64_t>(config.server.connect_timeout_s * 1000));
  options.silence_timeout =
      std::chrono::milliseconds(static_cast<int64_t>(config.server.silence_timeout_s * 1000));
  options.chunk_bytes = config.wire.chunk_bytes;
  options.measures_link = config.wire.entropy == "auto";
  options.capture_dir = config.wire.capture_dir;
  options.queue_messages = amaq::client::QueueMessages(config);
  return amaq::transport::GrpcClientLink::Create(options);
}

int Run(const amaq::config::ClientConfig& config) {
  amaq::SetLogLevel(amaq::ParseLogLevel(config.log_level));
  amaq::tensor::ConfigureCompute(static_cast<int>(config.train.threads));
  const std::string_view kernels = amaq::quant::ActiveKernelSet().name;  // refuses a wrong choice
  AMAQ_LOG(kDebug, "codec kernels: ", kernels);
  std::signal(SIGINT, OnSignal);
  std::signal(SIGTERM, OnSignal);
  amaq::client::InprocServer inproc;
  std::unique_ptr<amaq::transport::Link> link;
  if (config.server.address == "inproc") {
    inproc = amaq::client::StartInprocServer(config);
    link = std::move(inproc.link);
  } else {
    link = Connect(config);
  }
  const auto outcome = amaq::client::RunClient(config, *link, interrupted);
  return outcome == amaq::client::RunOutcome::kDone ? 0 : 130;
}

}  // namespace

int main(int argc, char** argv) {
  const auto parsed = amaq::config::ParseClientCommandLine(argc, argv);
  if (const auto* exit = std::get_if<amaq::config::Exit>(&parsed)) {
    std::fputs(exit->out_text.c_str(), stdout);
    std::fputs(exit->err_text.c_str(), stderr);
    return exit->code;
  }
  try {
    return Run(std::get<amaq::config::ClientInvocation>(parsed).config);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "amaq-client: %s\n", error.what());
    return 1;
  }
}
