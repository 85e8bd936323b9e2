#ifndef AMAQ_TESTS_SUPPORT_MESSAGE_BUILDER_H_
#define AMAQ_TESTS_SUPPORT_MESSAGE_BUILDER_H_

// Messages for transport tests: valid by default, contents reproducible.

#include <gtest/gtest.h>

#include <initializer_list>
#include <vector>

#include "core/rng.h"
#include "transport/message.h"

namespace amaq::test {

inline Bytes RandomBytes(size_t count, uint64_t seed) {
  Bytes bytes(count);
  for (size_t i = 0; i < count; ++i) {
    bytes[i] = static_cast<uint8_t>(PhiloxWord(seed, i));
  }
  return bytes;
}

// A FORWARD with one raw section for each size.
inline transport::Message Forward(uint64_t step, uint32_t micro_batch,
                                  std::initializer_list<size_t> sizes) {
  transport::Message message;
  message.key = {.epoch = 1, .step = step, .micro_batch = micro_batch};
  message.micro_batches = 4;
  message.loss_tokens = 100;
  message.tensor = transport::TensorSpec{.tokens = 7, .channels = 5};
  uint64_t seed = 1;
  for (const size_t size : sizes) {
    message.sections.push_back({SectionKind::kRaw, RandomBytes(size, seed++)});
  }
  return message;
}

inline void ExpectEqual(const transport::Message& a, const transport::Message& b) {
  EXPECT_EQ(a.key, b.key);
  EXPECT_EQ(a.micro_batches, b.micro_batches);
  EXPECT_EQ(a.loss_tokens, b.loss_tokens);
  EXPECT_EQ(a.tensor, b.tensor);
  EXPECT_EQ(a.gate, b.gate);
  EXPECT_EQ(a.item.index(), b.item.index());
  ASSERT_EQ(a.sections.size(), b.sections.size());
  for (size_t i = 0; i < a.sections.size(); ++i) {
    EXPECT_EQ(a.sections[i].kind, b.sections[i].kind);
    EXPECT_TRUE(a.sections[i].bytes == b.sections[i].bytes) << "section " << i;
  }
}

// Every item that a message can carry, with every field set to something that is not its default.
inline std::vector<transport::Item> EveryItem() {
  using namespace transport;  // NOLINT(google-build-using-namespace): seven types of one header
  return {std::monostate{},
          BackwardInfo{.loss_sum = -1.5, .tokens = 300},
          NormInfo{.finite = false},
          CommitInfo{.skip = true, .clip_scale = 0.25, .learning_rate = 4e-4, .gate_version = 9},
          CommittedInfo{.committed_steps = 12},
          AbortInfo{.reason = "calibrated"},
          EvalInfo{.loss_sum = 2.5, .tokens = 40, .correct = 17},
          DecodeInfo{.token_id = 4096},
          NonFinite{.tensor = "gradient", .token = 3, .channel = 4}};
}

}  // namespace amaq::test

#endif  // AMAQ_TESTS_SUPPORT_MESSAGE_BUILDER_H_
