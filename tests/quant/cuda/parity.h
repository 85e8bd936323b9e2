#ifndef AMAQ_TESTS_QUANT_CUDA_PARITY_H_
#define AMAQ_TESTS_QUANT_CUDA_PARITY_H_

// The cases on which the CUDA kernels must equal quant::Encode and quant::Decode, for a runner that
// has the bodies on the host (bodies_test.cc) or on a GPU (gpu_test.cc).

#include <bit>
#include <cstdint>
#include <cstring>
#include <ostream>
#include <string>
#include <vector>

#include "core/section.h"
#include "quant/codec.h"
#include "quant/cuda/kernels.h"
#include "quant/range.h"
#include "tests/quant/samples.h"

namespace amaq::quant::cuda {

inline constexpr float kUntouched = -777;
inline constexpr uint8_t kMixedWidths = 9;

struct Case {
  uint32_t rows;
  uint32_t channels;
  uint8_t width;  // of all channels, or kMixedWidths
  DType dtype;
  Rounding rounding;
  Range range;
  bool sinks;             // every fifth row stays out
  bool ids;               // the rows have other numbers in the micro-batch
  uint32_t misalignment;  // of the codes, in bytes
};

inline std::ostream& operator<<(std::ostream& out, const Case& c) {
  return out << "[" << c.rows << ", " << c.channels << "] width " << int{c.width} << " "
             << DTypeName(c.dtype) << " rounding " << static_cast<int>(c.rounding) << " range "
             << static_cast<int>(c.range) << (c.sinks ? " sinks" : "") << (c.ids ? " ids" : "")
             << " misalignment " << c.misalignment;
}

// A case with its tensor.
struct Sample {
  Case shape;
  Bytes data;  // [rows, channels] in shape.dtype
  std::vector<uint8_t> widths;
  std::vector<uint32_t> sink_rows, coded_rows, row_ids;
  uint64_t key = 0;

  MatrixView view() const {
    return {data.data(), shape.dtype, int64_t{shape.rows}, int64_t{shape.channels}};
  }
  RowPlan plan() const { return {sink_rows, row_ids}; }
  void Set(uint32_t row, uint32_t channel, float value) {
    const size_t index = size_t{row} * shape.channels + channel;
    if (shape.dtype == DType::kF32) {
      std::memcpy(data.data() + 4 * index, &value, 4);
    } else {
      const uint16_t bits = shape.dtype == DType::kBF16 ? F32ToBF16(value) : F32ToF16(value);
      std::memcpy(data.data() + 2 * index, &bits, 2);
    }
  }
};

// Value of a row in the channel of that kind: all that is special to a quantizer.
inline float SpecialValue(uint32_t kind, uint32_t row, Random* random) {
  const auto uniform = static_cast<float>(random->Uniform());
  switch (kind % 8) {
    case 0:  // random, with a mean
      return 5 * uniform - 1;
    case 1:
      return -3.25f;
    case 2:  // a ramp
      return static_cast<float>(row);
    case 3:  // points half-way between two codes of widths 1...8: the range is 0...255
      return row % 4 == 0 ? 0.0f : row % 4 == 1 ? 255.0f : static_cast<float>(row % 255) + 0.5f;
    case 4:  // denormals
      return static_cast<float>(row % 9) * 0x1p-130f;
    case 5:  // both zeros, and little else
      return row % 3 == 0 ? -0.0f : row % 3 == 1 ? 0.0f : -uniform * 1e-3f;
    case 6:  // one outlier
      return row == 3 ? -6e4f : uniform;
    default:  // a large mean and a small range
      return 1000.5f + uniform;
  }
}

inline Sample MakeSample(const Case& shape, uint64_t seed) {
  Random random(seed);
  Sample sample{shape, {}, {}, {}, {}, {}, seed * 0x9E3779B97F4A7C15u};
  sample.data.resize(size_t{shape.rows} * shape.channels * SizeOf(shape.dtype));
  for (uint32_t c = 0; c < shape.channels; ++c) {
    sample.widths.push_back(shape.width == kMixedWidths ? static_cast<uint8_t>(random.Below(9))
                                                        : shape.width);
  }
  for (uint32_t n = 0; n < shape.rows; ++n) {
    (shape.sinks && n % 5 == 0 ? sample.sink_rows : sample.coded_rows).push_back(n);
    if (shape.ids) sample.row_ids.push_back(7 + 3 * n);
    for (uint32_t c = 0; c < shape.channels; ++c) {
      sample.Set(n, c, SpecialValue(c + static_cast<uint32_t>(seed), n, &random));
    }
  }
  return sample;
}

// "fp16_stochastic": ends the name of a test.
inline std::string InputName(DType dtype, Rounding rounding) {
  return std::string(DTypeName(dtype)) +
         (rounding == Rounding::kStochastic ? "_stochastic" : "_nearest");
}

struct Coded {
  Status status;
  std::vector<ChannelRange> ranges;  // empty when no row is coded
  Bytes codes;
};

// Encode makes ranges and codes, Decode writes the coded rows over a tensor of kUntouched.
class Runner {
 public:
  virtual ~Runner() = default;
  virtual Coded Encode(const Sample& sample) = 0;
  virtual std::vector<float> Decode(const Sample& sample, const Coded& coded) = 0;
};

// Empty when the runner gives the bytes and values of quant::, else what differs.
inline std::string Difference(Runner* runner, const Sample& sample) {
  const Case& shape = sample.shape;
  const std::vector<Section> sections =
      Encode(sample.view(), sample.widths, sample.plan(),
             {.range = shape.range, .rounding = shape.rounding, .rounding_key = sample.key});
  std::vector<float> expected(size_t{shape.rows} * shape.channels);
  Decode(sections, sample.widths, sample.plan(), shape.rows, shape.channels, expected);
  for (const uint32_t row : sample.sink_rows) {
    for (uint32_t c = 0; c < shape.channels; ++c) {
      expected[size_t{row} * shape.channels + c] = kUntouched;
    }
  }

  const Coded coded = runner->Encode(sample);
  const std::vector<float> back = runner->Decode(sample, coded);

  if (coded.status.non_finite != kNone || coded.status.overflow != kNone) return "status";
  const Bytes ranges = coded.ranges.empty() ? Bytes{} : WriteRanges(coded.ranges);
  if (ranges != *FindSection(sections, SectionKind::kRanges)) return "ranges";
  if (coded.codes != *FindSection(sections, SectionKind::kCodes)) return "codes";
  if (back.size() != expected.size()) return "size of the decoded tensor";
  for (size_t i = 0; i < back.size(); ++i) {
    if (std::bit_cast<uint32_t>(back[i]) != std::bit_cast<uint32_t>(expected[i])) {
      return StrCat("decoded element ", i, ": ", back[i], " instead of ", expected[i]);
    }
  }
  return "";
}

// Every width and the mixture, at sizes around 8, a warp, a block's 128 channels and a slab of 256
// rows. Range, sinks, ids and misalignment go through their values as the cases go on.
inline std::vector<Case> ParityCases(DType dtype, Rounding rounding) {
  std::vector<Case> cases;
  uint32_t n = 0;
  for (uint8_t width = 0; width <= kMixedWidths; ++width) {
    for (const uint32_t rows : {0u, 1u, 7u, 8u, 9u, 31u, 32u, 33u, 65u, 259u}) {
      for (const uint32_t channels : {1u, 7u, 8u, 9u, 31u, 32u, 33u, 127u, 129u, 260u}) {
        if (rows * channels > 12000 && width % 3 != 0) continue;  // the large ones at four widths
        cases.push_back({rows, channels, width, dtype, rounding,
                         n % 3 == 0 ? Range::kAbsMax : Range::kMinMax, n % 2 == 0, n % 5 < 2,
                         n % 4});
        ++n;
      }
    }
  }
  return cases;
}

}  // namespace amaq::quant::cuda

#endif  // AMAQ_TESTS_QUANT_CUDA_PARITY_H_
