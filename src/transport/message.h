#ifndef AMAQ_TRANSPORT_MESSAGE_H_
#define AMAQ_TRANSPORT_MESSAGE_H_

// What two parties say to each other in the course of training: one tensor or one control item.
// Plain values; their protobuf form is proto/amaq/v1/frame.proto, cut into chunks by the chunker.
// Source: design "The wire", sections 2 and 4 (our choice).

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "core/dtype.h"
#include "core/section.h"

namespace amaq::transport {

// On the wire; never renumber.
enum class Phase : uint32_t {
  kForward = 1,
  kBackward = 2,
  kNorm = 3,
  kCommit = 4,
  kCommitted = 5,
  kAbort = 6,
  kEvaluate = 7,
  kDecode = 8,
  kProgress = 9,
  kBasis = 10,  // client: the transform of amaq-rd, before anything that is coded with it
};
std::string_view PhaseName(Phase phase);  // "FORWARD" and so on

// On the wire; never renumber.
enum class Direction : uint32_t { kForward = 1, kBackward = 2 };

// Names a message within a session. Two messages with the same key must have the same bytes.
struct MessageKey {
  uint32_t epoch = 0;  // fencing epoch of the connection, raised by each reconnect
  uint64_t step = 0;   // optimizer step, from 0
  uint32_t attempt = 0;
  uint32_t micro_batch = 0;
  Phase phase = Phase::kForward;
  uint64_t request_id = 0;  // EVALUATE and DECODE only
  bool operator==(const MessageKey&) const = default;
};
std::string ToString(const MessageKey& key);  // "FORWARD step 3.0 micro-batch 1"

struct TensorSpec {
  uint64_t tokens = 0;        // N of the micro-batch, all segments
  uint32_t channels = 0;      // H
  DType dtype = DType::kF32;  // of a raw section; of the sender's tensor otherwise
  uint32_t cut = 0;
  Direction direction = Direction::kForward;
  bool operator==(const TensorSpec&) const = default;
};

// On the wire; never renumber.
enum class GatePhase : uint32_t { kNone = 0, kCalibrating = 1, kAdapting = 2, kFrozen = 3 };

// The sender's gate schedule, in every tensor message's header.
struct GateState {
  uint64_t version = 0;  // of the widths this message is coded with; 0: no widths (raw)
  GatePhase phase = GatePhase::kNone;
  double target_bits = 0;
  uint64_t decoded_version = 0;  // echo: the version that the peer's last tensor was decoded with
  bool operator==(const GateState&) const = default;
};

struct BackwardInfo {
  double loss_sum = 0;  // not divided
  uint64_t tokens = 0;  // supervised tokens of the micro-batch
};
struct NormInfo {
  bool finite = true;  // the squared norms are in a kNorms section
};
struct CommitInfo {
  bool skip = false;
  double clip_scale = 1;
  double learning_rate = 0;
  uint64_t gate_version = 0;  // the client's gate version after this step
};
struct CommittedInfo {
  uint64_t committed_steps = 0;  // of the session, SKIPs included
};
struct AbortInfo {
  std::string reason;
};
struct EvalInfo {
  double loss_sum = 0;
  uint64_t tokens = 0;
  uint64_t correct = 0;  // argmax equals the target
};
struct DecodeInfo {
  uint32_t token_id = 0;  // greedy choice after the last row
};
// Sent instead of a tensor that cannot be coded.
struct NonFinite {
  std::string tensor;  // "activation", "gradient", "loss", "norm"
  uint64_t token = 0;
  uint32_t channel = 0;
};
using Item = std::variant<std::monostate, BackwardInfo, NormInfo, CommitInfo, CommittedInfo,
                          AbortInfo, EvalInfo, DecodeInfo, NonFinite>;

struct Message {
  MessageKey key;
  uint32_t micro_batches = 0;  // of the accumulated step
  uint64_t loss_tokens = 0;    // supervised tokens of the WHOLE accumulated step
  std::optional<TensorSpec> tensor;
  GateState gate;
  Item item;
  std::vector<Section> sections;
};

}  // namespace amaq::transport

#endif  // AMAQ_TRANSPORT_MESSAGE_H_
