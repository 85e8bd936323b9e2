#ifndef AMAQ_DATA_BATCH_H_
#define AMAQ_DATA_BATCH_H_

// Token batches without padding. Value types.

#include <cstdint>
#include <vector>

namespace amaq::data {

// One record, tokenized.
struct Example {
  std::vector<int32_t> tokens;  // prompt and completion, T positions
  std::vector<uint8_t>
      supervised;  // [T]: 1 where this token is to be predicted (never at position 0)
  bool truncated = false;
  uint64_t key = 0;  // names the record and how much of it is here; 0: none
};

// S sequences concatenated to N rows. Row i predicts targets[j] where target_rows[j] == i.
struct Batch {
  std::vector<int32_t> tokens;        // [N]
  std::vector<int32_t> positions;     // [N], restarting at 0 in each sequence
  std::vector<uint32_t> segments;     // [S + 1] start offsets, last one = N
  std::vector<uint32_t> target_rows;  // [K] ascending
  std::vector<uint64_t> keys;         // [S] of the examples
  std::vector<int32_t> targets;       // [K] already shifted: the token after target_rows[j]
  uint64_t num_tokens() const { return tokens.size(); }
  uint64_t num_supervised() const { return targets.size(); }
};

Batch Collate(const std::vector<const Example*>& examples);

}  // namespace amaq::data

#endif  // AMAQ_DATA_BATCH_H_
