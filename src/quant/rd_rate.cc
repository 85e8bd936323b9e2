#include "quant/rd_rate.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "quant/gate.h"
#include "quant/rd_tables.h"

namespace amaq::quant {
namespace {

constexpr double kGain = 0.5;
constexpr double kLimit = 0.25;  // octaves
constexpr double kOff = 0.5;     // bits

void CheckRate(const char* name, double bits) {
  if (bits >= kRdLowestRate && bits <= 8) return;
  Throw(Code::kInvalidArgument, name, " of a rate-distortion coded tensor must be in [",
        kRdLowestRate, ", 8], got ", bits);
}

}  // namespace

RdRateControl::RdRateControl(const WidthConfig& config) : config_(config) {
  CheckRate("target_bits", config.target_bits);
  if (config.adapt_steps != 0) CheckRate("b_start", config.b_start);
}

double RdRateControl::target_bits() const { return TargetBits(config_, commits_); }

std::optional<int16_t> RdRateControl::index() const {
  if (!wanted_index_) return std::nullopt;
  return static_cast<int16_t>(std::lround(*wanted_index_));
}

void RdRateControl::Start(int16_t index) {
  wanted_index_ = index;
  is_tried_ = true;
}

void RdRateControl::Restore(const State& state) {
  commits_ = state.commits;
  wanted_index_ = state.wanted_index;
  is_tried_ = false;
}

void RdRateControl::Observe(uint64_t bits, uint64_t elements) {
  bits_ += bits;
  elements_ += elements;
}

void RdRateControl::Discard() {
  bits_ = 0;
  elements_ = 0;
  if (is_tried_) wanted_index_.reset();
  is_tried_ = false;
}

void RdRateControl::Commit() {
  const double before = target_bits();
  ++commits_;
  if (elements_ == 0 || !wanted_index_) return Discard();
  is_tried_ = false;
  rate_ = static_cast<double>(bits_) / static_cast<double>(elements_);
  Discard();
  commits_off_ = std::fabs(rate_ - before) > kOff ? commits_off_ + 1 : 0;
  const double octaves =
      before - target_bits() + std::clamp(kGain * (rate_ - before), -kLimit, kLimit);
  wanted_index_ = static_cast<float>(
      std::clamp(*wanted_index_ + 16 * octaves, -double{kRdLargestIndex}, double{kRdLargestIndex}));
}

}  // namespace amaq::quant
