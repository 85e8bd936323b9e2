#include "quant/rans.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "core/bytes.h"
#include "core/check.h"

namespace amaq::quant {
namespace {

// A state x is in [kLow, 2^32) between two symbols; it gives or takes 16 bits at a time.
constexpr uint32_t kLow = uint32_t{1} << 16;

using Lanes = std::array<uint32_t, kRansLanes>;

size_t RowClass(const SymbolContext& context, size_t row) {
  return context.row_classes.empty() ? 0 : context.row_classes[row];
}

// Words written from the end of a buffer to its front.
class BackwardWords {
 public:
  explicit BackwardWords(size_t max_words) : words_(max_words), next_(max_words) {}
  bool Push(uint32_t word) {
    if (next_ == 0) return false;
    words_[--next_] = static_cast<uint16_t>(word);
    return true;
  }
  std::span<const uint16_t> words() const { return std::span(words_).subspan(next_); }

 private:
  std::vector<uint16_t> words_;
  size_t next_;
};

// The last row first and within it the last channel first. False when the words do not fit.
bool EncodeRow(const SymbolContext& context, const uint8_t* symbols, size_t row_class,
               Lanes* states, BackwardWords* out) {
  for (size_t c = context.channel_tables.size(); c-- > 0;) {
    uint32_t& x = (*states)[c % kRansLanes];
    const SymbolTables::Slice slice =
        context.tables.slices(context.channel_tables[c] + row_class)[symbols[c]];
    const uint32_t frequency = slice.frequency;
    AMAQ_CHECK(frequency != 0);
    // x is below frequency * 2^18 before the symbol, below 2^32 after it.
    if ((x >> (32 - kFrequencyBits)) >= frequency) {
      if (!out->Push(x)) return false;
      x >>= 16;
    }
    x = ((x / frequency) << kFrequencyBits) + x % frequency + slice.start;
  }
  return true;
}

}  // namespace

SymbolTables::SymbolTables(std::span<const std::vector<uint16_t>> frequencies)
    : slices_(frequencies.size() << 8), symbols_(frequencies.size() << kFrequencyBits) {
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
                                size_t max_bytes) {
  const size_t channels = context.channel_tables.size();
  if (max_bytes < kRansStateBytes) return std::nullopt;
  // A symbol gives one word at most.
  BackwardWords words(std::min((max_bytes - kRansStateBytes) / sizeof(uint16_t), symbols.size()));
  Lanes states;
  states.fill(kLow);
  for (size_t row = channels == 0 ? 0 : symbols.size() / channels; row-- > 0;) {
    if (!EncodeRow(context, symbols.data() + row * channels, RowClass(context, row), &states,
                   &words)) {
      return std::nullopt;
    }
  }
  Bytes out(kRansStateBytes + words.words().size_bytes());
  std::memcpy(out.data(), states.data(), kRansStateBytes);
  if (!words.words().empty()) {
    std::memcpy(out.data() + kRansStateBytes, words.words().data(), words.words().size_bytes());
  }
  return out;
}

void RansDecode(const SymbolContext& context, ByteSpan bytes, std::span<uint8_t> symbols) {
  const size_t channels = context.channel_tables.size();
  ByteReader reader(bytes, "an entropy-coded block");
  Lanes states;
  std::memcpy(states.data(), reader.Take(kRansStateBytes).data(), kRansStateBytes);
  for (const uint32_t state : states) {
    if (state < kLow) Throw(Code::kDataLoss, "an entropy-coded block starts in the state ", state);
  }
  if (reader.remaining() % sizeof(uint16_t) != 0) {
    Throw(Code::kDataLoss, "an entropy-coded block has half a word, ", bytes.size(), " bytes");
  }
  const uint8_t* next = bytes.data() + kRansStateBytes;
  const uint8_t* const end = bytes.data() + bytes.size();
  for (size_t row = 0; row * channels < symbols.size(); ++row) {
    const size_t row_class = RowClass(context, row);
    uint8_t* out = symbols.data() + row * channels;
    for (size_t c = 0; c < channels; ++c) {
      uint32_t& x = states[c % kRansLanes];
      const size_t table = context.channel_tables[c] + row_class;
      const uint32_t position = x & (kFrequencyTotal - 1);
      const uint8_t symbol = context.tables.symbols(table)[position];
      const SymbolTables::Slice slice = context.tables.slices(table)[symbol];
      // At least 4 whatever the bytes say, so one word brings it back above kLow.
      x = slice.frequency * (x >> kFrequencyBits) + position - slice.start;
      if (x < kLow) {
        if (next == end) Throw(Code::kDataLoss, "an entropy-coded block ends early, at row ", row);
        uint16_t word;
        std::memcpy(&word, next, sizeof(word));
        next += sizeof(word);
        x = (x << 16) | word;
      }
      out[c] = symbol;
    }
  }
  if (next != end ||
      std::any_of(states.begin(), states.end(), [](uint32_t x) { return x != kLow; })) {
    Throw(Code::kDataLoss, "an entropy-coded block does not end where it was begun");
  }
}

}  // namespace amaq::quant
