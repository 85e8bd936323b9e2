#include "quant/sample_cache.h"

#include <algorithm>
#include <utility>

#include "core/check.h"
#include "core/digest.h"
#include "core/error.h"

namespace amaq::quant {

SampleCache::SampleCache(std::unique_ptr<CacheStorage> storage, uint64_t max_bytes,
                         uint32_t channels)
    : storage_(std::move(storage)), max_bytes_(max_bytes), channels_(channels) {
  AMAQ_CHECK(storage_ != nullptr);
}

std::span<uint16_t> SampleCache::ValuesOf(const Entry& entry) const {
  // Offsets and sizes are even, and storage begins at a page.
  return {reinterpret_cast<uint16_t*>(memory_.data() + entry.offset),
          entry.bytes / sizeof(uint16_t)};
}

std::optional<std::span<const uint16_t>> SampleCache::Find(uint64_t key, uint64_t rows) const {
  const auto found = entries_.find(key);
  if (found == entries_.end()) return std::nullopt;
  const std::span<const uint16_t> values = ValuesOf(found->second);
  if (values.size() != rows * channels_) {
    Throw(Code::kDataLoss, "sample ", key, " is cached with ", values.size() / channels_,
          " rows, the message has ", rows);
  }
  return values;
}

void SampleCache::Put(const MessagePlace& place, uint64_t key, std::span<const uint16_t> values) {
  AMAQ_CHECK(changes_.empty() || changes_.back().place <= place);
  const uint64_t bytes = values.size_bytes();
  if (const auto stored = Find(key, values.size() / channels_)) {
    if (undo_bytes_ + bytes > 2 * max_bytes_) {
      Throw(Code::kResourceExhausted, "one step changes more of the cached samples than twice ",
            max_bytes_, " bytes, the size of the cache");
    }
    changes_.push_back({place, key, std::vector<uint16_t>(stored->begin(), stored->end())});
    undo_bytes_ += bytes;
    std::copy(values.begin(), values.end(), ValuesOf(entries_.at(key)).begin());
    return;
  }
  if (bytes > max_bytes_ - used_bytes_) return;
  memory_ = storage_->Grow(used_bytes_ + bytes);
  const Entry entry = {used_bytes_, bytes};
  std::copy(values.begin(), values.end(), ValuesOf(entry).begin());
  changes_.push_back({place, key, std::nullopt});
  entries_.emplace(key, entry);
  used_bytes_ += bytes;
}

void SampleCache::Keep(const MessagePlace& place) {
  while (!changes_.empty() && changes_.front().place < place) {
    if (changes_.front().before) undo_bytes_ -= changes_.front().before->size() * sizeof(uint16_t);
    changes_.pop_front();
  }
}

void SampleCache::TakeBack(const MessagePlace& place) {
  while (!changes_.empty() && changes_.back().place >= place) {
    const Change& change = changes_.back();
    const auto entry = entries_.find(change.key);
    AMAQ_CHECK(entry != entries_.end());
    if (change.before) {
      std::copy(change.before->begin(), change.before->end(), ValuesOf(entry->second).begin());
      undo_bytes_ -= change.before->size() * sizeof(uint16_t);
    } else {
      used_bytes_ = entry->second.offset;  // the last one stored
      entries_.erase(entry);
    }
    changes_.pop_back();
  }
}

uint64_t SampleCache::ContentDigest() const {
  std::vector<uint64_t> keys;
  for (const auto& [key, entry] : entries_) keys.push_back(key);
  std::sort(keys.begin(), keys.end());
  DigestStream digest;
  for (const uint64_t key : keys) {
    const std::span<const uint16_t> values = ValuesOf(entries_.at(key));
    digest.Update({reinterpret_cast<const uint8_t*>(&key), sizeof(key)});
    digest.Update({reinterpret_cast<const uint8_t*>(values.data()), values.size_bytes()});
  }
  return digest.value();
}

}  // namespace amaq::quant
