#ifndef AMAQ_QUANT_SAMPLE_CACHE_H_
#define AMAQ_QUANT_SAMPLE_CACHE_H_

// What the receiver saw last of each sample's activation (`m` of AQ-SGD), held alike by both
// parties: the same calls in the same order leave the same state. Rows are bf16. A sample that does
// not fit any more is never stored; nothing is evicted, because with epochs that visit the samples
// in turn the oldest is the next one wanted. Changes can be taken back message by message.
// Lane-bound. Source: AQ-SGD (arXiv 2206.01299) for m; the bound, bf16 and the undo log are ours.

#include <compare>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

namespace amaq::quant {

// Which message changed the cache; ascending in the course of a run.
struct MessagePlace {
  uint64_t step = 0;
  uint32_t attempt = 0;
  uint32_t micro_batch = 0;
  // NOLINTNEXTLINE(modernize-use-nullptr): the literal 0 is the compiler's
  auto operator<=>(const MessagePlace&) const = default;
};

// Memory that grows without moving.
class CacheStorage {
 public:
  virtual ~CacheStorage() = default;
  // The first `bytes` bytes. Errors: kResourceExhausted.
  virtual std::span<uint8_t> Grow(uint64_t bytes) = 0;
};

class SampleCache {
 public:
  // Holds up to max_bytes of rows; the undo log (in memory) at most twice as much.
  SampleCache(std::unique_ptr<CacheStorage> storage, uint64_t max_bytes, uint32_t channels);

  // [rows, H] bf16 of the sample, valid until the next change; nullopt: not stored. Errors:
  // kDataLoss when it is stored with another number of rows.
  std::optional<std::span<const uint16_t>> Find(uint64_t key, uint64_t rows) const;

  // values [rows, H] become the sample's, if it is stored or fits. place: not before that of the
  // last Put. Errors: as Find; kResourceExhausted when the undo log is full. Unchanged on error.
  void Put(const MessagePlace& place, uint64_t key, std::span<const uint16_t> values);

  // Forgets how to take back what was put before `place`.
  void Keep(const MessagePlace& place);
  // The state as it was before the first Put at or after `place`.
  void TakeBack(const MessagePlace& place);

  uint64_t used_bytes() const { return used_bytes_; }
  uint64_t undo_bytes() const { return undo_bytes_; }
  size_t num_samples() const { return entries_.size(); }
  // XXH3 of keys and rows in ascending order of key: equal caches have equal digests.
  uint64_t ContentDigest() const;

 private:
  struct Entry {
    uint64_t offset;  // bytes
    uint64_t bytes;
  };
  struct Change {
    MessagePlace place;
    uint64_t key;
    std::optional<std::vector<uint16_t>> before;  // nullopt: it was not stored
  };

  std::span<uint16_t> ValuesOf(const Entry& entry) const;

  const std::unique_ptr<CacheStorage> storage_;
  const uint64_t max_bytes_;
  const uint32_t channels_;
  std::span<uint8_t> memory_;
  uint64_t used_bytes_ = 0;  // entries lie one behind the other in the order of their first Put
  uint64_t undo_bytes_ = 0;
  std::unordered_map<uint64_t, Entry> entries_;
  std::deque<Change> changes_;
};

}  // namespace amaq::quant

#endif  // AMAQ_QUANT_SAMPLE_CACHE_H_
