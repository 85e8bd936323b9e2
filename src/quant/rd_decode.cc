#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "core/bytes.h"
#include "core/check.h"
#include "core/error.h"
#include "quant/rd.h"
#include "quant/rd_format.h"
#include "quant/sections.h"

namespace amaq::quant {
namespace {

constexpr uint32_t kBitsOfRowClass = 3;

struct Head {
  RdStep step;
  uint8_t flags = 0;
};

Head ReadHead(ByteReader* reader, const RdModel& model) {
  Head head;
  head.step.scale = reader->Read<float>();
  head.step.index = reader->Read<int16_t>();
  head.flags = reader->Read<uint8_t>();
  const auto generation = reader->Read<uint32_t>();
  if (head.flags > kRdKnownFlags) {
    Throw(Code::kDataLoss, "the rate-distortion codes have the unknown flags ", int{head.flags});
  }
  if (!head.step.is_valid()) {
    Throw(Code::kDataLoss, "the rate-distortion codes have the scale ", head.step.scale,
          " and step index ", head.step.index, "; indices go to ", kRdLargestIndex,
          " and steps must be normal numbers");
  }
  if (generation != model.generation()) {
    Throw(Code::kDataLoss, "the rate-distortion codes were made with generation ", generation,
          " of the model; here it is of generation ", model.generation());
  }
  return head;
}

std::vector<uint8_t> ReadBases(const std::vector<Section>& sections, size_t channels) {
  const Bytes& bytes =
      RequireSection(sections, SectionKind::kRdClasses, "rate-distortion classes", channels);
  for (size_t c = 0; c < channels; ++c) {
    if (bytes[c] < kRdBases) continue;
    Throw(Code::kDataLoss, "channel ", c, " is in the rate-distortion class ", int{bytes[c]},
          "; the largest is ", kRdBases - 1);
  }
  return bytes;
}

RdCentroids ReadCentroids(ByteReader* reader) {
  RdCentroids centroids;
  std::memcpy(&centroids, reader->Take(sizeof(centroids)).data(), sizeof(centroids));
  return centroids;
}

// The next bits of a packed stream, the lowest first.
class BitReader {
 public:
  explicit BitReader(ByteSpan bytes) : bytes_(bytes) {}
  uint32_t Take(uint32_t count) {
    uint32_t value = 0;
    for (uint32_t i = 0; i < count; ++i, ++position_) {
      value |= static_cast<uint32_t>(bytes_[position_ / 8] >> (position_ % 8) & 1) << i;
    }
    return value;
  }
  void ExpectZeros() {
    for (; position_ < 8 * bytes_.size(); ++position_) {
      if ((bytes_[position_ / 8] >> (position_ % 8) & 1) == 0) continue;
      Throw(Code::kDataLoss, "the spare bits of the rate-distortion codes must be 0");
    }
  }

 private:
  ByteSpan bytes_;
  size_t position_ = 0;
};

std::vector<uint8_t> ReadRowClasses(ByteReader* reader, size_t rows) {
  BitReader bits(reader->Take((rows * kBitsOfRowClass + 7) / 8));
  std::vector<uint8_t> classes(rows);
  for (uint8_t& entry : classes) entry = static_cast<uint8_t>(bits.Take(kBitsOfRowClass));
  bits.ExpectZeros();
  return classes;
}

// known: the largest kind so far. New kinds of a message follow on those.
std::vector<uint16_t> ReadKinds(ByteReader* reader, size_t rows, size_t channels, size_t known) {
  const auto width = reader->Read<uint8_t>();
  if (width == 0 || width > kRdKindBits) {
    Throw(Code::kDataLoss, "the kinds of rows have ", int{width}, " bits; they have 1 to ",
          kRdKindBits);
  }
  BitReader bits(reader->Take((rows * width + 7) / 8));
  const size_t largest = std::min(RdMemory::LargestKind(channels), known + rows);
  std::vector<uint16_t> kinds(rows);
  for (uint16_t& kind : kinds) {
    kind = static_cast<uint16_t>(bits.Take(width));
    if (kind <= largest) continue;
    Throw(Code::kDataLoss, "a row is of kind ", kind, "; the largest can be ", largest);
  }
  bits.ExpectZeros();
  return kinds;
}

// One block of one lane: rows of one symbol, each with a table of its own.
void DecodeOneLane(ByteReader* reader, const RdClasses& classes, const SymbolTables& tables,
                   const RansKernels& kernels, std::span<uint8_t> symbols) {
  const ByteSpan coded = reader->Take(reader->Read<uint32_t>());
  if (coded.size() < kRdLaneBytes) {
    Throw(Code::kDataLoss, "the rate-distortion codes have a block of ", coded.size(), " bytes");
  }
  Bytes block(kRansStateBytes + coded.size() - kRdLaneBytes);
  for (size_t lane = 1; lane < kRansLanes; ++lane) {
    std::memcpy(block.data() + lane * kRdLaneBytes, &kRdLaneStart, kRdLaneBytes);
  }
  std::memcpy(block.data(), coded.data(), kRdLaneBytes);
  if (coded.size() > kRdLaneBytes) {
    std::memcpy(block.data() + kRansStateBytes, coded.data() + kRdLaneBytes,
                coded.size() - kRdLaneBytes);
  }
  const std::array<uint16_t, 1> one_channel = {0};
  const std::vector<uint8_t> table_of_symbol = RdTablesOf(classes);
  RansDecode({tables, one_channel, table_of_symbol}, block, symbols, kernels);
}

void DecodeBlocks(ByteReader* reader, const RdClasses& classes, const SymbolTables& tables,
                  const RansKernels& kernels, std::span<uint8_t> symbols) {
  const size_t channels = classes.bases.size();
  const size_t rows = classes.row_classes.size();
  const std::vector<uint16_t> channel_tables(classes.bases.begin(), classes.bases.end());
  const std::vector<uint8_t> row_tables = RdRowTables(classes);
  const size_t block_rows = RdBlockRows(rows, channels);
  for (size_t first = 0; first < rows; first += block_rows) {
    const size_t count = std::min(block_rows, rows - first);
    const ByteSpan coded = reader->Take(reader->Read<uint32_t>());
    RansDecode({tables, channel_tables, std::span(row_tables).subspan(first, count)}, coded,
               symbols.subspan(first * channels, count * channels), kernels);
  }
}

int32_t ReadEscape(ByteReader* reader, const RdTableShape& shape) {
  uint32_t value = 0;
  for (uint32_t shift = 0;; shift += 7) {
    const auto byte = reader->Read<uint8_t>();
    value |= (byte & 0x7fu) << shift;
    if (byte == 0 && shift != 0) Throw(Code::kDataLoss, "an escaped symbol is ill-formed");
    if (byte < 0x80) break;
    if (shift == 21) Throw(Code::kDataLoss, "an escaped symbol is too long");
  }
  const auto magnitude = static_cast<int32_t>((value + 1) / 2);
  const int32_t q = value % 2 != 0 ? magnitude : -magnitude;
  if (magnitude > kRdLargest || shape.SymbolOf(q) != shape.escape()) {
    Throw(Code::kDataLoss, "an escaped symbol is ", q, "; its table reaches to ", shape.largest,
          " in bins of ", 1 << shape.low_bits, ", escapes to ", kRdLargest);
  }
  return q;
}

// Behind the blocks: low bits of all symbols, then the escapes.
std::vector<int32_t> ReadValues(ByteReader* reader, const RdClasses& classes,
                                std::span<const uint8_t> symbols) {
  const size_t channels = classes.bases.size();
  std::vector<int32_t> q(symbols.size());
  uint64_t low_bits = 0;
  for (size_t i = 0; i < symbols.size(); ++i) {
    const RdTableShape& shape = RdShapeOf(classes.Table(i / channels, i % channels));
    if (symbols[i] != shape.escape()) low_bits += shape.low_bits;
  }
  BitReader bits(reader->Take(static_cast<size_t>((low_bits + 7) / 8)));
  for (size_t i = 0; i < symbols.size(); ++i) {
    const RdTableShape& shape = RdShapeOf(classes.Table(i / channels, i % channels));
    q[i] = symbols[i] == shape.escape() ? ReadEscape(reader, shape)
                                        : shape.ValueOf(symbols[i], bits.Take(shape.low_bits));
  }
  bits.ExpectZeros();
  return q;
}

}  // namespace

RdCounts RdDecode(const std::vector<Section>& sections, const RdModel& model, std::span<float> out,
                  const RansKernels* kernels) {
  const size_t channels = model.channels();
  AMAQ_CHECK(channels != 0);
  if (out.size() % channels != 0) {
    Throw(Code::kInvalidArgument, out.size(), " values are no rows of ", channels, " channels");
  }
  const size_t rows = out.size() / channels;
  ByteReader reader(RequireSection(sections, SectionKind::kRdCodes, "rate-distortion codes"),
                    "the rate-distortion codes section");
  const Head head = ReadHead(&reader, model);
  RdClasses classes;
  if ((head.flags & kRdHasClasses) != 0) {
    classes.bases = ReadBases(sections, channels);
  } else if (FindSection(sections, SectionKind::kRdClasses) != nullptr) {
    Throw(Code::kDataLoss, "the message has rate-distortion classes that its codes do not name");
  } else {
    classes.bases = model.BasesAt(head.step.index);
  }
  RdCentroids centroids = model.centroids();
  const bool has_centroids = (head.flags & kRdHasCentroids) != 0;
  if (has_centroids) centroids = ReadCentroids(&reader);
  classes.row_classes.assign(rows, kRdMiddleRow);
  if ((head.flags & kRdHasRowClasses) != 0) classes.row_classes = ReadRowClasses(&reader, rows);
  std::vector<uint16_t> kinds;
  if ((head.flags & kRdHasKinds) != 0) {
    kinds = ReadKinds(&reader, rows, channels, model.num_kinds());
  }
  std::vector<uint8_t> symbols(out.size());
  if (out.size() < kRdOneLaneSymbols) {
    DecodeOneLane(&reader, classes, model.tables(), RdKernels(kernels), symbols);
  } else {
    DecodeBlocks(&reader, classes, model.tables(), RdKernels(kernels), symbols);
  }
  const std::vector<int32_t> q = ReadValues(&reader, classes, symbols);
  reader.ExpectEnd();
  RdCounts counts = RdCountsOf(q, classes, head.step.index);
  if (!kinds.empty()) {
    counts.rows.resize(out.size());
    RdDequantize(q, classes, centroids, head.step.value(), counts.rows);
    RdAddExpectations(model.memory(), kinds, 1, counts.rows);
    if (!RdCanLearn(counts.rows)) {
      Throw(Code::kDataLoss, "a row with a kind has a value of 2^100 or more");
    }
    std::copy(counts.rows.begin(), counts.rows.end(), out.begin());
    counts.kinds = std::move(kinds);
  } else {
    RdDequantize(q, classes, centroids, head.step.value(), out);
  }
  counts.has_centroids = has_centroids;
  if (has_centroids) counts.centroids = centroids;
  return counts;
}

RdCounts RdCountsOf(std::span<const int32_t> q, const RdClasses& classes, int32_t index) {
  const size_t channels = classes.bases.size();
  const std::span<const uint32_t> offsets = RdCountOffsets();
  RdCounts counts;
  counts.index = index;
  counts.channel_sums.assign(channels, 0);
  counts.symbols.assign(offsets[kRdTables], 0);
  for (const uint8_t row_class : classes.row_classes) counts.row_weights += RdRowWeight(row_class);
  for (size_t row = 0; row < classes.row_classes.size(); ++row) {
    for (size_t c = 0; c < channels; ++c) {
      const int32_t value = q[row * channels + c];
      const size_t table = classes.Table(row, c);
      const RdTableShape& shape = RdShapeOf(table);
      ++counts.symbols[offsets[table] + RdCountBin(shape.SymbolOf(value))];
      counts.channel_sums[c] += static_cast<uint64_t>(value < 0 ? -value : value);
    }
  }
  return counts;
}

void RdDequantize(std::span<const int32_t> q, const RdClasses& classes,
                  const RdCentroids& centroids, float step, std::span<float> out) {
  const size_t channels = classes.bases.size();
  // By table: what is added to 0, 1 and more.
  std::array<std::array<float, 3>, kRdTables> shifts{};
  for (size_t t = 0; t < kRdTables; ++t) {
    for (size_t i = 0; i < 2; ++i) {
      const auto sixteenths = static_cast<float>(centroids[RdCentroidGroup(t)][i]);
      shifts[t][i + 1] = sixteenths * 0x1p-8f;
    }
  }
  for (size_t i = 0; i < q.size(); ++i) {
    const int32_t magnitude = q[i] < 0 ? -q[i] : q[i];
    const auto& shift = shifts[classes.Table(i / channels, i % channels)];
    const float shifted =
        static_cast<float>(magnitude) + shift[static_cast<size_t>(std::min(magnitude, 2))];
    const float value = shifted * step;
    out[i] = q[i] < 0 ? -value : value;
  }
}

void RdAddExpectations(const RdMemory& memory, std::span<const uint16_t> kinds, float times,
                       std::span<float> y) {
  if (kinds.empty()) return;
  const size_t channels = y.size() / kinds.size();
  for (size_t r = 0; r < kinds.size(); ++r) {
    memory.AddExpectation(kinds[r], times, y.subspan(r * channels, channels));
  }
}

bool RdCanLearn(std::span<const float> y) {
  return std::all_of(y.begin(), y.end(),
                     [](float value) { return value < kRdLargestRow && value > -kRdLargestRow; });
}

std::vector<uint8_t> RdRowTables(const RdClasses& classes) {
  std::vector<uint8_t> tables;
  for (const uint8_t entry : classes.row_classes) {
    tables.push_back(static_cast<uint8_t>(kRdRowStride * entry));
  }
  return tables;
}

std::vector<uint8_t> RdTablesOf(const RdClasses& classes) {
  const size_t channels = classes.bases.size();
  std::vector<uint8_t> tables;
  for (size_t row = 0; row < classes.row_classes.size(); ++row) {
    for (size_t c = 0; c < channels; ++c) {
      tables.push_back(static_cast<uint8_t>(classes.Table(row, c)));
    }
  }
  return tables;
}

}  // namespace amaq::quant
