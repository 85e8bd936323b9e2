#include "quant/c_api/amaq_codec.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <limits>
#include <new>
#include <span>

#include "core/error.h"
#include "quant/codec.h"
#include "quant/octet.h"

namespace amaq::quant {
namespace {

constexpr uint64_t kMaxIndex = std::numeric_limits<uint32_t>::max();

void Explain(const char* sentence, char* error, size_t error_bytes) {
  if (error != nullptr && error_bytes > 0) std::snprintf(error, error_bytes, "%s", sentence);
}

amaq_status StatusOf(Code code) {
  switch (code) {
    case Code::kDataLoss:
      return AMAQ_DATA_LOSS;
    case Code::kResourceExhausted:
      return AMAQ_RESOURCE_EXHAUSTED;
    case Code::kInternal:
      return AMAQ_INTERNAL;
    default:
      return AMAQ_INVALID_ARGUMENT;
  }
}

// Runs `body`; no exception passes.
template <typename Body>
amaq_status Guarded(char* error, size_t error_bytes, const Body& body) noexcept {
  try {
    body();
    return AMAQ_OK;
  } catch (const Error& failure) {
    Explain(failure.what(), error, error_bytes);
    return StatusOf(failure.code());
  } catch (const std::bad_alloc&) {
    Explain("out of memory", error, error_bytes);
    return AMAQ_RESOURCE_EXHAUSTED;
  } catch (const std::exception& failure) {
    Explain(failure.what(), error, error_bytes);
    return AMAQ_INTERNAL;
  }
}

void Require(const void* pointer, const char* name) {
  if (pointer == nullptr) Throw(Code::kInvalidArgument, name, " must not be NULL");
}

void CheckShape(const amaq_shape* shape) {
  Require(shape, "shape");
  Require(shape->widths, "shape.widths");
  if (shape->num_sink_rows > 0) Require(shape->sink_rows, "shape.sink_rows");
  if (shape->rows > kMaxIndex || shape->channels < 1 || shape->channels > kMaxIndex ||
      shape->channels > std::numeric_limits<size_t>::max() / 16 / (shape->rows + 1)) {
    Throw(Code::kInvalidArgument, "a tensor of ", shape->rows, " x ", shape->channels,
          " cannot be coded");
  }
  if (shape->num_sink_rows > shape->rows) {
    Throw(Code::kInvalidArgument, "there are ", shape->num_sink_rows, " sink rows for ",
          shape->rows, " rows");
  }
  for (const uint8_t width : std::span(shape->widths, shape->channels)) {
    if (width > kLargestWidth) {
      Throw(Code::kInvalidArgument, "a width must be in [0, 8], got ", int{width});
    }
  }
}

std::span<const uint8_t> Widths(const amaq_shape& shape) { return {shape.widths, shape.channels}; }
std::span<const uint32_t> Sinks(const amaq_shape& shape) {
  return {shape.sink_rows, shape.num_sink_rows};
}

Section Read(SectionKind kind, const amaq_buffer& buffer, const char* name) {
  if (buffer.size > 0) Require(buffer.data, name);
  if (buffer.size > buffer.capacity) {
    Throw(Code::kInvalidArgument, name, " has size ", buffer.size, " and capacity ",
          buffer.capacity);
  }
  return {kind, Bytes(buffer.data, buffer.data + buffer.size)};
}

// Its own copy of what the decoder takes.
std::vector<Section> ReadSections(const amaq_sections* sections) {
  Require(sections, "sections");
  std::vector<Section> read;
  read.push_back(Read(SectionKind::kRanges, sections->ranges, "ranges"));
  if (sections->sink_rows.size > 0) {
    read.push_back(Read(SectionKind::kSinkRows, sections->sink_rows, "sink_rows"));
  }
  read.push_back(Read(SectionKind::kCodes, sections->codes, "codes"));
  return read;
}

const Bytes& BytesOf(const std::vector<Section>& sections, SectionKind kind) {
  static const Bytes none;
  const Bytes* found = FindSection(sections, kind);
  return found == nullptr ? none : *found;
}

void CheckFits(const Bytes& bytes, const amaq_buffer& buffer, const char* name) {
  if (bytes.size() > buffer.capacity || (buffer.data == nullptr && !bytes.empty())) {
    Throw(Code::kResourceExhausted, name, " needs ", bytes.size(), " bytes, its buffer has ",
          buffer.data == nullptr ? 0 : buffer.capacity);
  }
}

void Write(const Bytes& bytes, amaq_buffer* buffer) {
  if (!bytes.empty()) std::memcpy(buffer->data, bytes.data(), bytes.size());
  buffer->size = bytes.size();
}

EncodeOptions OptionsOf(const amaq_options* options) {
  EncodeOptions converted;
  if (options == nullptr) return converted;
  if (options->range != AMAQ_MINMAX && options->range != AMAQ_ABSMAX) {
    Throw(Code::kInvalidArgument, "range must be 1 (minmax) or 2 (absmax), got ",
          static_cast<int>(options->range));
  }
  if (options->rounding != AMAQ_NEAREST_EVEN && options->rounding != AMAQ_STOCHASTIC) {
    Throw(Code::kInvalidArgument, "rounding must be 1 (nearest even) or 2 (stochastic), got ",
          static_cast<int>(options->rounding));
  }
  converted.range = static_cast<Range>(options->range);
  converted.rounding = static_cast<Rounding>(options->rounding);
  converted.rounding_key = options->rounding_key;
  return converted;
}

void EncodeTo(const MatrixView& x, const amaq_shape& shape, const amaq_options* options,
              amaq_sections* out) {
  std::span<const uint32_t> row_ids;
  if (options != nullptr && options->row_ids != nullptr) row_ids = {options->row_ids, shape.rows};
  const std::vector<Section> sections =
      Encode(x, Widths(shape), {Sinks(shape), row_ids}, OptionsOf(options));
  const Bytes& ranges = BytesOf(sections, SectionKind::kRanges);
  const Bytes& sinks = BytesOf(sections, SectionKind::kSinkRows);
  const Bytes& codes = BytesOf(sections, SectionKind::kCodes);
  CheckFits(ranges, out->ranges, "ranges");
  CheckFits(sinks, out->sink_rows, "sink_rows");
  CheckFits(codes, out->codes, "codes");
  Write(ranges, &out->ranges);
  Write(sinks, &out->sink_rows);
  Write(codes, &out->codes);
}

// codes [coded rows][H] out of a section whose size was checked.
void UnpackAll(const Bytes& packed, const amaq_shape& shape, uint8_t* codes) {
  const uint64_t rows = shape.rows - shape.num_sink_rows;
  const uint64_t group_bytes = GroupBytes(Widths(shape));
  std::vector<uint8_t> group(kGroupTokens * shape.channels);
  for (uint64_t first = 0; first < rows; first += kGroupTokens) {
    UnpackGroup(ByteSpan(packed).subspan(first / kGroupTokens * group_bytes), Widths(shape),
                group.data());
    const uint64_t count = std::min<uint64_t>(kGroupTokens, rows - first);
    std::memcpy(codes + first * shape.channels, group.data(), count * shape.channels);
  }
}

}  // namespace
}  // namespace amaq::quant

using amaq::Code;
using amaq::quant::Guarded;
using amaq::quant::Require;

extern "C" {

int amaq_abi_version(void) { return AMAQ_ABI_VERSION; }

amaq_status amaq_encode_bound(const amaq_shape* shape, amaq_sections* sections, char* error,
                              size_t error_bytes) {
  return Guarded(error, error_bytes, [&] {
    amaq::quant::CheckShape(shape);
    Require(sections, "sections");
    const uint64_t coded = shape->rows - shape->num_sink_rows;
    sections->ranges.size = (shape->channels + 7) / 8 + 6 * shape->channels;
    sections->sink_rows.size = shape->num_sink_rows * shape->channels * sizeof(uint16_t);
    sections->codes.size = amaq::quant::CodesBytes(coded, amaq::quant::Widths(*shape));
  });
}

amaq_status amaq_encode(const void* x, amaq_dtype dtype, const amaq_shape* shape,
                        const amaq_options* options, amaq_sections* sections, char* error,
                        size_t error_bytes) {
  return Guarded(error, error_bytes, [&] {
    amaq::quant::CheckShape(shape);
    Require(sections, "sections");
    if (shape->rows > 0) Require(x, "x");
    if (dtype < AMAQ_FP32 || dtype > AMAQ_FP16) {
      Throw(Code::kInvalidArgument, "dtype must be 1 (fp32), 2 (bf16) or 3 (fp16), got ",
            static_cast<int>(dtype));
    }
    amaq::quant::EncodeTo({x, static_cast<amaq::DType>(dtype), static_cast<int64_t>(shape->rows),
                           static_cast<int64_t>(shape->channels)},
                          *shape, options, sections);
  });
}

amaq_status amaq_decode(const amaq_sections* sections, const amaq_shape* shape, float* out,
                        size_t out_count, char* error, size_t error_bytes) {
  return Guarded(error, error_bytes, [&] {
    amaq::quant::CheckShape(shape);
    if (out_count > 0) Require(out, "out");
    amaq::quant::Decode(amaq::quant::ReadSections(sections), amaq::quant::Widths(*shape),
                        {amaq::quant::Sinks(*shape), {}}, static_cast<int64_t>(shape->rows),
                        static_cast<int64_t>(shape->channels), {out, out_count});
  });
}

amaq_status amaq_inspect(const amaq_sections* sections, const amaq_shape* shape, float* lo,
                         float* step, uint8_t* codes, char* error, size_t error_bytes) {
  return Guarded(error, error_bytes, [&] {
    amaq::quant::CheckShape(shape);
    const std::vector<amaq::Section> read = amaq::quant::ReadSections(sections);
    const amaq::Bytes& packed = amaq::quant::BytesOf(read, amaq::SectionKind::kCodes);
    const uint64_t wanted =
        amaq::quant::CodesBytes(shape->rows - shape->num_sink_rows, amaq::quant::Widths(*shape));
    if (packed.size() != wanted) {
      Throw(Code::kDataLoss, "the codes section must have ", wanted, " bytes, has ", packed.size());
    }
    const amaq::quant::DecodedRanges ranges =
        amaq::quant::ReadRanges(read, amaq::quant::Widths(*shape));
    if (lo != nullptr) std::copy(ranges.lo.begin(), ranges.lo.end(), lo);
    if (step != nullptr) std::copy(ranges.step.begin(), ranges.step.end(), step);
    if (codes != nullptr) amaq::quant::UnpackAll(packed, *shape, codes);
  });
}

}  // extern "C"
