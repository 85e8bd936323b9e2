#include "quant/rd_model.h"

#include <algorithm>
#include <utility>

#include "core/bytes.h"
#include "core/check.h"
#include "core/digest.h"
#include "core/error.h"

namespace amaq::quant {
namespace {

// What a Keep leaves of what was known: 1 - 2^-kForgetting.
constexpr uint32_t kForgetting = 2;
constexpr uint64_t kScaleUnit = 16;        // of scales_;
constexpr int32_t kWeightSixteenths = 64;  // of 256, a row of average energy, over it

constexpr uint64_t Saturated(uint64_t value) { return std::min<uint64_t>(value, UINT32_MAX); }
constexpr uint64_t Decayed(uint64_t value) { return value - (value >> kForgetting); }

SymbolTables TablesOf(std::span<const uint32_t> counts) {
  const std::span<const uint32_t> offsets = RdCountOffsets();
  std::vector<std::vector<uint16_t>> frequencies;
  for (size_t t = 0; t < kRdTables; ++t) {
    frequencies.push_back(
        RdFrequencies(t, counts.subspan(offsets[t], offsets[t + 1] - offsets[t])));
  }
  return SymbolTables(frequencies);
}

// Of all models that have counted nothing.
const std::shared_ptr<const SymbolTables>& EmptyTables() {
  static const auto tables = std::make_shared<const SymbolTables>(
      TablesOf(std::vector<uint32_t>(RdCountOffsets()[kRdTables])));
  return tables;
}

// What another message of a step adds; kinds and rows left out.
void AddCounts(const RdCounts& counts, RdCounts* sum) {
  for (size_t c = 0; c < sum->channel_sums.size(); ++c) {
    sum->channel_sums[c] = Saturated(sum->channel_sums[c] +
                                     RdScaled(counts.channel_sums[c], counts.index - sum->index));
  }
  for (size_t i = 0; i < sum->symbols.size(); ++i) {
    sum->symbols[i] =
        static_cast<uint32_t>(Saturated(uint64_t{sum->symbols[i]} + counts.symbols[i]));
  }
  sum->row_weights = Saturated(sum->row_weights + counts.row_weights);
  if (counts.has_centroids) sum->centroids = counts.centroids;
  sum->has_centroids = sum->has_centroids || counts.has_centroids;
}

}  // namespace

RdModel::RdModel(size_t channels)
    : scales_(channels),
      symbols_(RdCountOffsets()[kRdTables]),
      memory_(channels),
      tables_(EmptyTables()) {}

uint64_t RdModel::LargestBytes(size_t channels, bool has_memory) {
  const uint64_t tables =
      kRdTables * ((sizeof(SymbolTables::Slice) << 8) + (uint64_t{1} << kFrequencyBits));
  const uint64_t counts =
      sizeof(uint64_t) * uint64_t{channels} + sizeof(uint32_t) * RdCountOffsets()[kRdTables];
  // Of what was kept, twice while it grows, and of the step under way; a node of a map is below 128
  // bytes.
  const uint64_t kinds = has_memory ? RdMemory::LargestKind(channels) : 0;
  const uint64_t means = kinds * sizeof(float) * uint64_t{channels};
  return tables + 2 * counts + 3 * means + kinds * (2 * sizeof(uint32_t) + 128);
}

const SymbolTables& RdModel::tables() const {
  if (!tables_) tables_ = std::make_shared<const SymbolTables>(TablesOf(symbols_));
  return *tables_;
}

size_t RdModel::num_kinds() const {
  size_t largest = memory_.size();
  for (const Pending& entry : pending_) {
    largest = std::max(largest, entry.changes.largest());
  }
  return largest;
}

std::vector<uint8_t> RdModel::BasesAt(int32_t index) const {
  if (row_weights_ == 0) return std::vector<uint8_t>(scales_.size(), RdBaseOf(0));
  const int32_t common = index_ - index + kWeightSixteenths - RdSixteenths(row_weights_);
  std::vector<uint8_t> bases;
  for (const uint64_t scale : scales_) {
    // Half a count more, so that a channel of zeros has a scale, too.
    bases.push_back(RdBaseOf(RdSixteenths(scale + kScaleUnit / 2) + common));
  }
  return bases;
}

void RdModel::Add(const MessagePlace& place, RdCounts counts) {
  AMAQ_CHECK(counts.channel_sums.size() == scales_.size());
  const bool is_first = pending_.empty() || pending_.back().first.step != place.step ||
                        pending_.back().first.attempt != place.attempt;
  std::vector<const RdMemoryChanges*> earlier;
  for (const Pending& entry : pending_) earlier.push_back(&entry.changes);
  if (is_first) {
    pending_.push_back({place, {}, {}});
  } else {
    earlier.pop_back();
  }
  Pending& step = pending_.back();
  memory_.Learn(counts.kinds, counts.rows, earlier, &step.changes);
  counts.kinds = {};
  counts.rows = {};
  if (is_first) {
    step.counts = std::move(counts);
  } else {
    AddCounts(counts, &step.counts);
  }
}

void RdModel::Keep(const MessagePlace& place) {
  bool is_changed = false;
  for (; !pending_.empty() && pending_.front().first < place; pending_.pop_front()) {
    Merge(pending_.front());
    is_changed = true;
  }
  if (!is_changed) return;
  ++generation_;
  tables_.reset();
}

void RdModel::Merge(const Pending& step) {
  const RdCounts& counts = step.counts;
  for (size_t c = 0; c < scales_.size(); ++c) {
    const uint64_t known = RdScaled(Decayed(scales_[c]), index_ - counts.index);
    scales_[c] = Saturated(known + kScaleUnit * Saturated(counts.channel_sums[c]));
  }
  index_ = counts.index;
  row_weights_ = Saturated(Decayed(row_weights_) + counts.row_weights);
  for (size_t i = 0; i < symbols_.size(); ++i) {
    symbols_[i] = static_cast<uint32_t>(Saturated(Decayed(symbols_[i]) + counts.symbols[i]));
  }
  if (counts.has_centroids) centroids_ = counts.centroids;
  memory_.Apply(step.changes);
}

void RdModel::TakeBack(const MessagePlace& place) {
  while (!pending_.empty() && pending_.back().first >= place) pending_.pop_back();
}

Bytes RdModel::State() const {
  Bytes state;
  AppendLittleEndian(&state, generation_);
  AppendLittleEndian(&state, index_);
  AppendLittleEndian(&state, row_weights_);
  for (const uint64_t scale : scales_) AppendLittleEndian(&state, scale);
  for (const uint32_t count : symbols_) AppendLittleEndian(&state, count);
  AppendLittleEndian(&state, centroids_);
  AppendLittleEndian(&state, static_cast<uint32_t>(memory_.size()));
  for (const uint32_t count : memory_.counts()) AppendLittleEndian(&state, count);
  for (const float value : memory_.means()) AppendLittleEndian(&state, value);
  return state;
}

RdModel RdModel::FromState(ByteSpan state, size_t channels) {
  ByteReader reader(state, "the state of a rate-distortion model");
  RdModel model(channels);
  const auto read_sum = [&reader] {
    const auto value = reader.Read<uint64_t>();
    if (value == Saturated(value)) return value;
    Throw(Code::kDataLoss, "a sum in the state of a rate-distortion model is ", value, ", at most ",
          UINT32_MAX);
  };
  model.generation_ = reader.Read<uint32_t>();
  model.index_ = reader.Read<int32_t>();
  if (model.index_ < -kRdLargestIndex || model.index_ > kRdLargestIndex) {
    Throw(Code::kDataLoss, "the step index in the state of a rate-distortion model is ",
          model.index_, ", at most ", kRdLargestIndex, " in magnitude");
  }
  model.row_weights_ = read_sum();
  for (uint64_t& scale : model.scales_) scale = read_sum();
  for (uint32_t& count : model.symbols_) count = reader.Read<uint32_t>();
  model.centroids_ = reader.Read<RdCentroids>();
  model.memory_ = RdMemory::FromState(&reader, channels);
  reader.ExpectEnd();
  model.tables_.reset();
  return model;
}

uint64_t RdModel::Digest() const {
  Bytes state = State();
  for (const Pending& entry : pending_) {
    AppendLittleEndian(&state, entry.first.step);
    AppendLittleEndian(&state, entry.counts.index);
    AppendLittleEndian(&state, entry.counts.row_weights);
    for (const uint64_t sum : entry.counts.channel_sums) AppendLittleEndian(&state, sum);
    for (const uint32_t count : entry.counts.symbols) AppendLittleEndian(&state, count);
    if (entry.counts.has_centroids) AppendLittleEndian(&state, entry.counts.centroids);
    for (const auto& [kind, known] : entry.changes.kinds) {
      AppendLittleEndian(&state, kind);
      AppendLittleEndian(&state, known.count);
      for (const float value : known.mean) AppendLittleEndian(&state, value);
    }
  }
  return amaq::Digest(state);
}

}  // namespace amaq::quant
