#ifndef AMAQ_QUANT_RANGE_MODES_H_
#define AMAQ_QUANT_RANGE_MODES_H_

// Ranges that look at more than a message's own extremes: `percentile` and `mae`, which clip, and
// `delayed`, which predicts. All give the extremes that range.h makes lo and step of; values
// outside them are coded as the nearest end. The receiver needs none of this: ranges cross.
// Exactness: the same extremes on every machine (sums in double, row after row). Source: our choice
// throughout; docs/formats/gate.md, "Ranges".

#include <cstdint>
#include <deque>
#include <functional>
#include <span>
#include <vector>

#include "quant/config.h"
#include "quant/range.h"
#include "quant/row_reader.h"

namespace amaq::quant {

// Rows of one channel that are coded, in row order.
using Column = std::span<const float>;

// Without the k = floor(n * (100 - percentile) / 200) smallest and as many largest values.
// percentile in (0, 100], so at least one value is left. Cost O(n) on average.
struct ColumnExtremes {
  float lo = 0;
  float hi = 0;
};
ColumnExtremes PercentileExtremes(Column column, double percentile);

// The clip with the least mean absolute error of the quantized column at `width`. Each end may move
// inwards by k/32 of the range, k = 0...15: the upper one first, then the lower, then the upper
// again, each to its best place with the other held; of equal errors the widest range. width 0: the
// column's own extremes.
ColumnExtremes MaeExtremes(Column column, uint32_t width);

// Sum of |decoded - x| over the column when it is coded within these extremes.
double AbsoluteError(Column column, ColumnExtremes extremes, uint32_t width);

// Ranges of one cut and direction, predicted from the last committed steps. A copy is a state to
// come back to. Thread-compatible.
class DelayedRanges {
 public:
  // margin >= 1 widens the predicted range around its middle; max_clipped: share of a channel's
  // values that may be clipped before the message's own extremes are taken for that channel.
  DelayedRanges(double margin, double max_clipped);

  // The extremes to code a message within, and what the step then learns from it. exact: those of
  // the message; clipped(c, lo, hi): how many of its `rows` values lie outside. Within a step the
  // prediction stays as it was at the step's start, so it does not depend on the window.
  using CountClipped = std::function<uint64_t(size_t channel, float lo, float hi)>;
  Extremes Choose(const Extremes& exact, uint64_t rows, const CountClipped& clipped);

  void Commit();   // the step counts: its messages are remembered
  void Discard();  // it does not

  // Of all messages that Choose was asked for.
  uint64_t values() const { return values_; }  // rows x channels
  uint64_t clipped_values() const { return clipped_values_; }
  uint64_t exact_channels() const { return exact_channels_; }  // (channel, message) pairs over it

 private:
  void Remember(const Extremes& exact);

  double margin_;
  double max_clipped_;
  std::deque<Extremes> steps_;     // committed, the newest last
  std::vector<Extremes> pending_;  // none or one: of the step under way
  uint64_t values_ = 0;
  uint64_t clipped_values_ = 0;
  uint64_t exact_channels_ = 0;
};

struct RangeChoice {
  Range mode = Range::kMinMax;
  double percentile = 99.5;
  DelayedRanges* delayed = nullptr;  // of kDelayed; null: the message's own extremes
};

// minmax and absmax need a message's own extremes only.
inline bool LooksBeyondExtremes(Range mode) {
  return mode != Range::kMinMax && mode != Range::kAbsMax;
}

// Extremes of all channels over the coded rows (at least one). mode: one that
// LooksBeyondExtremes. Errors: NonFiniteError.
Extremes ChooseExtremes(RowReader* x, std::span<const uint32_t> coded,
                        std::span<const uint8_t> widths, const RangeChoice& choice);

}  // namespace amaq::quant

#endif  // AMAQ_QUANT_RANGE_MODES_H_
