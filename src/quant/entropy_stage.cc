#include "quant/entropy_stage.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "core/log.h"

namespace amaq::quant {

std::optional<EntropyMode> ParseEntropyMode(std::string_view name) {
  if (name == "off") return EntropyMode::kOff;
  if (name == "on") return EntropyMode::kOn;
  if (name == "auto") return EntropyMode::kAuto;
  return std::nullopt;
}

std::optional<double> EntropyChoice::Gain(double bytes_per_second) const {
  const size_t count = std::min(num_costs_, costs_.size());
  if (count == 0) return std::nullopt;
  // The fastest: the machine's other work and new tables only add to the time.
  double seconds = costs_[0].seconds;
  double saved = 0;
  for (size_t i = 0; i < count; ++i) {
    seconds = std::min(seconds, costs_[i].seconds);
    saved += costs_[i].saved / static_cast<double>(count);
  }
  constexpr double kParties = 2;  // decoding takes about as long as coding
  return saved / bytes_per_second / (kParties * std::max(seconds, 1e-12));
}

bool EntropyChoice::CodesNext(std::optional<double> bytes_per_second) {
  if (!bytes_per_second || *bytes_per_second <= 0) {
    is_on_ = false;
    return false;
  }
  const std::optional<double> gain = Gain(*bytes_per_second);
  const bool was_on = is_on_;
  if (gain && *gain >= kBegin) is_on_ = true;
  if (gain && *gain < kStop) is_on_ = false;
  if (is_on_ != was_on) {
    num_messages_ = is_on_ ? 0 : 2;  // no probe right after it was stopped
    AMAQ_LOG(kInfo, "wire.entropy auto: ", is_on_ ? "on" : "off", "; the link carries ",
             *bytes_per_second / 1e6, " MB/s, coding saves ", *gain, " times the time it takes");
  }
  return is_on_ || num_messages_++ % kProbeEvery < 2;
}

void EntropyChoice::Measured(double num_symbols, double bytes_saved, double seconds) {
  if (num_symbols <= 0) return;
  costs_[num_costs_++ % costs_.size()] = {seconds / num_symbols, bytes_saved / num_symbols};
}

void EntropyStage::Compress(CodesShape shape, std::optional<double> bytes_per_second,
                            std::vector<Section>* sections) {
  if (mode_ == EntropyMode::kOff) return;
  if (mode_ == EntropyMode::kOn) return sender_.Compress(std::move(shape), sections);
  if (!choice_.CodesNext(bytes_per_second)) return;
  const double num_symbols =
      static_cast<double>(shape.rows) * static_cast<double>(shape.widths.size());
  const auto saved = [this] {
    return static_cast<double>(sender_.bytes_in()) - static_cast<double>(sender_.bytes_out());
  };
  const uint64_t bytes_before = sender_.bytes_in();
  const double saved_before = saved();
  const auto begin = std::chrono::steady_clock::now();
  sender_.Compress(std::move(shape), sections);
  const std::chrono::duration<double> time = std::chrono::steady_clock::now() - begin;
  if (sender_.bytes_in() == bytes_before) return;  // no codes to be coded
  choice_.Measured(num_symbols, saved() - saved_before, time.count());
}

void EntropyStage::Restore(CodesShape shape, std::vector<Section>* sections) {
  if (mode_ != EntropyMode::kOff) receiver_.Restore(std::move(shape), sections);
}

}  // namespace amaq::quant
