#ifndef AMAQ_TESTS_SUPPORT_SERVER_SESSION_H_
#define AMAQ_TESTS_SUPPORT_SERVER_SESSION_H_

// A session on a server's endpoint with nothing between, and messages for it made by hand.

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "client/settings.h"
#include "core/bytes.h"
#include "core/rng.h"
#include "lora/peft_adapter.h"
#include "models/loader.h"
#include "server/endpoint.h"
#include "tensor/bridge.h"
#include "tests/support/tiny_run.h"
#include "train/cut.h"
#include "train/supervision.h"
#include "transport/endpoint.h"

namespace amaq::test {

// What the client of `run` would ask for, with micro-batches of up to 64 tokens, for 10 steps.
inline transport::OpenRequest RequestOf(const TinyRun& run) {
  const models::BaseModel model = models::OpenModel(run.client.model.model_name_or_path);
  const uint32_t cut = run.client.split.client_blocks;
  return client::OpenRequestOf(run.client, "some-run", models::FingerprintOf(model, cut), 64, 10);
}

class ServerSession {
 public:
  explicit ServerSession(const TinyRun& run)
      : endpoint_(server::MakeEndpoint(run.server)), request_(RequestOf(run)) {
    Reopen();
  }

  // A fresh session on the same model.
  void Reopen() {
    const transport::OpenReply reply = endpoint_->Open(request_);
    session_ = endpoint_->Find(reply.session_id, reply.epoch);
    endpoint_->Close(reply.session_id);  // its place, not the session
  }

  std::vector<transport::Message> Send(const transport::Message& message) const {
    std::vector<transport::Message> replies;
    session_->OnMessage(message,
                        [&](transport::Message reply) { replies.push_back(std::move(reply)); });
    return replies;
  }
  transport::Session& session() const { return *session_; }
  Bytes Adapter() const { return session_->FetchAdapter(); }

 private:
  std::unique_ptr<transport::Endpoint> endpoint_;
  transport::OpenRequest request_;
  std::shared_ptr<transport::Session> session_;  // shared by Endpoint's contract
};

inline constexpr int64_t kTinyHidden = 32;

// 10 rows in two sequences, 5 of them supervised.
inline train::Supervision TinySupervision() {
  return {{0, 4, 10}, {1, 2, 6, 7, 8}, {17, 4, 60, 271, 0}};
}

inline at::Tensor TinyActivation(uint64_t seed = 1) {
  return tensor::UniformTensor(10, kTinyHidden, 1, NamedKey(seed, "activation"), at::kCPU);
}

// A FORWARD in fp32, the only micro-batch of its step unless changed.
inline transport::Message RawForward(uint64_t step = 0, uint64_t seed = 1) {
  transport::Message message;
  message.key = {1, step, 0, 0, transport::Phase::kForward, 0};
  message.micro_batches = 1;
  message.loss_tokens = 5;
  message.tensor = transport::TensorSpec{10, static_cast<uint32_t>(kTinyHidden), DType::kF32, 2,
                                         transport::Direction::kForward};
  train::CutOptions options;
  options.wire_dtype = DType::kF32;
  message.sections = train::CutCoder(options)
                         .EncodeActivation(TinyActivation(seed), TinySupervision().segments, {})
                         .sections;
  train::AppendSupervision(TinySupervision(), &message.sections);
  return message;
}

// The same coded with these widths, which are sent along.
inline transport::Message CodedForward(uint64_t version, const std::vector<uint8_t>& widths) {
  transport::Message message = RawForward();
  message.gate.version = version;
  message.sections = {{SectionKind::kWidths, widths}};
  const train::CodedTensor coded =
      train::CutCoder({}).EncodeActivation(TinyActivation(), TinySupervision().segments, widths);
  EXPECT_FALSE(coded.raw_dtype.has_value());
  message.sections.insert(message.sections.end(), coded.sections.begin(), coded.sections.end());
  train::AppendSupervision(TinySupervision(), &message.sections);
  return message;
}

inline transport::Message Commit(uint64_t step, transport::CommitInfo info) {
  transport::Message message;
  message.key = {1, step, 0, 0, transport::Phase::kCommit, 0};
  message.item = info;
  return message;
}

inline transport::Message AsRequest(transport::Message message, transport::Phase phase) {
  message.key.phase = phase;
  message.key.request_id = 1;
  return message;
}

inline Bytes& SectionOf(transport::Message& message, SectionKind kind) {
  for (Section& section : message.sections) {
    if (section.kind == kind) return section.bytes;
  }
  ADD_FAILURE() << "no section " << static_cast<uint32_t>(kind);
  return message.sections.front().bytes;
}

inline std::vector<double> NormsOf(const transport::Message& norm) {
  const Bytes* bytes = FindSection(norm.sections, SectionKind::kNorms);
  if (bytes == nullptr) return {};
  std::vector<double> norms;
  ByteReader reader(*bytes, "norms");
  while (reader.remaining() > 0) norms.push_back(reader.Read<double>());
  return norms;
}

}  // namespace amaq::test

#endif  // AMAQ_TESTS_SUPPORT_SERVER_SESSION_H_
