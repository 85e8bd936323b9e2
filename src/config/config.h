#ifndef AMAQ_CONFIG_CONFIG_H_
#define AMAQ_CONFIG_CONFIG_H_

// Everything that can be set, as plain structs with their defaults. fields.h lists the paths,
// ranges and help of each member once; YAML, flags, validation, dump and docs/config.md walk that
// list. The client's file describes the run, the server's file the deployment: of the sections that
// both have, each party accepts only the keys that concern it (client_fields.cc, server_fields.cc).
// After load.h all paths are absolute. Value types.

#include <cstdint>
#include <string>
#include <vector>

#include "config/train_config.h"

namespace amaq::config {

struct ModelConfig {
  std::string model_name_or_path;  // HF directory or .gguf file; relative to the config file
  std::string hub_name;            // written as base_model_name_or_path when set
  std::string dtype = "fp32";      // compute dtype: fp32 | bf16
  bool allow_mixed_formats = false;
  bool operator==(const ModelConfig&) const = default;
};

struct SplitConfig {
  uint32_t client_blocks = 0;  // client: embedding and blocks 0...k-1
  bool operator==(const SplitConfig&) const = default;
};

struct LoraConfig {
  uint32_t r = 8;
  double lora_alpha = 16;
  double lora_dropout = 0;
  bool use_rslora = false;
  std::vector<std::string> target_modules = {"q_proj", "v_proj"};  // or {"all-linear"}
  std::string init_from;  // folder of a PEFT adapter to start from
  bool operator==(const LoraConfig&) const = default;
};

struct GateConfig {
  std::string update = "newton";    // newton | adam
  std::string grad = "ste";         // adam: ste | fisher
  std::string freeze = "measured";  // measured | gate
  double alpha = 1;
  std::string penalty = "hinge";  // adam: hinge | mean | dual
  double penalty_beta = 1;
  bool operator==(const GateConfig&) const = default;
};

struct GradientConfig {
  std::string method = "same";          // same | rd
  std::string bits = "same";            // same | own | 2...8
  double target_bits = 3;               // own, rd
  int32_t bits_offset = 0;              // added to same
  std::string rounding = "stochastic";  // stochastic | nearest
  bool operator==(const GradientConfig&) const = default;
};

struct RdConfig {
  std::string transform = "eigen";  // none | eigen | hadamard
  double dead_zone = 0.15;
  bool memory = true;
  uint64_t fit_tokens = 0;  // 0: 60 times the hidden size
  bool operator==(const RdConfig&) const = default;
};

struct QuantConfig {
  // none | fixed | linear | waterfill | group | aqsgd | tahquant | amaq | amaq-delta | amaq-rd
  std::string method = "amaq";
  double budget_bits = 0;                    // above 0: decides what docs/config.md lists
  uint32_t bits = 4;                         // fixed, group, aqsgd, tahquant
  uint32_t group_size = 64;                  // group
  uint64_t cache_bytes = uint64_t{1} << 30;  // aqsgd, amaq-delta
  std::string cache_dir;  // client: empty: amaq-cache below the working directory
  double target_bits = 3;
  double b_min = 2, b_max = 8, b_start = 7.7;
  std::string schedule = "cosine";  // cosine | linear | constant
  double adapt_ratio = 0.15;        // of all optimizer steps
  uint64_t adapt_steps = 0;         // overrides adapt_ratio when > 0
  std::string axis = "channel";     // channel | token
  std::string range = "minmax";     // minmax | absmax | percentile | mae | delayed
  double range_percentile = 99.5;   // percentile
  double range_margin = 1.1, range_max_clipped = 0.01;  // delayed
  uint32_t sink_tokens = 1;                             // 0 | 1
  bool nested = false;
  GateConfig gate;
  RdConfig rd;
  GradientConfig gradient;
  bool operator==(const QuantConfig&) const = default;
};

struct DataConfig {
  std::string train_file;
  std::string eval_file;
  std::string prompt_template;      // "Question: {question}\nAnswer:"
  std::string completion_template;  // " {answer}"
  std::string format = "auto";      // auto | prompt-completion | alpaca | messages | template
  bool append_eos = true;
  uint32_t max_length = 512;
  uint64_t max_train_records = 0;  // 0: all
  uint64_t max_eval_records = 0;
  std::string on_bad_line = "error";  // error | skip
  bool shuffle = true;
  std::string tokenizer;  // default: the model's own
  bool operator==(const DataConfig&) const = default;
};

struct OutputConfig {
  std::string dir = "amaq-out";
  uint64_t save_steps = 0;
  bool overwrite = false;
  std::string progress = "auto";  // auto | bar | plain | none
  bool operator==(const OutputConfig&) const = default;
};

struct ServerConfig {
  std::string address =
      "127.0.0.1:7420";  // client: where to connect, or "inproc"; server: where to listen
  double connect_timeout_s = 20;
  double silence_timeout_s = 60;
  std::string port_file;  // server: the port that was bound is written here
  std::string cache_dir;  // server: where sessions cache samples; empty as quant.cache_dir
  bool operator==(const ServerConfig&) const = default;
};

struct WireConfig {
  std::string dtype = "bf16";  // raw tensors: fp32 | bf16 | fp16
  uint32_t chunk_bytes = 512 * 1024;
  std::string entropy = "off";  // client: off | on | auto
  std::string capture_dir;
  bool operator==(const WireConfig&) const = default;
};

struct SecurityConfig {
  bool allow_plaintext = false;
  bool operator==(const SecurityConfig&) const = default;
};

// The server's limits and allow-lists; a request outside them is refused naming both values.
struct LimitsConfig {
  uint32_t max_sessions = 8;
  uint32_t max_tokens = 16384;  // of a micro-batch
  uint32_t max_in_flight = 8;
  uint32_t max_rank = 256;
  uint32_t min_client_blocks = 0;
  std::vector<std::string> methods = {"none",  "fixed",    "linear", "waterfill",  "group",
                                      "aqsgd", "tahquant", "amaq",   "amaq-delta", "amaq-rd"};
  uint64_t max_cache_bytes = uint64_t{4} << 30;  // a session's quant.cache_bytes
  uint64_t max_coder_bytes = uint64_t{2} << 30;  // a session's amaq-rd and gradients by rd
  std::vector<std::string> dtypes = {"fp32", "bf16"};
  bool allow_fetch_adapter = true;
  bool operator==(const LimitsConfig&) const = default;
};

struct ClientConfig {
  ModelConfig model;
  SplitConfig split;
  LoraConfig lora;
  QuantConfig quant;
  DataConfig data;
  TrainConfig train;
  OutputConfig output;
  ServerConfig server;
  WireConfig wire;
  SecurityConfig security;
  std::string device = "cpu";
  std::string log_level = "info";  // debug | info | warning | error
  bool operator==(const ClientConfig&) const = default;
};

struct ServerFileConfig {
  ModelConfig model;
  ServerConfig server;
  LimitsConfig limits;
  WireConfig wire;
  SecurityConfig security;
  uint32_t threads = 1;
  std::string device = "cpu";
  std::string log_level = "info";
  bool operator==(const ServerFileConfig&) const = default;
};

}  // namespace amaq::config

#endif  // AMAQ_CONFIG_CONFIG_H_
