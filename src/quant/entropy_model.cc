#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <numeric>
#include <utility>

#include "core/check.h"
#include "quant/entropy_tables.h"
#include "quant/octet.h"

namespace amaq::quant {
namespace {

using Counts = std::vector<uint64_t>;  // by symbol, 2^width

// Frequencies in proportion to the counts, 1 or more each, `total` in sum.
std::vector<uint16_t> Normalized(const Counts& counts, uint32_t total) {
  const uint64_t sum = std::accumulate(counts.begin(), counts.end(), uint64_t{0});
  std::vector<uint16_t> bins;
  uint32_t used = 0;
  for (const uint64_t count : counts) {
    const double share = sum == 0 ? 1.0 / static_cast<double>(counts.size())
                                  : static_cast<double>(count) / static_cast<double>(sum);
    bins.push_back(static_cast<uint16_t>(std::max(1L, std::lround(share * total))));
    used += bins.back();
  }
  for (; used < total; ++used) ++*std::max_element(bins.begin(), bins.end());
  for (; used > total; --used) --*std::max_element(bins.begin(), bins.end());
  return bins;
}

struct Fit {
  std::vector<uint16_t> bins;
  double bits = 0;  // of the counted symbols and of the serialized table
};

Fit FitBins(const Counts& counts, uint32_t shift) {
  Counts binned(counts.size() >> shift);
  for (size_t s = 0; s < counts.size(); ++s) binned[s >> shift] += counts[s];
  Fit fit{Normalized(binned, kFrequencyTotal >> shift), 0};
  for (size_t b = 0; b < binned.size(); ++b) {
    fit.bits += static_cast<double>(binned[b]) * (kFrequencyBits - std::log2(fit.bins[b])) +
                (fit.bins[b] > 0x80 ? 16 : 8);
  }
  return fit;
}

// The bin size that needs the fewest bits for all the tables of a class.
double FitClass(std::span<const Counts> tables, EntropyClass* entry) {
  double least = INFINITY;
  const uint32_t last = std::min<uint32_t>(kMaxBinShift, entry->width == 0 ? 0 : entry->width - 1u);
  for (uint32_t shift = 0; shift <= last; ++shift) {
    double bits = 8;
    std::vector<std::vector<uint16_t>> bins;
    for (const Counts& counts : tables) {
      Fit fit = FitBins(counts, shift);
      bits += fit.bits;
      bins.push_back(std::move(fit.bins));
    }
    if (bits >= least) continue;
    least = bits;
    entry->shift = static_cast<uint8_t>(shift);
    entry->bins = std::move(bins);
  }
  return least;
}

// Bits of a class of channels whose counts are these, if it is of its own.
double ClassBits(uint8_t width, const Counts& counts, uint32_t row_classes) {
  EntropyClass entry{.width = width, .shift = 0, .bins = {}};
  const double bits = FitClass(std::span(&counts, 1), &entry);
  const double table_bytes = static_cast<double>(counts.size() >> entry.shift);
  return bits + (row_classes - 1) * 8 * table_bytes;
}

struct Moments {
  std::vector<double> mean, variance;  // [H]
};

Moments MomentsOf(std::span<const uint8_t> symbols, size_t channels) {
  std::vector<uint64_t> sum(channels), squares(channels);
  for (size_t first = 0; first < symbols.size(); first += channels) {
    for (size_t c = 0; c < channels; ++c) {
      const uint64_t symbol = symbols[first + c];
      sum[c] += symbol;
      squares[c] += symbol * symbol;
    }
  }
  Moments moments{std::vector<double>(channels), std::vector<double>(channels)};
  const size_t whole_rows = symbols.size() / channels;
  const double rows = std::max(1.0, static_cast<double>(whole_rows));
  for (size_t c = 0; c < channels; ++c) {
    moments.mean[c] = static_cast<double>(sum[c]) / rows;
    moments.variance[c] =
        std::max(0.0, static_cast<double>(squares[c]) / rows - moments.mean[c] * moments.mean[c]);
  }
  return moments;
}

// round(4 log2 of the standard deviation), from 2^-3 (or constant) to 2^7.
int ClassOf(double variance) {
  if (variance <= 0) return -12;
  return static_cast<int>(std::clamp(std::lround(2 * std::log2(variance)), -12L, 28L));
}

struct Group {
  uint8_t width = 0;
  std::vector<uint32_t> channels;
  Counts counts;
  double bits = 0;
};

Group Joined(const Group& a, const Group& b, uint32_t row_classes) {
  Group joined = a;
  joined.channels.insert(joined.channels.end(), b.channels.begin(), b.channels.end());
  for (size_t s = 0; s < b.counts.size(); ++s) joined.counts[s] += b.counts[s];
  joined.bits = ClassBits(joined.width, joined.counts, row_classes);
  return joined;
}

// Classes in ascending width and deviation; neighbours are joined where that costs nothing, and
// further until their number is within the limits.
std::vector<Group> MakeGroups(std::span<const uint8_t> symbols, std::span<const uint8_t> widths,
                              const Moments& moments, uint32_t row_classes) {
  std::map<std::pair<uint8_t, int>, Group> by_class;
  std::vector<Counts*> counts_of_channel;
  for (uint32_t c = 0; c < widths.size(); ++c) {
    Group& group = by_class[{widths[c], ClassOf(moments.variance[c])}];
    group.width = widths[c];
    group.counts.resize(size_t{1} << widths[c]);
    group.channels.push_back(c);
    counts_of_channel.push_back(&group.counts);
  }
  for (size_t first = 0; first < symbols.size(); first += widths.size()) {
    for (size_t c = 0; c < widths.size(); ++c) ++(*counts_of_channel[c])[symbols[first + c]];
  }
  std::vector<Group> groups;
  for (auto& [key, group] : by_class) {
    group.bits = ClassBits(group.width, group.counts, row_classes);
    if (!groups.empty() && groups.back().width == group.width) {
      Group joined = Joined(groups.back(), group, row_classes);
      if (joined.bits <= groups.back().bits + group.bits) {
        groups.back() = std::move(joined);
        continue;
      }
    }
    groups.push_back(std::move(group));
  }
  const size_t limit = std::min(kMaxEntropyClasses, kMaxEntropyTables / row_classes);
  while (groups.size() > limit) {
    size_t place = 0;
    Group best;
    double least = INFINITY;
    for (size_t i = 0; i + 1 < groups.size(); ++i) {
      if (groups[i].width != groups[i + 1].width) continue;
      Group joined = Joined(groups[i], groups[i + 1], row_classes);
      const double loss = joined.bits - groups[i].bits - groups[i + 1].bits;
      if (loss >= least) continue;
      least = loss;
      place = i;
      best = std::move(joined);
    }
    groups[place] = std::move(best);
    groups.erase(groups.begin() + static_cast<std::ptrdiff_t>(place) + 1);
  }
  return groups;
}

// Rows in classes of equal size by their energy: the sum of squared deviations over variances.
std::vector<uint8_t> RowsByEnergy(std::span<const uint8_t> symbols, const Moments& moments,
                                  uint32_t row_classes) {
  const size_t channels = moments.mean.size();
  const size_t rows = symbols.size() / channels;
  std::vector<double> energy(rows);
  for (size_t row = 0; row < rows; ++row) {
    for (size_t c = 0; c < channels; ++c) {
      const double deviation = symbols[row * channels + c] - moments.mean[c];
      if (moments.variance[c] > 0) energy[row] += deviation * deviation / moments.variance[c];
    }
  }
  std::vector<uint32_t> order(rows);
  std::iota(order.begin(), order.end(), 0u);
  std::stable_sort(order.begin(), order.end(),
                   [&](uint32_t a, uint32_t b) { return energy[a] < energy[b]; });
  std::vector<uint8_t> classes(rows);
  for (size_t i = 0; i < rows; ++i) {
    classes[order[i]] = static_cast<uint8_t>(i * row_classes / rows);
  }
  return classes;
}

void FitTables(std::span<const uint8_t> symbols, std::span<const uint8_t> row_class,
               EntropyModel* model) {
  const size_t channels = model->class_of_channel.size();
  std::vector<std::vector<Counts>> counts;  // [class][row class]
  for (const EntropyClass& entry : model->classes) {
    counts.emplace_back(model->row_classes, Counts(size_t{1} << entry.width));
  }
  for (size_t row = 0; row * channels < symbols.size(); ++row) {
    for (size_t c = 0; c < channels; ++c) {
      ++counts[model->class_of_channel[c]][row_class[row]][symbols[row * channels + c]];
    }
  }
  for (size_t i = 0; i < counts.size(); ++i) FitClass(counts[i], &model->classes[i]);
}

}  // namespace

EntropyModel BuildEntropyModel(std::span<const uint8_t> symbols, std::span<const uint8_t> widths,
                               uint32_t row_classes) {
  AMAQ_CHECK(!widths.empty() && symbols.size() % widths.size() == 0);
  const Moments moments = MomentsOf(symbols, widths.size());
  EntropyModel model;
  model.version = 1;
  model.row_classes = row_classes;
  model.class_of_channel.resize(widths.size());
  for (const Group& group : MakeGroups(symbols, widths, moments, row_classes)) {
    for (const uint32_t c : group.channels) {
      model.class_of_channel[c] = static_cast<uint8_t>(model.classes.size());
    }
    model.classes.push_back({.width = group.width, .shift = 0, .bins = {}});
  }
  FitTables(symbols, RowsByEnergy(symbols, moments, row_classes), &model);
  if (row_classes > 1) {
    FitTables(symbols, BestRowClasses(EntropyTables(model), symbols, nullptr), &model);
  }
  return model;
}

}  // namespace amaq::quant
