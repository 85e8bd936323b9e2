#ifndef AMAQ_QUANT_RD_MODEL_H_
#define AMAQ_QUANT_RD_MODEL_H_

// What both ends of a rate-distortion coded tensor (rd.h) know of it from the messages that were
// kept: the scale of each channel, how often each symbol of each table came, centroids (integers),
// and the means of kinds of rows (fp32, single operations). The same messages leave the same model.
// Messages of a step are coded with the model as of the last Keep. Lane-bound. Source: our choice,
// docs/formats/rd.md.

#include <array>
#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <vector>

#include "core/section.h"
#include "quant/rans.h"
#include "quant/rd_memory.h"
#include "quant/rd_tables.h"
#include "quant/sample_cache.h"

namespace amaq::quant {

// Where a decoded value lies beside |q|, in 1/256 step: for |q| = 1 and above, for the tables of
// each octave of scale up to 2^3, and beyond.
inline constexpr size_t kRdCentroidGroups = 12;
using RdCentroids = std::array<std::array<int8_t, 2>, kRdCentroidGroups>;
inline size_t RdCentroidGroup(size_t table) {
  return table / 4 < kRdCentroidGroups ? table / 4 : kRdCentroidGroups - 1;
}

// What one message teaches.
struct RdCounts {
  int32_t index = 0;                   // of its step
  uint64_t row_weights = 0;            // sum over rows of RdRowWeight
  std::vector<uint64_t> channel_sums;  // [H] sum of |q|
  std::vector<uint32_t> symbols;       // as RdCountOffsets
  bool has_centroids = false;          // it gave them
  RdCentroids centroids{};
  std::vector<uint16_t> kinds;  // [R] of the rows; empty: the message names none
  std::vector<float> rows;      // [R, H] what they stand for, where it does
};

class RdModel {
 public:
  explicit RdModel(size_t channels);

  // What one of so many channels needs at most; has_memory: its rows are of kinds.
  static uint64_t LargestBytes(size_t channels, bool has_memory);

  size_t channels() const { return scales_.size(); }
  // How many Keeps changed it. At most 2^32 - 1 of them.
  uint32_t generation() const { return generation_; }
  const SymbolTables& tables() const;  // made when first asked for
  const RdCentroids& centroids() const { return centroids_; }
  const RdMemory& memory() const { return memory_; }
  // The largest kind that a message which was added has, kept or not.
  size_t num_kinds() const;
  // [H], of a message with that step index.
  std::vector<uint8_t> BasesAt(int32_t index) const;

  // A training message was sent / decoded. place: not before that of an earlier call that was
  // neither kept nor taken back.
  void Add(const MessagePlace& place, RdCounts counts);
  // The messages of the places before `place` change the model. Here and below: the first of a
  // step or attempt.
  void Keep(const MessagePlace& place);
  // Forgets the messages at `place` and after it that were not kept.
  void TakeBack(const MessagePlace& place);

  // What was kept, as bytes, the memory's means at the end, and a model that has it. Errors:
  // kDataLoss for bytes that are no state of `channels` channels.
  Bytes State() const;
  static RdModel FromState(ByteSpan state, size_t channels);

  uint64_t Digest() const;

 private:
  struct Pending {
    MessagePlace first;  // messages of one step and attempt are one entry
    RdCounts counts;     // without kinds and rows, which are in:
    RdMemoryChanges changes;
  };
  void Merge(const Pending& step);

  uint32_t generation_ = 0;
  int32_t index_ = 0;              // of the step that scales_ are relative to
  uint64_t row_weights_ = 0;       // below 2^32, as are scales_
  std::vector<uint64_t> scales_;   // [H], 16 times the decayed sum of |q|
  std::vector<uint32_t> symbols_;  // decayed counts
  RdCentroids centroids_{};
  RdMemory memory_;
  mutable std::shared_ptr<const SymbolTables> tables_;  // null: to be made of symbols_
  std::deque<Pending> pending_;
};

}  // namespace amaq::quant

#endif  // AMAQ_QUANT_RD_MODEL_H_
