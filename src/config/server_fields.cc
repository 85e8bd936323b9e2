#include "config/fields.h"

// What a server's file may say: the deployment. What a run computes is the client's matter.

namespace amaq::config {
namespace {

FieldList LimitFields(LimitsConfig* c) {
  return {
      {.key = "limits.max_sessions",
       .target = &c->max_sessions,
       .help = "Clients served at once; one more is refused.",
       .min = 1,
       .max = 1024,
       .unit = "sessions",
       .flag = "--max-sessions"},
      {.key = "limits.max_tokens",
       .target = &c->max_tokens,
       .help = "Tokens that a client may send in one micro-batch; bounds memory.",
       .min = 1,
       .max = 1 << 24,
       .unit = "tokens"},
      {.key = "limits.max_in_flight",
       .target = &c->max_in_flight,
       .help =
           "Micro-batches that a client may have under way (its train.in_flight); bounds memory.",
       .min = 1,
       .max = 64,
       .unit = "micro-batches"},
      {.key = "limits.max_rank",
       .target = &c->max_rank,
       .help = "Highest lora.r that a client may ask for.",
       .min = 1,
       .max = 1024},
      {.key = "limits.min_client_blocks",
       .target = &c->min_client_blocks,
       .help = "Fewest blocks that a client must hold itself (its split.client_blocks).",
       .min = 0,
       .max = 1024,
       .unit = "blocks"},
      {.key = "limits.methods",
       .target = &c->methods,
       .help = "Quantizers that a client may choose (its quant.method); amaq-rd also for gradients "
               "(its quant.gradient.method: rd).",
       .names = "none fixed linear waterfill group aqsgd tahquant amaq amaq-delta amaq-rd"},
      {.key = "limits.max_cache_bytes",
       .target = &c->max_cache_bytes,
       .help = "Disk space that a client may ask for to cache its samples (its quant.cache_bytes).",
       .min = 0,
       .max = 1e15,
       .unit = "bytes"},
      {.key = "limits.max_coder_bytes",
       .target = &c->max_coder_bytes,
       .help =
           "Memory that the coders of a session may need at most, by method amaq-rd and gradients "
           "by rd: it grows with the square of the model's width. All may need it "
           "limits.max_sessions times.",
       .min = 0,
       .max = 1e15,
       .unit = "bytes"},
      {.key = "limits.dtypes",
       .target = &c->dtypes,
       .help = "Compute types that a client may choose (its model.dtype).",
       .names = "fp32 bf16"},
      {.key = "limits.allow_fetch_adapter",
       .target = &c->allow_fetch_adapter,
       .help = "Hands the trained half of the adapter to the client; false: it keeps its own half "
               "only."},
  };
}

}  // namespace

FieldList FieldsOf(ServerFileConfig* config) {
  FieldList list = {
      {.key = "model.model_name_or_path",
       .target = &config->model.model_name_or_path,
       .help = "The base model: a folder in Hugging Face layout or a .gguf file; only the blocks "
               "that a client leaves to the server are read.",
       .example = "../out/quickstart/model.gguf",
       .aliases = "model_name_or_path",
       .flag = "--model",
       .is_path = true,
       .required = true},
      {.key = "model.allow_mixed_formats",
       .target = &config->model.allow_mixed_formats,
       .help = "Lets a client hold the model in another format (GGUF here, Hugging Face there)."},
      {.key = "server.address",
       .target = &config->server.address,
       .help = "Where to listen, host:port; port 0 takes a free one.",
       .example = "127.0.0.1:7420",
       .aliases = "listen",
       .flag = "--listen"},
      {.key = "server.silence_timeout_s",
       .target = &config->server.silence_timeout_s,
       .help = "A session ends when its client shows no sign of life for so long.",
       .min = 0.1,
       .max = 86400,
       .unit = "seconds"},
      {.key = "server.port_file",
       .target = &config->server.port_file,
       .help = "The port that was bound is written here once the server serves; empty: nowhere.",
       .example = "../out/server.port",
       .flag = "--port-file",
       .is_path = true},
  };
  list.push_back({.key = "server.cache_dir",
                  .target = &config->server.cache_dir,
                  .help =
                      "Folder of the sessions' cache files (methods aqsgd and amaq-delta), which "
                      "have no names and go with their sessions; empty: amaq-cache below "
                      "the working directory.",
                  .example = "../out/cache",
                  .is_path = true});
  const FieldList limits = LimitFields(&config->limits);
  list.insert(list.end(), limits.begin(), limits.end());
  const FieldList rest = {
      {.key = "wire.chunk_bytes",
       .target = &config->wire.chunk_bytes,
       .help = "Messages cross in pieces of this size at most.",
       .min = 64 * 1024,
       .max = 4 * 1024 * 1024,
       .unit = "bytes"},
      {.key = "wire.capture_dir",
       .target = &config->wire.capture_dir,
       .help = "Stores each message of the sessions in this folder, for inspection; empty: off.",
       .example = "../out/capture",
       .flag = "--capture-dir",
       .is_path = true},
      {.key = "security.allow_plaintext",
       .target = &config->security.allow_plaintext,
       .help =
           "Allows an address other than loopback without encryption; everything on the way can "
           "then be read and changed."},
      {.key = "threads",
       .target = &config->threads,
       .help = "Threads to compute with; results are bit-identical for 1.",
       .min = 1,
       .max = 1024,
       .unit = "threads",
       .flag = "--threads"},
      {.key = "device",
       .target = &config->device,
       .help = "Where the server computes.",
       .names = "cpu"},
      {.key = "log_level",
       .target = &config->log_level,
       .help = "Which log lines appear on standard error.",
       .names = "debug info warning error",
       .flag = "--log-level"},
  };
  list.insert(list.end(), rest.begin(), rest.end());
  return list;
}

}  // namespace amaq::config
