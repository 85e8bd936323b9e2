#include "quant/rd_tables.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

#include "core/check.h"
#include "quant/rans.h"
#include "quant/uniform.h"

namespace amaq::quant {
namespace {

// 2^(j/16), to nearest.
constexpr std::array<float, 16> kSixteenthPowers = {
    0x1.000000p+0f, 0x1.0b5586p+0f, 0x1.172b84p+0f, 0x1.2387a6p+0f, 0x1.306fe0p+0f, 0x1.3dea64p+0f,
    0x1.4bfdaep+0f, 0x1.5ab07ep+0f, 0x1.6a09e6p+0f, 0x1.7a1148p+0f, 0x1.8ace54p+0f, 0x1.9c4918p+0f,
    0x1.ae89fap+0f, 0x1.c199bep+0f, 0x1.d5818ep+0f, 0x1.ea4afap+0f};

// ceil(2^31 * 2^(j/16))
constexpr std::array<uint32_t, 16> kSixteenthBounds = {
    0x80000000u, 0x85aac368u, 0x8b95c1e4u, 0x91c3d374u, 0x9837f052u, 0x9ef53261u,
    0xa5fed6aau, 0xad583eebu, 0xb504f334u, 0xbd08a3a0u, 0xc5672a12u, 0xce248c16u,
    0xd744fccbu, 0xe0ccdeedu, 0xeac0c6e8u, 0xf5257d16u};

// 2^(j/4)
constexpr std::array<double, 4> kQuarterPowers = {1.0, 0x1.306fe0a31b715p+0, 0x1.6a09e667f3bcdp+0,
                                                  0x1.ae89f995ad3adp+0};

constexpr std::array<uint32_t, kRdRowClasses> kRowWeights = {64, 91, 128, 181, 256, 362, 512, 724};

constexpr uint32_t kPriorSum = 1u << 16;
constexpr uint32_t kCountShift = 7;  // kPriorSum is then worth 512 symbols
constexpr double kLargestBinScale = 16;
constexpr int32_t kLargestBin = 127;

// Floors, of numbers that may be negative.
constexpr int32_t FloorShift(int32_t value, uint32_t bits) { return value >> bits; }

double Power(int32_t exponent) {
  return std::bit_cast<double>(static_cast<uint64_t>(1023 + exponent) << 52);
}

// Mean magnitude of the bins of table t.
double ScaleOf(size_t table, uint32_t low_bits) {
  const int32_t quarters = static_cast<int32_t>(table) - kRdUnitTable;
  return kQuarterPowers[static_cast<size_t>(quarters & 3)] * Power(FloorShift(quarters, 2)) *
         Power(-static_cast<int32_t>(low_bits));
}

struct Family {
  std::array<RdTableShape, kRdTables> shapes;
  std::array<uint32_t, kRdTables + 1> offsets{};
  std::vector<uint32_t> priors;  // at the offsets
};

// Weights of hi = 0 and of one of the two signs of |hi| = 1..., and of the escape.
void AppendPrior(double scale, int32_t largest, std::vector<uint32_t>* priors) {
  const double theta = (std::sqrt(1 + scale * scale) - 1) / scale;
  double share = (1 - theta) / (1 + theta);
  for (int32_t k = 0; k <= largest; ++k) {
    priors->push_back(static_cast<uint32_t>(share * kPriorSum));
    share = share * theta;
  }
  priors->push_back(static_cast<uint32_t>(2 * share / (1 - theta) * kPriorSum));
}

Family MakeFamily() {
  Family family;
  for (size_t t = 0; t < kRdTables; ++t) {
    RdTableShape& shape = family.shapes[t];
    while (ScaleOf(t, shape.low_bits) >= kLargestBinScale) ++shape.low_bits;
    const double scale = ScaleOf(t, shape.low_bits);
    shape.largest = std::min(kLargestBin, 2 + static_cast<int32_t>(9 * scale));
    AppendPrior(scale, shape.largest, &family.priors);
    family.offsets[t + 1] = static_cast<uint32_t>(family.priors.size());
  }
  return family;
}

const Family& TheFamily() {
  static const Family family = MakeFamily();
  return family;
}

}  // namespace

float RdStep::value() const {
  const int32_t at = index;
  const float power = std::bit_cast<float>(static_cast<uint32_t>(127 + FloorShift(at, 4)) << 23);
  return scale * (kSixteenthPowers[static_cast<size_t>(at & 15)] * power);
}

bool RdStep::is_valid() const {
  if (index < -kRdLargestIndex || index > kRdLargestIndex) return false;
  if (!IsFinite(scale) || !(scale > 0)) return false;
  const float step = value();
  return step >= kSmallestStep && IsFinite(step * static_cast<float>(kRdLargest + 1));
}

std::span<const RdTableShape> RdShapes() { return TheFamily().shapes; }

std::span<const uint32_t> RdCountOffsets() { return TheFamily().offsets; }

std::vector<uint16_t> RdFrequencies(size_t table, std::span<const uint32_t> counts) {
  const Family& family = TheFamily();
  const RdTableShape& shape = family.shapes[table];
  const std::span<const uint32_t> prior =
      std::span(family.priors).subspan(family.offsets[table], counts.size());
  // A pair of signs shares its count; all weights are doubled, so that it can be halved.
  const size_t escape = counts.size() - 1;
  std::vector<uint64_t> weights(counts.size());
  uint64_t total = 0;
  for (size_t k = 0; k < counts.size(); ++k) {
    const bool is_pair = k != 0 && k != escape;
    const uint64_t counted = uint64_t{counts[k]} << (is_pair ? kCountShift : kCountShift + 1);
    weights[k] = 2 * uint64_t{prior[k]} + counted;
    total += is_pair ? 2 * weights[k] : weights[k];
  }
  AMAQ_CHECK(total != 0);  // no prior is 0
  const uint32_t num_symbols = shape.num_symbols();
  const uint64_t shared = kFrequencyTotal - num_symbols;
  std::vector<uint16_t> of_bin(counts.size());
  uint32_t rest = kFrequencyTotal;
  for (size_t k = 0; k < counts.size(); ++k) {
    of_bin[k] = static_cast<uint16_t>(1 + weights[k] * shared / total);
    rest -= k != 0 && k != escape ? 2u * of_bin[k] : of_bin[k];
  }
  for (size_t k = 1; k < escape && rest >= 2; ++k, rest -= 2) ++of_bin[k];
  of_bin[0] = static_cast<uint16_t>(of_bin[0] + rest);
  std::vector<uint16_t> frequencies(num_symbols);
  for (size_t s = 0; s < num_symbols; ++s) frequencies[s] = of_bin[(s + 1) / 2];
  return frequencies;
}

int32_t RdSixteenths(uint64_t value) {
  AMAQ_CHECK(value != 0);
  const auto exponent = static_cast<int32_t>(std::bit_width(value)) - 1;
  const auto mantissa = static_cast<uint32_t>((value << (63 - exponent)) >> 32);
  int32_t j = 15;
  while (mantissa < kSixteenthBounds[static_cast<size_t>(j)]) --j;
  return 16 * exponent + j;
}

uint64_t RdScaled(uint64_t value, int32_t sixteenths) {
  constexpr uint64_t kLimit = UINT32_MAX;
  const int32_t octaves = FloorShift(sixteenths, 4) - 31;
  const uint64_t product =
      std::min(value, kLimit) * kSixteenthBounds[static_cast<size_t>(sixteenths & 15)];
  if (octaves <= -64) return 0;
  if (octaves <= 0) return std::min(product >> -octaves, kLimit);
  return product == 0 ? 0 : kLimit;
}

uint8_t RdBaseOf(int32_t sixteenths) {
  constexpr int32_t kMiddle = kRdUnitTable - static_cast<int32_t>(kRdRowStride * kRdMiddleRow);
  const int32_t base = FloorShift(sixteenths + 2, 2) + kMiddle;
  return static_cast<uint8_t>(std::clamp(base, 0, static_cast<int32_t>(kRdBases) - 1));
}

uint32_t RdRowWeight(size_t row_class) { return kRowWeights[row_class]; }

}  // namespace amaq::quant
