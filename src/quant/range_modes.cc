#include "quant/range_modes.h"

#include <algorithm>
#include <cmath>

#include "core/check.h"
#include "core/error.h"

namespace amaq::quant {
namespace {

constexpr size_t kRememberedSteps = 8;
constexpr int kClipPlaces = 16;
constexpr float kClipUnit = 1.0f / 32;

ColumnExtremes OwnExtremes(Column column) {
  const auto [lo, hi] = std::minmax_element(column.begin(), column.end());
  return {*lo, *hi};
}

enum class End { kLower, kUpper };

// The best place of one end with the other held; `full`: the column's own extremes.
ColumnExtremes MoveEnd(Column column, ColumnExtremes full, ColumnExtremes held, End end,
                       uint32_t width) {
  const float unit = (full.hi - full.lo) * kClipUnit;
  ColumnExtremes best = held;
  double least = HUGE_VAL;
  for (int k = 0; k < kClipPlaces; ++k) {
    ColumnExtremes candidate = held;
    const float inwards = static_cast<float>(k) * unit;
    (end == End::kUpper ? candidate.hi : candidate.lo) =
        end == End::kUpper ? full.hi - inwards : full.lo + inwards;
    if (!(candidate.lo < candidate.hi)) break;
    const double error = AbsoluteError(column, candidate, width);
    if (error < least) {
      least = error;
      best = candidate;
    }
  }
  return best;
}

void Widen(Extremes* extremes, const Extremes& more) {
  for (size_t c = 0; c < extremes->lo.size(); ++c) {
    extremes->lo[c] = std::min(extremes->lo[c], more.lo[c]);
    extremes->hi[c] = std::max(extremes->hi[c], more.hi[c]);
  }
}

// Copies the coded rows of the channels from `first` on, channel after channel.
void CopyColumns(RowReader* x, std::span<const uint32_t> coded, size_t first, size_t count,
                 std::vector<float>* columns) {
  columns->resize(count * coded.size());
  for (size_t i = 0; i < coded.size(); ++i) {
    const std::span<const float> row = x->Row(coded[i]);
    for (size_t c = 0; c < count; ++c) (*columns)[c * coded.size() + i] = row[first + c];
  }
}

}  // namespace

ColumnExtremes PercentileExtremes(Column column, double percentile) {
  AMAQ_CHECK(!column.empty() && percentile > 0 && percentile <= 100);
  const auto clipped = static_cast<size_t>(
      std::floor(static_cast<double>(column.size()) * (100 - percentile) / 200 + 1e-9));
  if (clipped == 0) return OwnExtremes(column);
  const size_t cut = std::min(clipped, (column.size() - 1) / 2);
  std::vector<float> sorted(column.begin(), column.end());
  const auto lower = sorted.begin() + static_cast<std::ptrdiff_t>(cut);
  const auto upper = sorted.end() - 1 - static_cast<std::ptrdiff_t>(cut);
  std::nth_element(sorted.begin(), lower, sorted.end());
  const float lo = *lower;
  std::nth_element(sorted.begin(), upper, sorted.end());
  return {lo, *upper};
}

double AbsoluteError(Column column, ColumnExtremes extremes, uint32_t width) {
  const ChannelRange range = MakeRange(extremes.lo, extremes.hi, width);
  const float inverse = InverseStep(range.step);
  const float largest = LargestCode(width);
  double sum = 0;
  for (const float value : column) {
    const float code = QuantizeNearest(value, range.lo, inverse, largest);
    const float decoded = Dequantize(code, range.lo, range.step);
    sum += std::fabs(static_cast<double>(decoded) - static_cast<double>(value));
  }
  return sum;
}

ColumnExtremes MaeExtremes(Column column, uint32_t width) {
  const ColumnExtremes full = OwnExtremes(column);
  if (width == 0 || !(full.lo < full.hi) || !IsFinite(full.hi - full.lo)) return full;
  ColumnExtremes best = full;
  for (const End end : {End::kUpper, End::kLower, End::kUpper}) {
    best = MoveEnd(column, full, best, end, width);
  }
  return best;
}

DelayedRanges::DelayedRanges(double margin, double max_clipped)
    : margin_(margin), max_clipped_(max_clipped) {
  if (!(margin >= 1 && margin <= 100) || !(max_clipped >= 0 && max_clipped <= 1)) {
    Throw(Code::kInvalidArgument,
          "delayed ranges need a margin in [1, 100] and a share of clipped "
          "values in [0, 1], got ",
          margin, " and ", max_clipped);
  }
}

void DelayedRanges::Remember(const Extremes& exact) {
  if (pending_.empty()) {
    pending_.push_back(exact);
  } else {
    Widen(&pending_.front(), exact);
  }
}

Extremes DelayedRanges::Choose(const Extremes& exact, uint64_t rows, const CountClipped& clipped) {
  Remember(exact);
  values_ += rows * exact.lo.size();
  if (steps_.empty()) return exact;
  AMAQ_CHECK(steps_.front().lo.size() == exact.lo.size());
  Extremes chosen = steps_.front();
  for (const Extremes& step : steps_) Widen(&chosen, step);
  const auto allowed = static_cast<uint64_t>(max_clipped_ * static_cast<double>(rows));
  for (size_t c = 0; c < chosen.lo.size(); ++c) {
    const double middle = 0.5 * (static_cast<double>(chosen.lo[c]) + chosen.hi[c]);
    const double half = 0.5 * margin_ * (static_cast<double>(chosen.hi[c]) - chosen.lo[c]);
    chosen.lo[c] = static_cast<float>(middle - half);
    chosen.hi[c] = static_cast<float>(middle + half);
    const bool fits = chosen.lo[c] <= exact.lo[c] && exact.hi[c] <= chosen.hi[c];
    const uint64_t outside = fits ? 0 : clipped(c, chosen.lo[c], chosen.hi[c]);
    if (outside > allowed || !IsFinite(chosen.hi[c] - chosen.lo[c])) {
      chosen.lo[c] = exact.lo[c];
      chosen.hi[c] = exact.hi[c];
      ++exact_channels_;
    } else {
      clipped_values_ += outside;
    }
  }
  return chosen;
}

void DelayedRanges::Commit() {
  if (pending_.empty()) return;
  steps_.push_back(std::move(pending_.front()));
  pending_.clear();
  if (steps_.size() > kRememberedSteps) steps_.pop_front();
}

void DelayedRanges::Discard() { pending_.clear(); }

Extremes ChooseExtremes(RowReader* x, std::span<const uint32_t> coded,
                        std::span<const uint8_t> widths, const RangeChoice& choice) {
  const size_t channels = widths.size();
  Extremes exact(channels);
  for (const uint32_t row : coded) exact.Add(x->FiniteRow(row));
  if (choice.mode == Range::kDelayed) {
    if (choice.delayed == nullptr) return exact;
    return choice.delayed->Choose(exact, coded.size(), [&](size_t c, float lo, float hi) {
      uint64_t outside = 0;
      for (const uint32_t row : coded) {
        const float value = x->Row(row)[c];
        outside += value < lo || value > hi ? 1 : 0;
      }
      return outside;
    });
  }
  constexpr size_t kBlock = 64;  // channels copied at once
  std::vector<float> columns;
  for (size_t first = 0; first < channels; first += kBlock) {
    const size_t count = std::min(kBlock, channels - first);
    CopyColumns(x, coded, first, count, &columns);
    for (size_t c = 0; c < count; ++c) {
      const Column column = std::span(columns).subspan(c * coded.size(), coded.size());
      const ColumnExtremes found = choice.mode == Range::kMae
                                       ? MaeExtremes(column, widths[first + c])
                                       : PercentileExtremes(column, choice.percentile);
      exact.lo[first + c] = found.lo;
      exact.hi[first + c] = found.hi;
    }
  }
  return exact;
}

}  // namespace amaq::quant
