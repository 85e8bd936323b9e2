#include "quant/rd_memory.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

#include "core/bytes.h"
#include "core/check.h"
#include "core/error.h"

namespace amaq::quant {
namespace {

constexpr uint32_t kRemembered = 64;                // rows that a mean is of, about
constexpr size_t kLargestMemory = size_t{1} << 24;  // elements
constexpr size_t kComparedChannels = 128;
constexpr size_t kStride = 16;  // channels that are looked at before a kind can be left out
// A row further from all means than this is of a new kind: mean over the compared channels of the
// squared distance in units of the noise.
constexpr float kFar = 0.7f;

// How much of a mean of `count` rows is believed.
float Belief(uint32_t count) {
  const auto twice = static_cast<float>(2 * count);
  return twice / (twice + 1);
}

// The channels that vary most, at most kComparedChannels of them, the largest first.
std::vector<size_t> ComparedChannels(std::span<const float> y, size_t channels) {
  std::vector<double> energy(channels);
  for (size_t i = 0; i < y.size(); ++i) {
    energy[i % channels] += static_cast<double>(y[i]) * static_cast<double>(y[i]);
  }
  std::vector<size_t> order(channels);
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return energy[a] > energy[b]; });
  order.resize(std::min(channels, kComparedChannels));
  return order;
}

// Squared distance of two reduced rows of `count` channels, whole strides.
float DistanceOf(const float* a, const float* b, size_t count) {
  std::array<float, kStride> sums{};
  for (size_t begin = 0; begin < count; begin += kStride) {
    for (size_t i = 0; i < kStride; ++i) {
      const float difference = a[begin + i] - b[begin + i];
      sums[i] += difference * difference;
    }
  }
  for (size_t half = kStride / 2; half > 0; half /= 2) {
    for (size_t i = 0; i < half; ++i) sums[i] += sums[i + half];
  }
  return sums[0];
}

// Rows in the units of the noise, reduced to the channels that are compared: the first kStride of
// them, which tell most rows apart, lie together.
class Candidates {
 public:
  Candidates(std::vector<size_t> order, std::span<const float> noise) : order_(std::move(order)) {
    for (const size_t c : order_) scales_.push_back(1 / std::sqrt(noise[c]));
  }
  size_t compared() const { return order_.size(); }
  // `factor` times the row, padded with zeros to whole strides.
  std::vector<float> Reduced(std::span<const float> row, float factor = 1) const {
    std::vector<float> reduced((order_.size() + kStride - 1) / kStride * kStride);
    for (size_t i = 0; i < order_.size(); ++i) reduced[i] = row[order_[i]] * factor * scales_[i];
    return reduced;
  }
  void Add(size_t kind, std::span<const float> reduced) {
    kinds_.push_back(static_cast<uint16_t>(kind));
    heads_.insert(heads_.end(), reduced.begin(), reduced.begin() + kStride);
    tails_.insert(tails_.end(), reduced.begin() + kStride, reduced.end());
  }

  struct Nearest {
    uint16_t kind = 0;
    float distance = std::numeric_limits<float>::infinity();
  };
  // The one whose head is nearest first: few others can be nearer than that.
  Nearest NearestTo(std::span<const float> reduced) {
    Nearest nearest;
    if (kinds_.empty()) return nearest;
    head_distances_.resize(kinds_.size());
    for (size_t k = 0; k < kinds_.size(); ++k) {
      head_distances_[k] = DistanceOf(heads_.data() + k * kStride, reduced.data(), kStride);
    }
    const auto first = static_cast<size_t>(
        std::min_element(head_distances_.begin(), head_distances_.end()) - head_distances_.begin());
    const std::span<const float> tail = reduced.subspan(kStride);
    const auto look = [&](size_t k) {
      const float distance = head_distances_[k] +
                             DistanceOf(tails_.data() + k * tail.size(), tail.data(), tail.size());
      if (distance < nearest.distance) nearest = {kinds_[k], distance};
    };
    look(first);
    for (size_t k = 0; k < kinds_.size(); ++k) {
      if (head_distances_[k] < nearest.distance && k != first) look(k);
    }
    return nearest;
  }

 private:
  std::vector<size_t> order_;
  std::vector<float> scales_;
  std::vector<uint16_t> kinds_;
  std::vector<float> heads_;  // kStride each
  std::vector<float> tails_;
  std::vector<float> head_distances_;
};

float Energy(std::span<const float> row) {
  float energy = 0;
  for (const float value : row) energy += value * value;
  return energy;
}

}  // namespace

size_t RdMemory::LargestKind(size_t channels) {
  return std::min((size_t{1} << kRdKindBits) - 1, kLargestMemory / std::max<size_t>(channels, 1));
}

RdMemory RdMemory::FromState(ByteReader* reader, size_t channels) {
  RdMemory memory(channels);
  const auto size = reader->Read<uint32_t>();
  if (size > LargestKind(channels)) {
    Throw(Code::kDataLoss, "a memory of rows has ", size, " kinds, at most ",
          LargestKind(channels));
  }
  memory.counts_.reserve(size);
  for (uint32_t i = 0; i < size; ++i) {
    memory.counts_.push_back(reader->Read<uint32_t>());
    if (memory.counts_.back() <= kRemembered) continue;
    Throw(Code::kDataLoss, "a kind of rows in a memory was seen ", memory.counts_.back(),
          " times, at most ", kRemembered);
  }
  memory.means_.reserve(std::min(size * channels, reader->remaining() / sizeof(float)));
  for (size_t i = 0; i < size * channels; ++i) {
    const auto mean = reader->Read<float>();
    if (!(mean < kRdLargestRow && mean > -kRdLargestRow)) {
      Throw(Code::kDataLoss, "a mean in a memory of rows is ", mean);
    }
    memory.means_.push_back(mean);
  }
  return memory;
}

void RdMemory::AddExpectation(uint16_t kind, float times, std::span<float> row) const {
  if (kind == 0 || kind > size()) return;
  const size_t at = size_t{kind} - 1;
  const float factor = times * Belief(counts_[at]);
  const float* mean = means_.data() + at * channels_;
  for (size_t c = 0; c < channels_; ++c) row[c] += mean[c] * factor;
}

RdMemoryChanges::Kind RdMemory::KnownKind(uint16_t kind,
                                          std::span<const RdMemoryChanges* const> earlier) const {
  for (size_t i = earlier.size(); i-- > 0;) {
    const auto found = earlier[i]->kinds.find(kind);
    if (found != earlier[i]->kinds.end()) return found->second;
  }
  if (kind > size()) return {0, std::vector<float>(channels_)};
  const auto mean = means().subspan((size_t{kind} - 1) * channels_, channels_);
  return {counts_[size_t{kind} - 1], {mean.begin(), mean.end()}};
}

void RdMemory::Learn(std::span<const uint16_t> kinds, std::span<const float> rows,
                     std::span<const RdMemoryChanges* const> earlier,
                     RdMemoryChanges* changes) const {
  AMAQ_CHECK(rows.size() == kinds.size() * channels_);
  for (size_t r = 0; r < kinds.size(); ++r) {
    if (kinds[r] == 0) continue;
    auto entry = changes->kinds.find(kinds[r]);
    if (entry == changes->kinds.end()) {
      entry = changes->kinds.emplace(kinds[r], KnownKind(kinds[r], earlier)).first;
    }
    RdMemoryChanges::Kind& known = entry->second;
    known.count = std::min(known.count + 1, kRemembered);
    const auto count = static_cast<float>(known.count);
    const float* row = rows.data() + r * channels_;
    for (size_t c = 0; c < channels_; ++c) known.mean[c] += (row[c] - known.mean[c]) / count;
  }
}

void RdMemory::Apply(const RdMemoryChanges& changes) {
  if (changes.largest() > size()) {
    counts_.resize(changes.largest());
    means_.reserve(changes.largest() * channels_);  // no more than that: it is a bound
    means_.resize(changes.largest() * channels_);
  }
  for (const auto& [kind, known] : changes.kinds) {
    counts_[size_t{kind} - 1] = known.count;
    std::copy(known.mean.begin(), known.mean.end(), means_.data() + (size_t{kind} - 1) * channels_);
  }
}

std::vector<uint16_t> FindRowKinds(std::span<const float> y, const RdKindSearch& search) {
  const size_t channels = search.noise.size();
  const size_t rows = y.size() / channels;
  Candidates candidates(ComparedChannels(y, channels), search.noise);
  const RdMemory& memory = search.memory;
  for (size_t k = 0; k < memory.size(); ++k) {
    const auto mean = memory.means().subspan(k * channels, channels);
    candidates.Add(k + 1, candidates.Reduced(mean, Belief(memory.counts()[k])));
  }
  const float far = kFar * static_cast<float>(candidates.compared());
  const size_t largest = RdMemory::LargestKind(channels);
  size_t next = search.next_kind;
  std::vector<uint16_t> kinds;
  for (size_t r = 0; r < rows; ++r) {
    const std::vector<float> row = candidates.Reduced(y.subspan(r * channels, channels));
    const auto nearest = candidates.NearestTo(row);
    if (nearest.distance > far && search.may_add && next <= largest) {
      kinds.push_back(static_cast<uint16_t>(next));
      candidates.Add(next++, row);
      continue;
    }
    kinds.push_back(nearest.distance < Energy(row) ? nearest.kind : uint16_t{0});
  }
  return kinds;
}

}  // namespace amaq::quant
