#include "quant/kernels.h"

#include <cstdlib>
#include <string>

#include "core/error.h"

namespace amaq::quant {

ChannelTables::ChannelTables(std::span<const uint8_t> channel_widths, bool is_nested)
    : nested(is_nested) {
  const size_t padded = channel_widths.size() + kPadding;
  lo.resize(padded, 0);
  step.resize(padded, 0);
  inverse_step.resize(padded, 0);
  largest.resize(padded, 0);
  widths.assign(channel_widths.begin(), channel_widths.end());
  widths.resize(padded, 0);
  masks.reserve(padded);
  for (const uint8_t width : widths) masks.push_back(static_cast<uint8_t>((1u << width) - 1u));
}

void ChannelTables::Set(size_t channel, const ChannelRange& range) {
  const uint32_t width = widths[channel];
  lo[channel] = range.lo;
  step[channel] = range.step;
  inverse_step[channel] = nested ? NestedInverseStep(range.step, width) : InverseStep(range.step);
  largest[channel] = nested ? LargestCode(8) : LargestCode(width);
}

std::span<const KernelSet> AllKernelSets() {
  static const std::vector<KernelSet> sets = [] {
    std::vector<KernelSet> all = SimdKernelSets();
    all.insert(all.begin(), ScalarKernelSet());
    return all;
  }();
  return sets;
}

const KernelSet& FindKernelSet(std::string_view name) {
  std::string names;
  for (const KernelSet& set : AllKernelSets()) {
    if (set.name == name) return set;
    names += names.empty() ? "" : ", ";
    names += set.name;
  }
  Throw(Code::kInvalidArgument, "AMAQ_SIMD must be one of ", names, " on this machine, got \"",
        name, "\"");
}

const KernelSet& ActiveKernelSet() {
  static const KernelSet& active = [&]() -> const KernelSet& {
    const char* forced = std::getenv("AMAQ_SIMD");
    return forced == nullptr ? AllKernelSets().back() : FindKernelSet(forced);
  }();
  return active;
}

}  // namespace amaq::quant
