// AQ-SGD (arXiv 2206.01299): a sample's first visit crosses as bf16, later ones as the quantized
// difference from what the receiver saw last, and both parties make the sum the new "last". Ours:
// what the receiver sees is rounded to bf16, so that it is what is cached; sink rows always cross
// as they are; a message that would not be smaller than bf16 counts as first visits throughout;
// evaluation and generation cross as bf16 and leave the cache alone. See docs/formats/aqsgd.md.

#include <algorithm>
#include <unordered_set>
#include <utility>

#include "core/bytes.h"
#include "core/error.h"
#include "quant/coders/coders.h"
#include "quant/row_reader.h"
#include "quant/uniform.h"

namespace amaq::quant {
namespace {

// The samples of one message: who they are and which are new to the receiver.
struct Visits {
  std::span<const uint32_t> segments;
  std::vector<uint64_t> keys;
  std::vector<bool> is_first;

  uint64_t rows(size_t s) const { return segments[s + 1] - segments[s]; }
  bool all_first() const { return std::ranges::find(is_first, false) == is_first.end(); }
};

void CheckDifferent(const std::vector<uint64_t>& keys, Code code) {
  if (std::unordered_set<uint64_t>(keys.begin(), keys.end()).size() != keys.size()) {
    Throw(code, "a message names the same sample twice");
  }
}

Bytes WriteKeys(const Visits& visits) {
  Bytes bytes((visits.keys.size() + 7) / 8, 0);
  for (size_t s = 0; s < visits.keys.size(); ++s) {
    if (visits.is_first[s]) bytes[s / 8] = static_cast<uint8_t>(bytes[s / 8] | (1u << (s % 8)));
  }
  for (const uint64_t key : visits.keys) AppendLittleEndian(&bytes, key);
  return bytes;
}

Visits ReadKeys(const std::vector<Section>& sections, std::span<const uint32_t> segments) {
  const size_t count = segments.size() - 1;
  const size_t bitmap_bytes = (count + 7) / 8;
  const Bytes& bytes = RequireSection(sections, SectionKind::kSampleKeys, "sample keys",
                                      bitmap_bytes + count * sizeof(uint64_t));
  Visits visits{segments, {}, {}};
  ByteReader reader(bytes, "sample keys section");
  const ByteSpan bitmap = reader.Take(bitmap_bytes);
  for (size_t bit = 0; bit < bitmap_bytes * 8; ++bit) {
    const bool is_set = (bitmap[bit / 8] >> (bit % 8) & 1) != 0;
    if (bit < count) {
      visits.is_first.push_back(is_set);
    } else if (is_set) {
      Throw(Code::kDataLoss, "the sample keys section has spare bits set");
    }
  }
  for (size_t s = 0; s < count; ++s) visits.keys.push_back(reader.Read<uint64_t>());
  CheckDifferent(visits.keys, Code::kDataLoss);
  return visits;
}

// Rows that cross as they are: all of a first visit, else the sinks. Ascending.
std::vector<uint32_t> WholeRows(const Visits& visits, std::span<const uint32_t> sinks) {
  std::vector<uint32_t> rows;
  size_t next = 0;
  for (size_t s = 0; s < visits.keys.size(); ++s) {
    for (uint32_t row = visits.segments[s]; row < visits.segments[s + 1]; ++row) {
      const bool is_sink = next < sinks.size() && sinks[next] == row;
      if (is_sink) ++next;
      if (is_sink || visits.is_first[s]) rows.push_back(row);
    }
  }
  return rows;
}

class DeltaCoder final : public Coder {
 public:
  DeltaCoder(std::unique_ptr<StatelessCoder> inner, std::unique_ptr<CacheStorage> storage,
             uint64_t cache_bytes)
      : inner_(std::move(inner)), storage_(std::move(storage)), cache_bytes_(cache_bytes) {}

  CodedMatrix Encode(const MatrixView& x, const MessageContext& context,
                     std::span<float> decoded) override {
    CodedMatrix coded;
    if (!context.samples || context.widths.empty()) {
      coded = {EncodeRaw(x, DType::kBF16), DType::kBF16};
      if (!decoded.empty()) {
        DecodeRaw(coded.sections, DType::kBF16, x.rows, x.channels, decoded);
      }
      return coded;
    }
    Visits visits = VisitsOf(*context.samples, x.channels);
    CheckShape(visits, x.rows);
    coded.sections = WriteVisits(x, context, visits);
    const auto bf16_bytes = static_cast<uint64_t>(x.rows * x.channels) * 2;
    if (TotalBytes(coded.sections) >= bf16_bytes && !visits.all_first()) {
      visits.is_first.assign(visits.keys.size(), true);
      coded.sections = WriteVisits(x, context, visits);
    }
    const std::vector<uint16_t> seen =
        Rounded(ReadVisits(coded.sections, context, visits, x.rows, x.channels), [&](size_t i) {
          const auto row = i / static_cast<size_t>(x.channels);
          const auto channel = static_cast<uint32_t>(i % static_cast<size_t>(x.channels));
          throw NonFiniteError(
              row, channel,
              StrCat("the activation overflows bf16 at row ", row, ", channel ", channel));
        });
    Remember(visits, context.samples->place, seen, x.channels);
    for (size_t i = 0; i < decoded.size(); ++i) decoded[i] = BF16ToF32(seen[i]);
    return coded;
  }

  void Decode(const std::vector<Section>& sections, std::optional<DType> raw_dtype,
              const MessageContext& context, int64_t num_rows, int64_t channels,
              std::span<float> out) override {
    if (raw_dtype) {
      DecodeRaw(sections, *raw_dtype, num_rows, channels, out);
      return;
    }
    RequireTraining(context);
    MakeCache(channels);
    const Visits visits = ReadKeys(sections, context.samples->segments);
    CheckShape(visits, num_rows);
    const std::vector<uint16_t> seen =
        Rounded(ReadVisits(sections, context, visits, num_rows, channels), [](size_t i) {
          Throw(Code::kDataLoss, "the sum of a difference overflows bf16 at element ", i);
        });
    if (seen.size() != out.size()) {
      Throw(Code::kInvalidArgument, "a tensor of ", seen.size(),
            " elements does not fit an output of ", out.size());
    }
    Remember(visits, context.samples->place, seen, channels);
    for (size_t i = 0; i < out.size(); ++i) out[i] = BF16ToF32(seen[i]);
  }

  CodesShape ShapeOf(const std::vector<Section>& sections, const MessageContext& context,
                     int64_t num_rows) const override {
    RequireTraining(context);
    const Visits visits = ReadKeys(sections, context.samples->segments);
    CheckShape(visits, num_rows);
    const std::vector<uint32_t> whole = WholeRows(visits, context.rows.sink_rows);
    MessageContext inner = context;
    inner.rows.sink_rows = whole;
    return inner_->ShapeOf(sections, inner, num_rows);
  }

  void Keep(const MessagePlace& place) override {
    if (cache_) cache_->Keep(place);
  }
  void TakeBack(const MessagePlace& place) override {
    if (cache_) cache_->TakeBack(place);
  }
  uint64_t MemoryDigest() const override { return cache_ ? cache_->ContentDigest() : 0; }

 private:
  // To bf16; a value that becomes infinite goes to `refuse(index)`, which throws.
  template <typename Refuse>
  static std::vector<uint16_t> Rounded(const std::vector<float>& values, const Refuse& refuse) {
    std::vector<uint16_t> rounded(values.size());
    for (size_t i = 0; i < values.size(); ++i) {
      rounded[i] = F32ToBF16(values[i]);
      if (!IsFinite(BF16ToF32(rounded[i]))) refuse(i);
    }
    return rounded;
  }

  // The first message says how many channels there are.
  void MakeCache(int64_t channels) {
    if (cache_) return;
    cache_.emplace(std::move(storage_), cache_bytes_, static_cast<uint32_t>(channels));
  }

  static void RequireTraining(const MessageContext& context) {
    if (context.samples) return;
    Throw(Code::kInvalidArgument,
          "differences from earlier visits cross in training only; this message must be raw");
  }

  static void CheckShape(const Visits& visits, int64_t num_rows) {
    if (visits.segments.front() != 0 || visits.segments.back() != num_rows) {
      Throw(Code::kInvalidArgument, "the segments must cover ", num_rows, " rows, they cover ",
            visits.segments.front(), " to ", visits.segments.back());
    }
  }

  Visits VisitsOf(const SampleContext& samples, int64_t channels) {
    MakeCache(channels);
    if (samples.keys.size() + 1 != samples.segments.size()) {
      Throw(Code::kInvalidArgument, "there must be one sample key a segment, got ",
            samples.keys.size(), " for ", samples.segments.size(), " offsets of segments");
    }
    Visits visits{samples.segments, {samples.keys.begin(), samples.keys.end()}, {}};
    CheckDifferent(visits.keys, Code::kInvalidArgument);
    for (size_t s = 0; s < visits.keys.size(); ++s) {
      visits.is_first.push_back(!cache_->Find(visits.keys[s], visits.rows(s)));
    }
    return visits;
  }

  // Calls apply(row, m) for each row that crosses as a difference; m [H] is what was seen last.
  template <typename Apply>
  void ForDifferences(const Visits& visits, std::span<const uint32_t> whole, size_t channels,
                      const Apply& apply) const {
    size_t next = 0;
    for (size_t s = 0; s < visits.keys.size(); ++s) {
      std::span<const uint16_t> last;
      if (!visits.is_first[s]) {
        const auto found = cache_->Find(visits.keys[s], visits.rows(s));
        if (!found) {
          Throw(Code::kDataLoss, "the message holds a difference for sample ", visits.keys[s],
                ", which was never seen");
        }
        last = *found;
      }
      for (uint32_t row = visits.segments[s]; row < visits.segments[s + 1]; ++row) {
        if (next < whole.size() && whole[next] == row) {
          ++next;
        } else {
          apply(row, last.subspan((row - visits.segments[s]) * channels, channels));
        }
      }
    }
  }

  std::vector<Section> WriteVisits(const MatrixView& x, const MessageContext& context,
                                   const Visits& visits) {
    const auto channels = static_cast<size_t>(x.channels);
    std::vector<float> values(static_cast<size_t>(x.rows) * channels);
    RowReader reader(x);
    for (int64_t row = 0; row < x.rows; ++row) {
      std::ranges::copy(reader.FiniteRow(row),
                        values.begin() + static_cast<std::ptrdiff_t>(row * x.channels));
    }
    const std::vector<uint32_t> whole = WholeRows(visits, context.rows.sink_rows);
    ForDifferences(visits, whole, channels, [&](uint32_t row, std::span<const uint16_t> last) {
      for (size_t c = 0; c < channels; ++c) values[row * channels + c] -= BF16ToF32(last[c]);
    });
    MessageContext inner_context = context;
    inner_context.rows.sink_rows = whole;
    std::vector<Section> sections =
        inner_->Write({values.data(), DType::kF32, x.rows, x.channels}, inner_context);
    sections.insert(sections.begin(), Section{SectionKind::kSampleKeys, WriteKeys(visits)});
    return sections;
  }

  // What the receiver sees before it is rounded, [N, H]. Nothing changes.
  std::vector<float> ReadVisits(const std::vector<Section>& sections, MessageContext context,
                                const Visits& visits, int64_t num_rows, int64_t channels) const {
    const std::vector<uint32_t> whole = WholeRows(visits, context.rows.sink_rows);
    context.rows.sink_rows = whole;
    std::vector<float> values(static_cast<size_t>(num_rows * channels));
    inner_->Read(sections, context, num_rows, channels, values);
    const auto width = static_cast<size_t>(channels);
    ForDifferences(visits, whole, width, [&](uint32_t row, std::span<const uint16_t> last) {
      for (size_t c = 0; c < width; ++c) values[row * width + c] += BF16ToF32(last[c]);
    });
    return values;
  }

  void Remember(const Visits& visits, const MessagePlace& place, std::span<const uint16_t> seen,
                int64_t channels) {
    const auto width = static_cast<size_t>(channels);
    try {
      for (size_t s = 0; s < visits.keys.size(); ++s) {
        cache_->Put(place, visits.keys[s],
                    seen.subspan(visits.segments[s] * width, visits.rows(s) * width));
      }
    } catch (...) {
      cache_->TakeBack(place);
      throw;
    }
  }

  const std::unique_ptr<StatelessCoder> inner_;
  std::unique_ptr<CacheStorage> storage_;
  const uint64_t cache_bytes_;
  std::optional<SampleCache> cache_;
};

}  // namespace

std::unique_ptr<Coder> MakeDeltaCoder(std::unique_ptr<StatelessCoder> inner,
                                      std::unique_ptr<CacheStorage> storage, uint64_t cache_bytes) {
  return std::make_unique<DeltaCoder>(std::move(inner), std::move(storage), cache_bytes);
}

}  // namespace amaq::quant
