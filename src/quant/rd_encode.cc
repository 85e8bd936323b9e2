#include <algorithm>
#include <array>
#include <atomic>
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
#include "quant/rd_arithmetic.h"
#include "quant/rd_bits.h"
#include "quant/rd_blocks.h"
#include "quant/rd_format.h"
#include "quant/uniform.h"

namespace amaq::quant {
namespace {

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

// Of some rows of y; false: a magnitude is too large.
bool QuantizeRows(std::span<const float> y, const RdOptions& options, size_t channels, RdRows rows,
                  std::span<int32_t> q) {
  const float inverse = 1.0f / options.step.value();
  const float offset = 0.5f - options.dead_zone;
  bool is_codable = true;
  for (size_t row = rows.first; row < rows.first + rows.count; ++row) {
    const uint64_t id = options.row_ids.empty() ? row : options.row_ids[row];
    for (size_t c = 0; c < channels; ++c) {
      const float value = y[row * channels + c];
      if (!IsFinite(value)) [[unlikely]] {
        throw NonFiniteError(row, static_cast<uint32_t>(c),
                             StrCat("row ", row, ", channel ", c, " is ", value,
                                    "; only finite values can be coded"));
      }
      const float t = value * inverse;
      if (!RdFits(t)) [[unlikely]] {
        is_codable = false;
      } else if (options.rounding == Rounding::kNearestEven) {
        q[row * channels + c] = RdRoundDeadZone(t, offset);
      } else {
        q[row * channels + c] =
            RdRoundStochastic(t, PhiloxWord(options.rounding_key, id * channels + c));
      }
    }
  }
  return is_codable;
}

// Kinds of rows -----------------------------------------------------------------------------------

// Mean square that a row has in each channel beside the mean of its kind: of integers as the model
// knows them, which are Laplace-distributed or nearly; of a first message, a quarter of what it
// has.
std::vector<float> NoiseOf(std::span<const float> y, const RdStep& step, const RdModel& model) {
  const size_t channels = model.channels();
  std::vector<float> noise(channels);
  if (model.generation() == 0) {
    const size_t rows = y.size() / channels;
    for (size_t i = 0; i < y.size(); ++i) {
      noise[i % channels] += y[i] * y[i] / static_cast<float>(4 * rows);
    }
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

// What q costs in each class of rows, in 1/256 bit.
using RowCosts = std::array<uint32_t, kRdRowClasses>;

class Costs {
 public:
  explicit Costs(const SymbolTables& tables)
      : of_symbols_(RdSymbolCosts(tables)), near_(kRdBases * kRdNear) {
    for (size_t base = 0; base < kRdBases; ++base) {
      for (int32_t q = 0; q < kRdNear; ++q) {
        near_[base * kRdNear + static_cast<size_t>(q)] = Compute(base, q);
      }
    }
  }
  RowCosts Of(size_t base, int32_t q) const {
    const int32_t magnitude = RdMagnitude(q);
    if (magnitude < kRdNear) return near_[base * kRdNear + static_cast<size_t>(magnitude)];
    return Compute(base, q);
  }

 private:
  RowCosts Compute(size_t base, int32_t q) const {
    RowCosts costs;
    for (size_t r = 0; r < kRdRowClasses; ++r) {
      const size_t table = base + kRdRowStride * r;
      costs[r] = RdCostOf(RdShapeOf(table), of_symbols_.data() + (table << 8), q);
    }
    return costs;
  }

  const std::vector<uint32_t> of_symbols_;
  std::vector<RowCosts> near_;
};

// A choice of classes, with the bits that it needs.
struct Choice {
  RdClasses classes;
  double bits = 0;
  bool has_own_bases = false;
  bool has_row_classes = false;
};

// Costs of a row of q in each of its classes.
std::array<uint64_t, kRdRowClasses> CostsOfRow(std::span<const int32_t> q, const Costs& costs,
                                               std::span<const uint8_t> bases) {
  constexpr size_t kSummed = size_t{1} << 16;  // costs are below 2^14 each
  std::array<uint64_t, kRdRowClasses> sums{};
  for (size_t begin = 0; begin < q.size(); begin += kSummed) {
    RowCosts part{};
    for (size_t c = begin; c < std::min(begin + kSummed, q.size()); ++c) {
      const RowCosts cost = costs.Of(bases[c], q[c]);
      for (size_t r = 0; r < kRdRowClasses; ++r) part[r] += cost[r];
    }
    for (size_t r = 0; r < kRdRowClasses; ++r) sums[r] += part[r];
  }
  return sums;
}

Choice ChooseRows(std::span<const int32_t> q, const Costs& costs, std::vector<uint8_t> bases,
                  size_t threads) {
  const size_t channels = bases.size();
  const size_t rows = q.size() / channels;
  Choice choice;
  choice.classes.row_classes.resize(rows);
  std::atomic<uint64_t> chosen = 0, middle = 0;  // in 1/256 bit
  RdForRows(rows, channels, threads, [&](RdRows part) {
    for (size_t row = part.first; row < part.first + part.count; ++row) {
      const auto sums = CostsOfRow(q.subspan(row * channels, channels), costs, bases);
      const auto* least = std::min_element(sums.begin(), sums.end());
      choice.classes.row_classes[row] = static_cast<uint8_t>(least - sums.begin());
      chosen += *least;
      middle += sums[kRdMiddleRow];
    }
  });
  chosen += uint64_t{256} * kRdBitsOfRowClass * rows;
  choice.has_row_classes = chosen < middle;
  if (!choice.has_row_classes) choice.classes.row_classes.assign(rows, kRdMiddleRow);
  choice.bits = static_cast<double>(std::min(chosen.load(), middle.load())) / 256;
  choice.classes.bases = std::move(bases);
  return choice;
}

// magnitudes: RdChannelSums of the message.
std::vector<uint8_t> OwnBases(std::span<const uint64_t> magnitudes,
                              std::span<const uint8_t> row_classes) {
  uint64_t weights = 0;
  for (const uint8_t entry : row_classes) weights += RdRowWeight(entry);
  std::vector<uint8_t> bases;
  for (const uint64_t sum : magnitudes) {
    // In units of 1/256, half a count more.
    bases.push_back(RdBaseOf(RdSixteenths(256 * sum + 128) - RdSixteenths(weights)));
  }
  return bases;
}

Choice ChooseClasses(std::span<const int32_t> q, int32_t index, const RdModel& model,
                     size_t threads) {
  const Costs costs(model.tables());
  Choice known = ChooseRows(q, costs, model.BasesAt(index), threads);
  if (q.empty()) return known;
  const std::vector<uint64_t> magnitudes = RdChannelSums(q, model.channels(), threads);
  std::vector<uint8_t> row_classes(q.size() / model.channels(), kRdMiddleRow);
  Choice own;
  for (int round = 0; round < 2; ++round) {
    own = ChooseRows(q, costs, OwnBases(magnitudes, row_classes), threads);
    row_classes = own.classes.row_classes;
  }
  own.bits += 8 * static_cast<double>(model.channels());
  own.has_own_bases = true;
  return own.bits < known.bits ? own : known;
}

// Centroids ---------------------------------------------------------------------------------------

struct CentroidSum {
  double total = 0;
  double count = 0;
};
using CentroidSums = std::array<std::array<CentroidSum, 2>, kRdCentroidGroups>;

// Of |y| / step - |q|, over some rows.
CentroidSums SumForCentroids(std::span<const float> y, std::span<const int32_t> q,
                             const RdClasses& classes, float step, RdRows rows) {
  CentroidSums sums;
  const size_t channels = classes.bases.size();
  for (size_t row = rows.first; row < rows.first + rows.count; ++row) {
    for (size_t c = 0; c < channels; ++c) {
      const size_t i = row * channels + c;
      if (q[i] == 0) continue;
      const int32_t magnitude = RdMagnitude(q[i]);
      const size_t group = RdCentroidGroup(classes.Table(row, c));
      CentroidSum& sum = sums[group][magnitude > 1 ? 1 : 0];
      sum.total += std::fabs(static_cast<double>(y[i])) / static_cast<double>(step) - magnitude;
      sum.count += 1;
    }
  }
  return sums;
}

// The means; where nothing was counted, those of the model. Sums of blocks are added up in the
// order of these, so that the threads do not show.
RdCentroids MeasureCentroids(std::span<const float> y, std::span<const int32_t> q,
                             const RdClasses& classes, float step, const RdModel& model,
                             size_t threads) {
  const RdParts blocks = RdBlocks(classes.row_classes.size(), classes.bases.size());
  std::vector<CentroidSums> sums(blocks.count());
  ParallelFor(sums.size(), threads,
              [&](size_t i) { sums[i] = SumForCentroids(y, q, classes, step, blocks.Of(i)); });
  RdCentroids centroids = model.centroids();
  for (size_t g = 0; g < kRdCentroidGroups; ++g) {
    for (size_t i = 0; i < 2; ++i) {
      CentroidSum sum;
      for (const CentroidSums& of_block : sums) {
        sum.total += of_block[g][i].total;
        sum.count += of_block[g][i].count;
      }
      if (sum.count == 0) continue;
      const double mean = std::clamp(256 * sum.total / sum.count, -127.0, 127.0);
      centroids[g][i] = static_cast<int8_t>(std::lround(mean));
    }
  }
  return centroids;
}

// Writing -----------------------------------------------------------------------------------------

void AppendKinds(std::span<const uint16_t> kinds, Bytes* out) {
  const uint32_t largest = *std::max_element(kinds.begin(), kinds.end());
  const auto width = std::max(1u, static_cast<uint32_t>(std::bit_width(largest)));
  out->push_back(static_cast<uint8_t>(width));
  RdBitWriter writer(out);
  for (const uint16_t kind : kinds) writer.Put(kind, width);
}

}  // namespace

std::optional<std::vector<int32_t>> RdQuantize(std::span<const float> y, const RdOptions& options,
                                               size_t channels, size_t threads) {
  std::vector<int32_t> q(y.size());
  std::atomic<bool> is_codable = true;
  RdForRows(y.size() / channels, channels, threads, [&](RdRows rows) {
    if (!QuantizeRows(y, options, channels, rows, q)) is_codable = false;
  });
  if (!is_codable) return std::nullopt;
  return q;
}

std::optional<RdEncoded> RdEncode(std::span<const float> y, const RdOptions& options,
                                  const RdModel& model, std::span<float> decoded) {
  CheckShape(y, options, model);
  AMAQ_CHECK(decoded.empty() || decoded.size() == y.size());
  AMAQ_CHECK(options.kinds == RdKinds::kNone || options.rounding == Rounding::kNearestEven);
  const size_t threads = RdThreads(options.threads, y.size());
  std::vector<uint16_t> kinds = KindsOf(y, options, model);
  std::vector<float> rest;
  if (!kinds.empty()) {
    rest.assign(y.begin(), y.end());
    RdAddExpectations(model.memory(), kinds, -1, rest, threads);
    y = rest;
  }
  const std::optional<std::vector<int32_t>> q = RdQuantize(y, options, model.channels(), threads);
  if (!q) return std::nullopt;
  const Choice choice = ChooseClasses(*q, options.step.index, model, threads);
  RdEncoded coded;
  coded.counts = RdCountsOf(*q, choice.classes, options.step.index, threads);
  coded.counts.has_centroids =
      options.rounding == Rounding::kNearestEven && y.size() >= kRdOneLaneSymbols;
  RdCentroids centroids = model.centroids();
  const float step = options.step.value();
  if (coded.counts.has_centroids) {
    centroids = MeasureCentroids(y, *q, choice.classes, step, model, threads);
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
    RdBitWriter writer(&out);
    for (const uint8_t entry : choice.classes.row_classes) writer.Put(entry, kRdBitsOfRowClass);
  }
  if (!kinds.empty()) AppendKinds(kinds, &out);
  RdWriteIntegers(*q, {choice.classes, model.tables(), RdKernels(options.kernels), threads}, &out);
  if (choice.has_own_bases) {
    coded.sections.push_back({SectionKind::kRdClasses, choice.classes.bases});
  }
  coded.sections.push_back({SectionKind::kRdCodes, std::move(out)});
  if (!kinds.empty()) {
    coded.counts.rows.resize(y.size());
    RdDequantize(*q, choice.classes, centroids, step, coded.counts.rows, threads);
    RdAddExpectations(model.memory(), kinds, 1, coded.counts.rows, threads);
    coded.counts.kinds = std::move(kinds);
    std::copy_n(coded.counts.rows.begin(), decoded.size(), decoded.begin());
  } else if (!decoded.empty()) {
    RdDequantize(*q, choice.classes, centroids, step, decoded, threads);
  }
  return coded;
}

double RdEstimateBits(std::span<const float> y, const RdOptions& options, const RdModel& model) {
  CheckShape(y, options, model);
  const size_t threads = RdThreads(options.threads, y.size());
  const std::optional<std::vector<int32_t>> q = RdQuantize(y, options, model.channels(), threads);
  if (!q) return std::numeric_limits<double>::infinity();
  const Choice choice = ChooseClasses(*q, options.step.index, model, threads);
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
