#include "quant/rans.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "core/bytes.h"
#include "core/check.h"
#include "quant/kernels.h"
#include "quant/rans_kernels.h"

namespace amaq::quant {
SymbolTables::SymbolTables(std::span<const std::vector<uint16_t>> frequencies)
    : slices_(frequencies.size() << 8),
      symbols_((frequencies.size() << kFrequencyBits) + kGatherBytes) {
  for (size_t t = 0; t < frequencies.size(); ++t) {
    uint32_t start = 0;
    for (size_t s = 0; s < frequencies[t].size(); ++s) {
      const uint16_t frequency = frequencies[t][s];
      slices_[(t << 8) + s] = {frequency, static_cast<uint16_t>(start)};
      AMAQ_CHECK(start + frequency <= kFrequencyTotal);
      std::fill_n(symbols_.data() + (t << kFrequencyBits) + start, frequency,
                  static_cast<uint8_t>(s));
      start += frequency;
    }
    AMAQ_CHECK(start == kFrequencyTotal);
  }
}

std::optional<Bytes> RansEncode(const SymbolContext& context, std::span<const uint8_t> symbols,
                                size_t max_bytes, const RansKernels& kernels) {
  AMAQ_CHECK(symbols.empty() || symbols.size() % context.channel_tables.size() == 0);
  if (max_bytes < kRansStateBytes) return std::nullopt;
  // A symbol gives one word at most.
  const size_t max_words =
      std::min((max_bytes - kRansStateBytes) / sizeof(uint16_t), symbols.size());
  std::vector<uint16_t> words(max_words + kRansLanes);
  std::array<uint32_t, kRansLanes> states;
  states.fill(kRansLow);
  size_t used = 0;
  if (!symbols.empty()) {
    used = kernels.encode(context, symbols, max_words, states.data(), words.data());
  }
  if (used > max_words) return std::nullopt;
  std::reverse(words.begin(), words.begin() + static_cast<std::ptrdiff_t>(used));
  Bytes out(kRansStateBytes + used * sizeof(uint16_t));
  std::memcpy(out.data(), states.data(), kRansStateBytes);
  std::memcpy(out.data() + kRansStateBytes, words.data(), used * sizeof(uint16_t));
  return out;
}

void RansDecode(const SymbolContext& context, ByteSpan bytes, std::span<uint8_t> symbols,
                const RansKernels& kernels) {
  AMAQ_CHECK(symbols.empty() || symbols.size() % context.channel_tables.size() == 0);
  ByteReader reader(bytes, "an entropy-coded block");
  std::array<uint32_t, kRansLanes> states;
  std::memcpy(states.data(), reader.Take(kRansStateBytes).data(), kRansStateBytes);
  for (const uint32_t state : states) {
    if (state >= kRansLow) continue;
    Throw(Code::kDataLoss, "an entropy-coded block starts in the state ", state);
  }
  if (reader.remaining() % sizeof(uint16_t) != 0) {
    Throw(Code::kDataLoss, "an entropy-coded block has half a word, ", bytes.size(), " bytes");
  }
  const size_t count = reader.remaining() / sizeof(uint16_t);
  std::vector<uint16_t> words(count + kRansLanes);
  std::memcpy(words.data(), bytes.data() + kRansStateBytes, count * sizeof(uint16_t));
  size_t used = 0;
  if (!symbols.empty()) {
    used = kernels.decode(context, std::span(words).first(count), states.data(), symbols);
  }
  if (used > count) Throw(Code::kDataLoss, "an entropy-coded block ends early");
  if (used != count ||
      std::any_of(states.begin(), states.end(), [](uint32_t x) { return x != kRansLow; })) {
    Throw(Code::kDataLoss, "an entropy-coded block does not end where it was begun");
  }
}

std::optional<Bytes> RansEncode(const SymbolContext& context, std::span<const uint8_t> symbols,
                                size_t max_bytes) {
  return RansEncode(context, symbols, max_bytes, *ActiveKernelSet().rans);
}

void RansDecode(const SymbolContext& context, ByteSpan bytes, std::span<uint8_t> symbols) {
  RansDecode(context, bytes, symbols, *ActiveKernelSet().rans);
}

}  // namespace amaq::quant
