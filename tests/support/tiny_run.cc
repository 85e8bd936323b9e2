#include "tests/support/tiny_run.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <cmath>
#include <filesystem>

#include "client/inproc.h"
#include "core/log.h"
#include "io/file.h"
#include "io/safetensors.h"
#include "tests/support/tiny_hf_model.h"

namespace amaq::test {

TinyRun::TinyRun(const std::string& name)
    : dir_(StrCat(::testing::TempDir(), "amaq-", name, "-", getpid())) {
  SetLogLevel(LogLevel::kError);
  std::filesystem::remove_all(dir_);
  const models::ModelSpec spec = TinyFileSpec();
  WriteHfModel(Path("model"), HfConfig(spec), TinyTensors(spec));
  WriteRecords(Path("train.jsonl"), 12, 1);
  WriteRecords(Path("eval.jsonl"), 5, 2);

  client.model.model_name_or_path = Path("model");
  client.split.client_blocks = 2;
  client.lora.r = 4;
  client.lora.lora_alpha = 8;
  client.lora.target_modules = {"all-linear"};
  client.quant.method = "none";
  client.wire.dtype = "fp32";
  client.data.train_file = Path("train.jsonl");
  client.data.max_length = 64;
  client.train.max_steps = 3;
  client.train.per_device_train_batch_size = 2;
  client.train.gradient_accumulation_steps = 2;
  client.train.learning_rate = 1e-2;
  client.train.max_grad_norm = 0.05;
  client.quant.cache_dir = Path("cache");
  client.output.dir = Path("out");
  client.output.progress = "none";
  client.server.address = "inproc";
  client.log_level = "error";

  server.model.model_name_or_path = Path("model");
  server.server.address = "127.0.0.1:0";
  server.server.cache_dir = Path("server-cache");
  server.log_level = "error";
}

TinyRun::~TinyRun() {
  std::error_code ignored;
  std::filesystem::remove_all(dir_, ignored);
}

client::RunOutcome Run(const config::ClientConfig& config, transport::Link& link) {
  const std::atomic<bool> interrupted = false;
  return client::RunClient(config, link, interrupted);
}

Bytes RunInproc(const config::ClientConfig& config) {
  const client::InprocServer server = client::StartInprocServer(config);
  EXPECT_EQ(Run(config, *server.link), client::RunOutcome::kDone);
  return ReadBytes(config.output.dir + "/adapter_model.safetensors");
}

Bytes ReadBytes(const std::string& path) {
  const auto file = io::MappedFile::Open(path);
  return {file->bytes().begin(), file->bytes().end()};
}

bool Exists(const std::string& path) { return std::filesystem::exists(path); }

double GreatestDifference(const Bytes& adapter, const Bytes& other) {
  const auto x = io::SafetensorsFile::FromBytes(adapter, "adapter");
  const auto y = io::SafetensorsFile::FromBytes(other, "other");
  EXPECT_EQ(x->tensors(), y->tensors());
  double greatest = 0;
  for (const io::TensorInfo& info : x->tensors()) {
    std::vector<float> a(info.num_elements);
    std::vector<float> b(info.num_elements);
    x->ReadF32(info.name, a);
    y->ReadF32(info.name, b);
    for (size_t i = 0; i < a.size(); ++i) {
      greatest = std::max(greatest, std::fabs(static_cast<double>(a[i]) - b[i]));
    }
  }
  return greatest;
}

}  // namespace amaq::test
