#ifndef AMAQ_TESTS_QUANT_RD_SAMPLES_H_
#define AMAQ_TESTS_QUANT_RD_SAMPLES_H_

// Inputs that the tests of the rate-distortion coder share. Random numbers have a fixed seed.

#include <cmath>
#include <vector>

#include "quant/rd.h"
#include "tests/quant/samples.h"

namespace amaq::quant {

enum class Shape { kLaplace, kGauss };

// A stream of matrices whose channels' scales are spread over 2^octaves and whose rows differ, too.
class RdSource {
 public:
  RdSource(uint64_t seed, size_t channels, Shape shape, double octaves = 8)
      : random_(seed), shape_(shape) {
    for (size_t c = 0; c < channels; ++c) {
      scales_.push_back(std::exp2(octaves * (random_.Uniform() - 0.5)));
    }
  }

  std::vector<float> Next(size_t rows, double scale = 1) {
    std::vector<float> y;
    for (size_t r = 0; r < rows; ++r) {
      const double row_scale = scale * std::exp2(2 * random_.Normal() / 3);
      for (const double channel_scale : scales_) {
        y.push_back(static_cast<float>(row_scale * channel_scale * Draw()));
      }
    }
    return y;
  }

 private:
  double Draw() {
    if (shape_ == Shape::kGauss) return random_.Normal();
    const double sign = random_.Uniform() < 0.5 ? -1 : 1;
    return -sign * std::log(random_.Uniform());
  }

  Random random_;
  Shape shape_;
  std::vector<double> scales_;
};

inline RdOptions Stochastic(const std::vector<float>& y, int32_t index, uint64_t key) {
  return {.step = {RdScaleOf(y), static_cast<int16_t>(index)},
          .rounding = Rounding::kStochastic,
          .rounding_key = key,
          .row_ids = {}};
}

inline RdOptions DeadZone(int32_t index) {
  return {.step = {1, static_cast<int16_t>(index)}, .row_ids = {}};
}

inline uint64_t BytesOf(const std::vector<Section>& sections) {
  uint64_t bytes = 0;
  for (const Section& section : sections) bytes += section.bytes.size();
  return bytes;
}

inline double BitsOf(const std::vector<Section>& sections) {
  return 8 * static_cast<double>(BytesOf(sections));
}

// Entropy of the symbols in bits, each table's by its own histogram, with the low bits.
inline double EntropyBits(const RdCounts& counts) {
  const auto offsets = RdCountOffsets();
  double bits = 0;
  for (size_t t = 0; t < kRdTables; ++t) {
    double total = 0;
    for (size_t i = offsets[t]; i < offsets[t + 1]; ++i) total += counts.symbols[i];
    for (size_t i = offsets[t]; i < offsets[t + 1]; ++i) {
      const double count = counts.symbols[i];
      if (count == 0) continue;
      const bool has_sign = i != offsets[t] && i + 1 != offsets[t + 1];
      bits += count * (std::log2(total / count) + (has_sign ? 1 : 0) + RdShapeOf(t).low_bits);
    }
  }
  return bits;
}

// Both ends of a coded tensor.
struct RdEnds {
  explicit RdEnds(size_t channels) : sender(channels), receiver(channels) {}

  struct Sent {
    RdEncoded coded;
    std::vector<float> decoded;
  };
  // One training message; what the receiver decodes is what the sender was told.
  Sent Send(const std::vector<float>& y, const RdOptions& options, const MessagePlace& place) {
    Sent sent;
    sent.decoded.resize(y.size());
    std::vector<float> received(y.size());
    sent.coded = RdEncode(y, options, sender, sent.decoded).value();
    receiver.Add(place, RdDecode(sent.coded.sections, receiver, received));
    sender.Add(place, sent.coded.counts);
    EXPECT_EQ(received, sent.decoded);
    return sent;
  }
  void Keep(uint64_t steps) {
    sender.Keep({steps, 0, 0});
    receiver.Keep({steps, 0, 0});
  }
  void TakeBack(uint64_t step) {
    sender.TakeBack({step, 0, 0});
    receiver.TakeBack({step, 0, 0});
  }

  RdModel sender;
  RdModel receiver;
};

}  // namespace amaq::quant

#endif  // AMAQ_TESTS_QUANT_RD_SAMPLES_H_
