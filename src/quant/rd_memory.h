#ifndef AMAQ_QUANT_RD_MEMORY_H_
#define AMAQ_QUANT_RD_MEMORY_H_

// Means of the kinds of rows that a rate-distortion coded tensor (rd.h) had: both ends form them
// from what was decoded, and of a row of a known kind only the difference to its mean crosses. The
// sender finds the kinds; a receiver reads them. Nothing here knows what a row stands for. fp32,
// single operations: the same means on every machine. Memory: 4 bytes a kind and channel, at most
// 64 MiB, twice that while it grows, and as much for changes that are pending, however many rows
// made them. Lane-bound. Source: our choice, docs/formats/rd.md, docs/adr/0017.

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <vector>

namespace amaq {
class ByteReader;
}

namespace amaq::quant {

inline constexpr uint32_t kRdKindBits = 12;       // a row's kind, at most; 0: of none
inline constexpr float kRdLargestRow = 0x1p100f;  // magnitude of a value that can be learnt

// What rows change in a memory, to be applied or dropped.
struct RdMemoryChanges {
  struct Kind {
    uint32_t count = 0;
    std::vector<float> mean;  // [H]
  };
  size_t largest() const { return kinds.empty() ? 0 : kinds.rbegin()->first; }

  std::map<uint16_t, Kind> kinds;  // as they will be
};

class RdMemory {
 public:
  explicit RdMemory(size_t channels) : channels_(channels) {}
  // Of size(), counts() and means(), as they lie in a file. Errors: kDataLoss.
  static RdMemory FromState(ByteReader* reader, size_t channels);

  // The largest kind that a tensor of so many channels can have.
  static size_t LargestKind(size_t channels);

  // Kinds are 1...size().
  size_t size() const { return counts_.size(); }
  // Adds to row [H] what is known of the kind, `times` (1 or -1) its expectation; nothing for kind
  // 0 and those above size().
  void AddExpectation(uint16_t kind, float times, std::span<float> row) const;
  // rows [R, H], below kRdLargestRow, of kinds [R]; those above size() are new. earlier: changes
  // that are applied before these, from the first to the last.
  void Learn(std::span<const uint16_t> kinds, std::span<const float> rows,
             std::span<const RdMemoryChanges* const> earlier, RdMemoryChanges* changes) const;
  void Apply(const RdMemoryChanges& changes);

  std::span<const uint32_t> counts() const { return counts_; }
  std::span<const float> means() const { return means_; }  // [size(), H]

 private:
  RdMemoryChanges::Kind KnownKind(uint16_t kind,
                                  std::span<const RdMemoryChanges* const> earlier) const;

  size_t channels_;
  std::vector<uint32_t> counts_;  // of kind 1...; at most kRemembered
  std::vector<float> means_;
};

// What the sender needs to find kinds.
struct RdKindSearch {
  const RdMemory& memory;
  size_t next_kind = 1;          // the first that no message has used
  std::span<const float> noise;  // [H] mean square that a row of a known kind has left
  bool may_add = false;          // rows like no other become new kinds
};

// The kind of each row of y [R, H], finite and below kRdLargestRow: that of the nearest mean, a new
// one where that is far, 0 where none is of use. Cost O((R + 1) * kinds), on the channels that vary
// most.
std::vector<uint16_t> FindRowKinds(std::span<const float> y, const RdKindSearch& search);

}  // namespace amaq::quant

#endif  // AMAQ_QUANT_RD_MEMORY_H_
