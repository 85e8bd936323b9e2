#ifndef AMAQ_TRANSPORT_OPEN_H_
#define AMAQ_TRANSPORT_OPEN_H_

// What is agreed before the first step. The client's request describes the run, the server's reply
// the session and the limits of its deployment. Plain values mirrored by split_learning.proto; the
// server engine turns them into typed options and refuses what its config does not allow. Source:
// design "The wire", section 1 (our choice).

#include <cstdint>
#include <string>
#include <vector>

namespace amaq::transport {

inline constexpr uint32_t kProtocolVersion = 1;

// Identity of a base model; two parties must agree on every field.
struct ModelFingerprint {
  std::string config;         // canonical text of the model's shape
  uint64_t tensor_index = 0;  // digest of name, shape and stored type of all tensors
  uint64_t boundary = 0;      // digest of the stored bytes of the blocks at both sides of the cut
  bool operator==(const ModelFingerprint&) const = default;
};

// quant.* of the client's config, names as in the config file.
struct QuantRequest {
  std::string method = "none";
  std::string wire_dtype = "bf16";  // of raw tensors
  uint32_t bits = 8;                // fixed, group, aqsgd, tahquant
  double b_min = 2, b_max = 8, b_start = 7.7, target_bits = 3;
  std::string range = "minmax";
  uint32_t sink_tokens = 1;
  std::string gradient_bits = "same";  // "same", "own" or a number
  int32_t gradient_bits_offset = 0;
  std::string gradient_rounding = "stochastic";
  uint32_t group_size = 64;     // group
  uint64_t cache_bytes = 0;     // aqsgd, amaq-delta: of each party's cache; 0 with other methods
  std::string entropy = "off";  // wire.entropy
  double gradient_target_bits = 3;  // own, with the three below
  std::string schedule = "cosine";
  uint64_t adapt_steps = 1;
  double range_percentile = 99.5;
  std::string axis = "channel";
  uint32_t positions = 0;     // axis token: how many have a width
  double range_margin = 1.1;  // delayed, with the next: the server sends gradients
  double range_max_clipped = 0.01;
  std::string gradient_method = "same";  // same | rd, at gradient_target_bits
  bool rd_memory = false;                // amaq-rd: rows may be of kinds
};

struct LoraRequest {
  uint32_t r = 8;
  double alpha = 16;
  double dropout = 0;
  bool use_rslora = false;
  std::vector<std::string> target_modules;  // resolved leaf names, sorted
};

struct OptimizerRequest {
  double beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0;
};

struct OpenRequest {
  uint32_t protocol_min = kProtocolVersion;
  uint32_t protocol_max = kProtocolVersion;
  std::string run_id;  // [A-Za-z0-9._-]{1,64}
  std::string client_version;
  ModelFingerprint model;
  uint32_t client_blocks = 0;
  std::string compute_dtype = "fp32";
  QuantRequest quant;
  LoraRequest lora;
  OptimizerRequest optimizer;
  std::string memory_policy = "fast";
  uint64_t seed = 0;
  uint64_t max_tokens = 0;  // of a micro-batch, all segments
  uint32_t in_flight = 2;   // micro-batches
};

struct OpenReply {
  uint32_t protocol = kProtocolVersion;
  std::string session_id;  // 32 hex digits, random
  uint32_t epoch = 1;
  std::string server_version;
  uint64_t max_tokens = 0;  // limits granted
  uint32_t max_in_flight = 0;
  uint64_t committed_steps = 0;
  bool fetch_adapter_allowed = true;
  uint64_t trained_parameters = 0;  // of the server's half
};

}  // namespace amaq::transport

#endif  // AMAQ_TRANSPORT_OPEN_H_
