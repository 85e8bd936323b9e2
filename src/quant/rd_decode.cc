#include <algorithm>
#include <cstring>
#include <utility>

#include "core/bytes.h"
#include "core/check.h"
#include "core/error.h"
#include "quant/rd.h"
#include "quant/rd_bits.h"
#include "quant/rd_blocks.h"
#include "quant/rd_format.h"
#include "quant/sections.h"

namespace amaq::quant {
namespace {

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

std::vector<uint8_t> ReadRowClasses(ByteReader* reader, size_t rows) {
  RdBitReader bits(reader->Take((rows * kRdBitsOfRowClass + 7) / 8));
  std::vector<uint8_t> classes(rows);
  for (uint8_t& entry : classes) entry = static_cast<uint8_t>(bits.Take(kRdBitsOfRowClass));
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
  RdBitReader bits(reader->Take((rows * width + 7) / 8));
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

}  // namespace

RdCounts RdDecode(const std::vector<Section>& sections, const RdModel& model, std::span<float> out,
                  const RdDecodeOptions& options) {
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
    if (!options.takes_kinds) {
      Throw(Code::kDataLoss,
            "rows of a rate-distortion coded tensor without a memory are of kinds");
    }
    kinds = ReadKinds(&reader, rows, channels, model.num_kinds());
  }
  const size_t threads = RdThreads(options.threads, out.size());
  const std::vector<int32_t> q =
      RdReadIntegers(&reader, {classes, model.tables(), RdKernels(options.kernels), threads});
  RdCounts counts = RdCountsOf(q, classes, head.step.index, threads);
  if (!kinds.empty()) {
    counts.rows.resize(out.size());
    RdDequantize(q, classes, centroids, head.step.value(), counts.rows, threads);
    RdAddExpectations(model.memory(), kinds, 1, counts.rows, threads);
    if (!RdCanLearn(counts.rows)) {
      Throw(Code::kDataLoss, "a row with a kind has a value of 2^100 or more");
    }
    std::copy(counts.rows.begin(), counts.rows.end(), out.begin());
    counts.kinds = std::move(kinds);
  } else {
    RdDequantize(q, classes, centroids, head.step.value(), out, threads);
  }
  counts.has_centroids = has_centroids;
  if (has_centroids) counts.centroids = centroids;
  return counts;
}

}  // namespace amaq::quant
