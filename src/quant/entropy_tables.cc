#include "quant/entropy_tables.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <utility>

#include "core/bytes.h"
#include "core/error.h"
#include "quant/octet.h"

namespace amaq::quant {
namespace {

constexpr uint8_t kRelativeToZero = 1;  // bit of the flags

std::vector<std::vector<uint16_t>> Frequencies(const EntropyModel& model) {
  std::vector<std::vector<uint16_t>> frequencies;
  for (const EntropyClass& entry : model.classes) {
    for (const std::vector<uint16_t>& bins : entry.bins) {
      std::vector<uint16_t>& table = frequencies.emplace_back();
      for (const uint16_t frequency : bins) {
        table.insert(table.end(), size_t{1} << entry.shift, frequency);
      }
    }
  }
  return frequencies;
}

uint32_t MapBits(size_t num_classes) {
  return static_cast<uint32_t>(std::bit_width(num_classes - 1));
}

// Seven bits a byte, the low ones first, bit 7: more follow. At most two bytes.
void AppendShort(Bytes* out, uint32_t value) {
  if (value >= 0x80) out->push_back(static_cast<uint8_t>(value | 0x80u));
  out->push_back(static_cast<uint8_t>(value >= 0x80 ? value >> 7 : value));
}

uint32_t ReadShort(ByteReader* reader) {
  const auto low = reader->Read<uint8_t>();
  if (low < 0x80) return low;
  const auto high = reader->Read<uint8_t>();
  if (high == 0 || high >= 0x80) Throw(Code::kDataLoss, "entropy tables hold a number ill-formed");
  return (low & 0x7fu) | uint32_t{high} << 7;
}

EntropyClass ReadClass(ByteReader* reader, uint32_t row_classes) {
  EntropyClass entry;
  const auto shape = reader->Read<uint8_t>();
  entry.width = shape & 0x0fu;
  entry.shift = shape >> 4;
  if (entry.width > kLargestWidth || entry.shift > kMaxBinShift ||
      (entry.shift != 0 && entry.shift >= entry.width)) {
    Throw(Code::kDataLoss, "entropy tables name a class of width ", int{entry.width},
          " in bins of 2^", int{entry.shift}, "; widths go to 8, bins to 2^4 and below the width");
  }
  for (uint32_t t = 0; t < row_classes; ++t) {
    std::vector<uint16_t>& bins = entry.bins.emplace_back(size_t{1} << (entry.width - entry.shift));
    uint32_t sum = 0;
    for (uint16_t& frequency : bins) {
      frequency = static_cast<uint16_t>(ReadShort(reader) + 1);
      sum += frequency;
    }
    if (sum != kFrequencyTotal >> entry.shift) {
      Throw(Code::kDataLoss, "an entropy table sums to ", sum, ", it must be ",
            kFrequencyTotal >> entry.shift);
    }
  }
  return entry;
}

std::vector<uint8_t> ReadMap(ByteReader* reader, size_t num_classes, size_t channels) {
  const uint32_t bits = MapBits(num_classes);
  const ByteSpan packed = reader->Take((channels * bits + 7) / 8);
  std::vector<uint8_t> map(channels);
  for (size_t i = 0; i < packed.size() * 8; ++i) {
    const bool is_set = (packed[i / 8] >> (i % 8) & 1) != 0;
    if (i < channels * bits) {
      map[i / bits] = static_cast<uint8_t>(map[i / bits] | (is_set ? 1u << (i % bits) : 0u));
    } else if (is_set) {
      Throw(Code::kDataLoss, "the spare bits of the entropy tables' map must be 0");
    }
  }
  return map;
}

// What a symbol costs in each class of rows, in 1/256 bit: 14 * 256 at most.
using ClassCosts = std::array<uint16_t, kMaxRowClasses>;
constexpr size_t kSumsInRange = UINT16_MAX / (kFrequencyBits * 256);

uint16_t CostOf(uint16_t frequency) {
  static const std::vector<uint16_t> costs = [] {
    std::vector<uint16_t> made(kFrequencyTotal + 1, 0);
    for (size_t f = 1; f < made.size(); ++f) {
      made[f] = static_cast<uint16_t>(
          std::lround(256 * (kFrequencyBits - std::log2(static_cast<double>(f)))));
    }
    return made;
  }();
  return costs[frequency];
}

// [class of channels][symbol]
std::vector<ClassCosts> CostsOf(const EntropyTables& tables) {
  const EntropyModel& model = tables.model();
  std::vector<ClassCosts> costs(model.classes.size() << 8);
  for (size_t i = 0; i < model.classes.size(); ++i) {
    for (size_t t = 0; t < model.row_classes; ++t) {
      const SymbolTables::Slice* slices = tables.symbols().slices(i * model.row_classes + t);
      for (size_t s = 0; s < size_t{1} << model.classes[i].width; ++s) {
        costs[(i << 8) + s][t] = CostOf(slices[s].frequency);
      }
    }
  }
  return costs;
}

// Of a row, in each class. Four 16-bit sums are added as one number, which carries nothing over as
// long as they are in range.
std::array<uint64_t, kMaxRowClasses> SumCosts(std::span<const ClassCosts> costs,
                                              std::span<const uint32_t> costs_of_channel,
                                              const uint8_t* symbols) {
  using Packed = std::array<uint64_t, 2>;
  static_assert(sizeof(Packed) == sizeof(ClassCosts));
  std::array<uint64_t, kMaxRowClasses> sums{};
  for (size_t begin = 0; begin < costs_of_channel.size(); begin += kSumsInRange) {
    Packed packed{};
    for (size_t c = begin; c < std::min(begin + kSumsInRange, costs_of_channel.size()); ++c) {
      const auto cost = std::bit_cast<Packed>(costs[costs_of_channel[c] + symbols[c]]);
      packed[0] += cost[0];
      packed[1] += cost[1];
    }
    const auto part = std::bit_cast<ClassCosts>(packed);
    for (size_t t = 0; t < kMaxRowClasses; ++t) sums[t] += part[t];
  }
  return sums;
}

}  // namespace

EntropyTables::EntropyTables(EntropyModel model)
    : model_(std::move(model)), symbols_(Frequencies(model_)) {
  for (const uint8_t entry : model_.class_of_channel) {
    channel_tables_.push_back(static_cast<uint16_t>(entry * model_.row_classes));
  }
}

bool EntropyTables::Fits(std::span<const uint8_t> widths) const {
  const std::vector<uint8_t>& map = model_.class_of_channel;
  return std::equal(widths.begin(), widths.end(), map.begin(), map.end(),
                    [this](uint8_t width, uint8_t c) { return width == model_.classes[c].width; });
}

Bytes EntropyTables::Serialize() const {
  Bytes out;
  AppendLittleEndian(&out, model_.version);
  out.push_back(model_.is_relative_to_zero ? kRelativeToZero : uint8_t{0});
  out.push_back(static_cast<uint8_t>(model_.row_classes));
  out.push_back(static_cast<uint8_t>(model_.classes.size()));
  for (const EntropyClass& entry : model_.classes) {
    out.push_back(static_cast<uint8_t>(entry.width | entry.shift << 4));
    for (const std::vector<uint16_t>& bins : entry.bins) {
      for (const uint16_t frequency : bins) AppendShort(&out, frequency - 1u);
    }
  }
  const uint32_t bits = MapBits(model_.classes.size());
  const size_t first = out.size();
  out.resize(first + (model_.class_of_channel.size() * bits + 7) / 8);
  for (size_t i = 0; i < model_.class_of_channel.size() * bits; ++i) {
    const uint32_t bit = model_.class_of_channel[i / bits] >> (i % bits) & 1u;
    out[first + i / 8] = static_cast<uint8_t>(out[first + i / 8] | bit << (i % 8));
  }
  return out;
}

EntropyTables EntropyTables::Parse(ByteSpan bytes, std::span<const uint8_t> widths) {
  ByteReader reader(bytes, "the entropy tables section");
  EntropyModel model;
  model.version = reader.Read<uint32_t>();
  const auto flags = reader.Read<uint8_t>();
  model.row_classes = reader.Read<uint8_t>();
  const auto num_classes = reader.Read<uint8_t>();
  if (model.version == 0 || flags > kRelativeToZero) {
    Throw(Code::kDataLoss, "entropy tables of version ", model.version, " with flags ", int{flags},
          " are unknown");
  }
  if (model.row_classes < 1 || model.row_classes > kMaxRowClasses || num_classes < 1 ||
      num_classes > kMaxEntropyClasses ||
      size_t{num_classes} * model.row_classes > kMaxEntropyTables) {
    Throw(Code::kDataLoss, "entropy tables have ", int{num_classes}, " classes of channels and ",
          model.row_classes, " of rows; at most ", kMaxEntropyClasses, ", ", kMaxRowClasses,
          " and ", kMaxEntropyTables, " tables are allowed");
  }
  model.is_relative_to_zero = flags == kRelativeToZero;
  for (size_t i = 0; i < num_classes; ++i) {
    model.classes.push_back(ReadClass(&reader, model.row_classes));
  }
  model.class_of_channel = ReadMap(&reader, num_classes, widths.size());
  reader.ExpectEnd();
  for (size_t c = 0; c < widths.size(); ++c) {
    const size_t entry = model.class_of_channel[c];
    if (entry >= num_classes || model.classes[entry].width != widths[c]) {
      Throw(Code::kDataLoss, "entropy tables put channel ", c, " of width ", int{widths[c]},
            " into class ", entry, ", which is not of that width");
    }
  }
  return EntropyTables(std::move(model));
}

std::vector<uint8_t> BestRowClasses(const EntropyTables& tables, std::span<const uint8_t> symbols,
                                    double* bits) {
  const std::span<const uint16_t> channel_tables = tables.channel_tables();
  const size_t channels = channel_tables.size();
  const uint32_t row_classes = tables.model().row_classes;
  const size_t rows = channels == 0 ? 0 : symbols.size() / channels;
  std::vector<uint8_t> best(rows, 0);
  if (bits == nullptr && row_classes == 1) return best;
  const std::vector<ClassCosts> costs = CostsOf(tables);
  std::vector<uint32_t> costs_of_channel;  // the first of its 256
  for (const uint16_t table : channel_tables) costs_of_channel.push_back(table / row_classes << 8);
  uint64_t total = 0;
  for (size_t row = 0; row < rows; ++row) {
    const std::array<uint64_t, kMaxRowClasses> sums =
        SumCosts(costs, costs_of_channel, symbols.data() + row * channels);
    const auto* least = std::min_element(sums.begin(), sums.begin() + row_classes);
    best[row] = static_cast<uint8_t>(least - sums.begin());
    total += *least;
  }
  if (bits != nullptr) *bits = static_cast<double>(total) / 256;
  return best;
}

}  // namespace amaq::quant
