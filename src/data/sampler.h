#ifndef AMAQ_DATA_SAMPLER_H_
#define AMAQ_DATA_SAMPLER_H_

// The order in which records are trained on: epoch after epoch, in file order or shuffled, cut into
// micro-batches. The last micro-batch of an epoch keeps what is left over and is smaller, so every
// record is seen exactly once an epoch and no micro-batch mixes two epochs.
// A shuffle is Fisher-Yates over counter-based numbers keyed by (seed, epoch): a pure function, so
// a position is enough to resume. Its bias, at most records / 2^32, is left in. Thread-compatible.
// Source: our choice.

#include <cstdint>
#include <vector>

namespace amaq::data {

struct SamplerOptions {
  uint32_t num_records = 0;
  uint32_t batch_size = 1;  // records of a micro-batch (per_device_train_batch_size)
  bool shuffle = false;
  uint64_t seed = 0;
};

// What comes next: record `index` of the order of `epoch`. To be saved as it is.
struct SamplerPosition {
  uint64_t epoch = 0;
  uint32_t index = 0;
  bool operator==(const SamplerPosition&) const = default;
};

// The records of one epoch in order: a permutation of [0, num_records).
std::vector<uint32_t> EpochOrder(const SamplerOptions& options, uint64_t epoch);

class Sampler {
 public:
  // Errors: kInvalidArgument if there are no records or batch_size is 0.
  explicit Sampler(const SamplerOptions& options);

  // Record numbers of the next micro-batch; 1 to batch_size of them.
  std::vector<uint32_t> Next();

  SamplerPosition position() const { return position_; }
  // Errors: kOutOfRange if index is not below num_records; the position is then unchanged.
  void Seek(SamplerPosition position);

  uint64_t batches_per_epoch() const;

 private:
  const SamplerOptions options_;
  SamplerPosition position_;
  std::vector<uint32_t> order_;  // of position_.epoch
};

}  // namespace amaq::data

#endif  // AMAQ_DATA_SAMPLER_H_
