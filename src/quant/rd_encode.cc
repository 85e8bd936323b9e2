#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "core/bytes.h"
#include "core/check.h"
#include "core/rng.h"
#include "quant/codec.h"
#include "quant/rd.h"
#include "quant/rd_format.h"
#include "quant/uniform.h"

namespace amaq::quant {
namespace {

constexpr size_t kNoLimit = size_t{1} << 40;

// Quantizing --------------------------------------------------------------------------------------

void CheckShape(std::span<const float> y, const RdOptions& options, const RdModel& model) {
  if (model.channels() == 0 || y.size() % model.channels() != 0 ||
      (!options.row_ids.empty() && options.row_ids.size() * model.channels() != y.size())) {
    Throw(Code::kInvalidArgument, y.size(), " values with ", options.row_ids.size(),
          " row ids are no rows of ", model.channels(), " channels");
  }
  if (!options.step.is_valid() || !(options.dead_zone >= 0) || !(options.dead_zone < 0.5f)) {
    Throw(Code::kInvalidArgument, "a step of scale ", options.step.scale, " and index ",
          options.step.index, " with dead zone ", options.dead_zone,
          " cannot be used; steps must be normal numbers, dead zones in [0, 0.5)");
  }
}

// floor(t + u), t within kRdLargest.
int32_t RoundStochastic(float t, uint32_t word) {
  auto floor_t = static_cast<int32_t>(t);
  if (static_cast<float>(floor_t) > t) --floor_t;
  const float fraction = t - static_cast<float>(floor_t);  // exact but for tiny negative t
  const auto threshold = static_cast<uint32_t>(fraction * 0x1p24f);
  return floor_t + ((word >> 8) < threshold ? 1 : 0);
}

int32_t RoundDeadZone(float t, float offset) {
  const auto magnitude = static_cast<int32_t>((t < 0 ? -t : t) + offset);
  return t < 0 ? -magnitude : magnitude;
}

// nullopt: a magnitude is too large.
std::optional<std::vector<int32_t>> Quantize(std::span<const float> y, const RdOptions& options,
                                             size_t channels) {
  const float inverse = 1.0f / options.step.value();
  const float offset = 0.5f - options.dead_zone;
  constexpr auto kLargest = static_cast<float>(kRdLargest - 1);
  std::vector<int32_t> q(y.size());
  bool is_codable = true;
  for (size_t i = 0; i < y.size(); ++i) {
    if (!IsFinite(y[i])) [[unlikely]] {
      const size_t row = i / channels;
      throw NonFiniteError(row, static_cast<uint32_t>(i % channels),
                           StrCat("row ", row, ", channel ", i % channels, " is ", y[i],
                                  "; only finite values can be coded"));
    }
    const float t = y[i] * inverse;
    if (!(t <= kLargest && t >= -kLargest)) [[unlikely]] {
      is_codable = false;
      continue;
    }
    if (options.rounding == Rounding::kNearestEven) {
      q[i] = RoundDeadZone(t, offset);
    } else {
      const size_t row = i / channels;
      const uint64_t id = options.row_ids.empty() ? row : options.row_ids[row];
      q[i] = RoundStochastic(t, PhiloxWord(options.rounding_key, id * channels + i % channels));
    }
  }
  if (!is_codable) return std::nullopt;
  return q;
}

// Kinds of rows -----------------------------------------------------------------------------------

// Mean square that a row has in each channel beside the mean of its kind: of integers as the model
// knows them, which are Laplace-distributed or nearly; of a first message, a quarter of what it
// has.
std::vector<float> NoiseOf(std::span<const float> y, const RdStep& step, const RdModel& model) {
  const size_t channels = model.channels();
  std::vector<float> noise(channels);
  if (model.generation() == 0) {
    const auto rows = static_cast<float>(y.size() / channels);
    for (size_t i = 0; i < y.size(); ++i) noise[i % channels] += y[i] * y[i] / (4 * rows);
    for (float& value : noise) value = std::max(value, std::numeric_limits<float>::min());
    return noise;
  }
  const std::vector<uint8_t> bases = model.BasesAt(step.index);
  for (size_t c = 0; c < channels; ++c) {
    const auto middle = static_cast<float>(bases[c] + kRdRowStride * kRdMiddleRow);
    const float mean = std::exp2((middle - static_cast<float>(kRdUnitTable)) / 4);
    const float value = (1.5f * mean * mean + 0.3f) * step.value() * step.value();
    noise[c] = std::clamp(value, std::numeric_limits<float>::min(), 0x1p120f);
  }
  return noise;
}

// Squares of values up to this, summed, are finite.
bool CanCompare(std::span<const float> y) {
  return std::all_of(y.begin(), y.end(), [](float v) { return v < 0x1p50f && v > -0x1p50f; });
}

std::vector<uint16_t> KindsOf(std::span<const float> y, const RdOptions& options,
                              const RdModel& model) {
  const bool is_wanted = options.kinds == RdKinds::kLearn ||
                         (options.kinds == RdKinds::kUse && model.memory().size() != 0);
  if (!is_wanted || y.empty() || !CanCompare(y)) return {};
  const std::vector<float> noise = NoiseOf(y, options.step, model);
  return FindRowKinds(y, {.memory = model.memory(),
                          .next_kind = model.num_kinds() + 1,
                          .noise = noise,
                          .may_add = options.kinds == RdKinds::kLearn});
}

// Classes -----------------------------------------------------------------------------------------

uint32_t EscapeBits(int32_t q) {
  const auto magnitude = static_cast<uint32_t>(q < 0 ? -q : q);
  return magnitude < 64 ? 8u : magnitude < 8192 ? 16u : 24u;
}

// What q costs in each class of rows, in 1/256 bit.
using RowCosts = std::array<uint32_t, kRdRowClasses>;

class Costs {
 public:
  explicit Costs(const SymbolTables& tables) : tables_(tables), near_(kRdBases * kNear) {
    for (size_t base = 0; base < kRdBases; ++base) {
      for (int32_t q = 0; q < kNear; ++q) {
        near_[base * kNear + static_cast<size_t>(q)] = Compute(base, q);
      }
    }
  }
  RowCosts Of(size_t base, int32_t q) const {
    const int32_t magnitude = q < 0 ? -q : q;
    if (magnitude < kNear) return near_[base * kNear + static_cast<size_t>(magnitude)];
    return Compute(base, q);
  }

 private:
  static constexpr int32_t kNear = 16;

  RowCosts Compute(size_t base, int32_t q) const {
    RowCosts costs;
    for (size_t r = 0; r < kRdRowClasses; ++r) {
      const size_t table = base + kRdRowStride * r;
      const RdTableShape& shape = RdShapeOf(table);
      const uint8_t symbol = shape.SymbolOf(q);
      const uint32_t extra = symbol == shape.escape() ? EscapeBits(q) : shape.low_bits;
      costs[r] = CostOf(tables_.slices(table)[symbol].frequency) + 256 * extra;
    }
    return costs;
  }
  static uint32_t CostOf(uint16_t frequency) {
    return static_cast<uint32_t>(
        std::lround(256 * (kFrequencyBits - std::log2(static_cast<double>(frequency)))));
  }

  const SymbolTables& tables_;
  std::vector<RowCosts> near_;
};

// A choice of classes, with the bits that it needs.
struct Choice {
  RdClasses classes;
  double bits = 0;
  bool has_own_bases = false;
  bool has_row_classes = false;
};

Choice ChooseRows(std::span<const int32_t> q, const Costs& costs, std::vector<uint8_t> bases) {
  const size_t channels = bases.size();
  const size_t rows = q.size() / channels;
  Choice choice;
  double chosen = 0, middle = 0;
  for (size_t row = 0; row < rows; ++row) {
    std::array<uint64_t, kRdRowClasses> sums{};
    for (size_t c = 0; c < channels; ++c) {
      const RowCosts cost = costs.Of(bases[c], q[row * channels + c]);
      for (size_t r = 0; r < kRdRowClasses; ++r) sums[r] += cost[r];
    }
    const auto* least = std::min_element(sums.begin(), sums.end());
    choice.classes.row_classes.push_back(static_cast<uint8_t>(least - sums.begin()));
    chosen += static_cast<double>(*least) / 256;
    middle += static_cast<double>(sums[kRdMiddleRow]) / 256;
  }
  chosen += 3 * static_cast<double>(rows);
  choice.has_row_classes = chosen < middle;
  if (!choice.has_row_classes) choice.classes.row_classes.assign(rows, kRdMiddleRow);
  choice.bits = std::min(chosen, middle);
  choice.classes.bases = std::move(bases);
  return choice;
}

std::vector<uint8_t> OwnBases(std::span<const int32_t> q, size_t channels,
                              std::span<const uint8_t> row_classes) {
  std::vector<uint64_t> sums(channels);
  for (size_t i = 0; i < q.size(); ++i) {
    sums[i % channels] += static_cast<uint64_t>(q[i] < 0 ? -q[i] : q[i]);
  }
  uint64_t weights = 0;
  for (const uint8_t entry : row_classes) weights += RdRowWeight(entry);
  std::vector<uint8_t> bases;
  for (const uint64_t sum : sums) {
    // In units of 1/256, half a count more.
    bases.push_back(RdBaseOf(RdSixteenths(256 * sum + 128) - RdSixteenths(weights)));
  }
  return bases;
}

Choice ChooseClasses(std::span<const int32_t> q, int32_t index, const RdModel& model) {
  const Costs costs(model.tables());
  Choice known = ChooseRows(q, costs, model.BasesAt(index));
  if (q.empty()) return known;
  std::vector<uint8_t> row_classes(q.size() / model.channels(), kRdMiddleRow);
  Choice own;
  for (int round = 0; round < 2; ++round) {
    own = ChooseRows(q, costs, OwnBases(q, model.channels(), row_classes));
    row_classes = own.classes.row_classes;
  }
  own.bits += 8 * static_cast<double>(model.channels());
  own.has_own_bases = true;
  return own.bits < known.bits ? own : known;
}

// Centroids ---------------------------------------------------------------------------------------

// The means of |y| / step - |q|; where nothing was counted, those of the model.
RdCentroids MeasureCentroids(std::span<const float> y, std::span<const int32_t> q,
                             const RdClasses& classes, float step, const RdModel& model) {
  struct Sum {
    double total = 0;
    double count = 0;
  };
  std::array<std::array<Sum, 2>, kRdCentroidGroups> sums;
  const size_t channels = classes.bases.size();
  for (size_t i = 0; i < q.size(); ++i) {
    if (q[i] == 0) continue;
    const int32_t magnitude = q[i] < 0 ? -q[i] : q[i];
    const size_t group = RdCentroidGroup(classes.Table(i / channels, i % channels));
    Sum& sum = sums[group][magnitude > 1 ? 1 : 0];
    sum.total += std::fabs(static_cast<double>(y[i])) / static_cast<double>(step) - magnitude;
    sum.count += 1;
  }
  RdCentroids centroids = model.centroids();
  for (size_t g = 0; g < kRdCentroidGroups; ++g) {
    for (size_t i = 0; i < 2; ++i) {
      const Sum& sum = sums[g][i];
      if (sum.count == 0) continue;
      const double mean = std::clamp(256 * sum.total / sum.count, -127.0, 127.0);
      centroids[g][i] = static_cast<int8_t>(std::lround(mean));
    }
  }
  return centroids;
}

// Writing -----------------------------------------------------------------------------------------

// Values of up to 16 bits, the lowest bit first.
class BitWriter {
 public:
  explicit BitWriter(Bytes* out) : out_(out) {}
  ~BitWriter() {
    if (used_ != 0) out_->push_back(static_cast<uint8_t>(pending_));
  }
  BitWriter(const BitWriter&) = delete;
  BitWriter& operator=(const BitWriter&) = delete;
  void Put(uint32_t value, uint32_t bits) {
    pending_ |= value << used_;
    used_ += bits;
    for (; used_ >= 8; used_ -= 8, pending_ >>= 8) {
      out_->push_back(static_cast<uint8_t>(pending_ & 0xffu));
    }
  }

 private:
  Bytes* out_;
  uint32_t pending_ = 0;
  uint32_t used_ = 0;
};

void AppendEscape(int32_t q, Bytes* out) {
  uint32_t value = q > 0 ? 2 * static_cast<uint32_t>(q) - 1 : 2 * static_cast<uint32_t>(-q);
  for (; value >= 0x80; value >>= 7) out->push_back(static_cast<uint8_t>(value | 0x80u));
  out->push_back(static_cast<uint8_t>(value));
}

void AppendBlock(ByteSpan block, Bytes* out) {
  AppendLittleEndian(out, static_cast<uint32_t>(block.size()));
  out->insert(out->end(), block.begin(), block.end());
}

void AppendSymbols(std::span<const uint8_t> symbols, const RdClasses& classes,
                   const SymbolTables& tables, const RansKernels& kernels, Bytes* out) {
  if (symbols.size() < kRdOneLaneSymbols) {
    const std::array<uint16_t, 1> one_channel = {0};
    const std::vector<uint8_t> table_of_symbol = RdTablesOf(classes);
    const Bytes block =
        *RansEncode({tables, one_channel, table_of_symbol}, symbols, kNoLimit, kernels);
    Bytes kept(block.begin(), block.begin() + kRdLaneBytes);
    kept.insert(kept.end(), block.begin() + kRansStateBytes, block.end());
    return AppendBlock(kept, out);
  }
  const size_t channels = classes.bases.size();
  const size_t rows = classes.row_classes.size();
  const std::vector<uint16_t> channel_tables(classes.bases.begin(), classes.bases.end());
  const std::vector<uint8_t> row_tables = RdRowTables(classes);
  const size_t block_rows = RdBlockRows(rows, channels);
  for (size_t first = 0; first < rows; first += block_rows) {
    const size_t count = std::min(block_rows, rows - first);
    AppendBlock(*RansEncode({tables, channel_tables, std::span(row_tables).subspan(first, count)},
                            symbols.subspan(first * channels, count * channels), kNoLimit, kernels),
                out);
  }
}

void AppendKinds(std::span<const uint16_t> kinds, Bytes* out) {
  const uint32_t largest = *std::max_element(kinds.begin(), kinds.end());
  const auto width = std::max(1u, static_cast<uint32_t>(std::bit_width(largest)));
  out->push_back(static_cast<uint8_t>(width));
  BitWriter writer(out);
  for (const uint16_t kind : kinds) writer.Put(kind, width);
}

void AppendValues(std::span<const int32_t> q, const RdClasses& classes, const SymbolTables& tables,
                  const RansKernels& kernels, Bytes* out) {
  const size_t channels = classes.bases.size();
  std::vector<uint8_t> symbols(q.size());
  Bytes low_bits, escapes;
  {
    BitWriter writer(&low_bits);
    for (size_t i = 0; i < q.size(); ++i) {
      const RdTableShape& shape = RdShapeOf(classes.Table(i / channels, i % channels));
      symbols[i] = shape.SymbolOf(q[i]);
      if (symbols[i] == shape.escape()) {
        AppendEscape(q[i], &escapes);
      } else {
        const uint32_t mask = (1u << shape.low_bits) - 1;
        writer.Put((static_cast<uint32_t>(q[i]) + shape.half()) & mask, shape.low_bits);
      }
    }
  }
  AppendSymbols(symbols, classes, tables, kernels, out);
  out->insert(out->end(), low_bits.begin(), low_bits.end());
  out->insert(out->end(), escapes.begin(), escapes.end());
}

}  // namespace

std::optional<RdEncoded> RdEncode(std::span<const float> y, const RdOptions& options,
                                  const RdModel& model, std::span<float> decoded) {
  CheckShape(y, options, model);
  AMAQ_CHECK(decoded.empty() || decoded.size() == y.size());
  AMAQ_CHECK(options.kinds == RdKinds::kNone || options.rounding == Rounding::kNearestEven);
  std::vector<uint16_t> kinds = KindsOf(y, options, model);
  std::vector<float> rest;
  if (!kinds.empty()) {
    rest.assign(y.begin(), y.end());
    RdAddExpectations(model.memory(), kinds, -1, rest);
    y = rest;
  }
  const std::optional<std::vector<int32_t>> q = Quantize(y, options, model.channels());
  if (!q) return std::nullopt;
  const Choice choice = ChooseClasses(*q, options.step.index, model);
  RdEncoded coded;
  coded.counts = RdCountsOf(*q, choice.classes, options.step.index);
  coded.counts.has_centroids =
      options.rounding == Rounding::kNearestEven && y.size() >= kRdOneLaneSymbols;
  RdCentroids centroids = model.centroids();
  const float step = options.step.value();
  if (coded.counts.has_centroids) {
    centroids = MeasureCentroids(y, *q, choice.classes, step, model);
    coded.counts.centroids = centroids;
  }
  Bytes out;
  AppendLittleEndian(&out, options.step.scale);
  AppendLittleEndian(&out, options.step.index);
  out.push_back(static_cast<uint8_t>((coded.counts.has_centroids ? kRdHasCentroids : 0) |
                                     (choice.has_own_bases ? kRdHasClasses : 0) |
                                     (choice.has_row_classes ? kRdHasRowClasses : 0) |
                                     (kinds.empty() ? 0 : kRdHasKinds)));
  AppendLittleEndian(&out, model.generation());
  if (coded.counts.has_centroids) AppendLittleEndian(&out, centroids);
  if (choice.has_row_classes) {
    BitWriter writer(&out);
    for (const uint8_t entry : choice.classes.row_classes) writer.Put(entry, 3);
  }
  if (!kinds.empty()) AppendKinds(kinds, &out);
  AppendValues(*q, choice.classes, model.tables(), RdKernels(options.kernels), &out);
  if (choice.has_own_bases) {
    coded.sections.push_back({SectionKind::kRdClasses, choice.classes.bases});
  }
  coded.sections.push_back({SectionKind::kRdCodes, std::move(out)});
  if (!kinds.empty()) {
    coded.counts.rows.resize(y.size());
    RdDequantize(*q, choice.classes, centroids, step, coded.counts.rows);
    RdAddExpectations(model.memory(), kinds, 1, coded.counts.rows);
    coded.counts.kinds = std::move(kinds);
    std::copy_n(coded.counts.rows.begin(), decoded.size(), decoded.begin());
  } else if (!decoded.empty()) {
    RdDequantize(*q, choice.classes, centroids, step, decoded);
  }
  return coded;
}

double RdEstimateBits(std::span<const float> y, const RdOptions& options, const RdModel& model) {
  CheckShape(y, options, model);
  const std::optional<std::vector<int32_t>> q = Quantize(y, options, model.channels());
  if (!q) return std::numeric_limits<double>::infinity();
  const Choice choice = ChooseClasses(*q, options.step.index, model);
  constexpr double kHeadBytes = 11;
  constexpr double kLaneBytes = 3;  // what a lane's state holds beyond its symbols
  double bytes = kHeadBytes + sizeof(uint32_t) + kLaneBytes;
  if (y.size() >= kRdOneLaneSymbols) {
    const size_t rows = y.size() / model.channels();
    const auto block_rows = static_cast<double>(RdBlockRows(rows, model.channels()));
    const double blocks = std::ceil(static_cast<double>(rows) / block_rows);
    bytes = kHeadBytes + blocks * (sizeof(uint32_t) + kLaneBytes * kRansLanes);
    if (options.rounding == Rounding::kNearestEven) bytes += sizeof(RdCentroids);
  }
  return choice.bits + 8 * bytes;
}

int16_t RdSolveIndex(std::span<const float> y, RdOptions options, const RdModel& model,
                     double bits) {
  int32_t low = -kRdLargestIndex;  // too many bits, or the smallest that there is
  int32_t high = kRdLargestIndex;
  while (low < high) {
    const int32_t middle = low + (high - low) / 2;
    options.step.index = static_cast<int16_t>(middle);
    const bool fits = options.step.is_valid() && RdEstimateBits(y, options, model) <= bits;
    (fits ? high : low) = fits ? middle : middle + 1;
  }
  return static_cast<int16_t>(high);
}

RdStep RdStepOf(const Bytes& codes) {
  ByteReader reader(codes, "the rate-distortion codes section");
  RdStep step;
  step.scale = reader.Read<float>();
  step.index = reader.Read<int16_t>();
  return step;
}

double RdRoundingNoise(double mean) {
  if (mean < 1e-3) return mean;
  if (mean > 30) return 1.0 / 6;
  // E q^2 - E (y / step)^2
  return mean / std::tanh(1 / (2 * mean)) - 2 * mean * mean;
}

float RdScaleOf(std::span<const float> y) {
  double energy = 0;
  double count = 0;
  for (const float value : y) {
    if (!IsFinite(value)) continue;
    energy += static_cast<double>(value) * static_cast<double>(value);
    count += 1;
  }
  const auto scale = static_cast<float>(count == 0 ? 0 : std::sqrt(energy / count));
  return scale >= 0x1p-80f && scale <= 0x1p+60f ? scale : 1.0f;
}

}  // namespace amaq::quant
