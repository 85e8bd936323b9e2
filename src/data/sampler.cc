#include "data/sampler.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "core/error.h"
#include "core/rng.h"

namespace amaq::data {

std::vector<uint32_t> EpochOrder(const SamplerOptions& options, uint64_t epoch) {
  std::vector<uint32_t> order(options.num_records);
  std::iota(order.begin(), order.end(), 0u);
  if (!options.shuffle) return order;
  const uint64_t key = NamedKey(options.seed, StrCat("data.shuffle/", epoch));
  for (uint32_t last = options.num_records; last > 1; --last) {
    const uint64_t word = PhiloxWord(key, last);
    const uint64_t chosen = (word * last) >> 32;  // in [0, last)
    std::swap(order[last - 1], order[chosen]);
  }
  return order;
}

Sampler::Sampler(const SamplerOptions& options) : options_(options) {
  if (options_.num_records == 0) Throw(Code::kInvalidArgument, "there are no records to sample");
  if (options_.batch_size == 0) {
    Throw(Code::kInvalidArgument, "the batch size must be at least 1, got 0");
  }
  order_ = EpochOrder(options_, 0);
}

std::vector<uint32_t> Sampler::Next() {
  const uint32_t left = options_.num_records - position_.index;
  const uint32_t count = std::min(options_.batch_size, left);
  const auto first = order_.begin() + position_.index;
  std::vector<uint32_t> batch(first, first + count);
  position_.index += count;
  if (position_.index == options_.num_records) {
    position_ = {position_.epoch + 1, 0};
    order_ = EpochOrder(options_, position_.epoch);
  }
  return batch;
}

void Sampler::Seek(SamplerPosition position) {
  if (position.index >= options_.num_records) {
    Throw(Code::kOutOfRange, "sampler position ", position.index, " of epoch ", position.epoch,
          " is past the ", options_.num_records, " records");
  }
  order_ = EpochOrder(options_, position.epoch);
  position_ = position;
}

uint64_t Sampler::batches_per_epoch() const {
  return (uint64_t{options_.num_records} + options_.batch_size - 1) / options_.batch_size;
}

}  // namespace amaq::data
