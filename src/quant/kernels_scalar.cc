// The reference: plain loops over uniform.h and octet.h.

#include <algorithm>
#include <cstring>

#include "core/rng.h"
#include "quant/kernels.h"
#include "quant/octet.h"
#include "quant/rans_kernels.h"
#include "quant/symbol_kernels.h"

namespace amaq::quant {
namespace {

float Value(const CodedRows& x, uint32_t row, size_t channel) {
  const size_t index = row * x.channels + channel;
  const auto* bytes = static_cast<const uint8_t*>(x.data);
  if (x.dtype == DType::kF32) {
    float value;
    std::memcpy(&value, bytes + index * sizeof(value), sizeof(value));
    return value;
  }
  uint16_t bits;
  std::memcpy(&bits, bytes + index * sizeof(bits), sizeof(bits));
  return x.dtype == DType::kBF16 ? BF16ToF32(bits) : F16ToF32(bits);
}

bool ExtremesOf(const CodedRows& x, ChannelSlice slice, float* lo, float* hi) {
  for (const uint32_t row : x.rows) {
    for (size_t c = slice.begin; c < slice.end; ++c) {
      const float value = Value(x, row, c);
      if (!IsFinite(value)) return false;
      lo[c] = value < lo[c] ? value : lo[c];
      hi[c] = value > hi[c] ? value : hi[c];
    }
  }
  return true;
}

uint8_t CodeOf(float x, const ChannelTables& tables, size_t c, const RoundingSpec& rounding,
               uint64_t index) {
  float code;
  if (rounding.rounding == Rounding::kStochastic) {
    code = QuantizeStochastic(x, tables.lo[c], tables.inverse_step[c], tables.largest[c],
                              PhiloxWord(rounding.key, index));
  } else {
    code = QuantizeNearest(x, tables.lo[c], tables.inverse_step[c], tables.largest[c]);
  }
  const auto whole = static_cast<uint32_t>(code);
  return static_cast<uint8_t>(tables.nested ? DropLowBits(whole, tables.widths[c]) : whole);
}

void Encode(const CodedRows& x, ChannelSlice slice, const ChannelTables& tables,
            const RoundingSpec& rounding, const CodeBytes& out) {
  const size_t channels = slice.end - slice.begin;
  const std::span<const uint8_t> widths = std::span(tables.widths).subspan(slice.begin, channels);
  const uint64_t bytes = GroupBytes(widths);
  std::vector<uint8_t> codes(kGroupTokens * channels);
  for (size_t first = 0; first < x.rows.size(); first += kGroupTokens) {
    const size_t count = std::min(kGroupTokens, x.rows.size() - first);
    std::fill(codes.begin(), codes.end(), uint8_t{0});
    for (size_t k = 0; k < count; ++k) {
      const uint32_t row = x.rows[first + k];
      const uint64_t row_id = rounding.row_ids.empty() ? row : rounding.row_ids[row];
      for (size_t c = slice.begin; c < slice.end; ++c) {
        codes[k * channels + c - slice.begin] =
            CodeOf(Value(x, row, c), tables, c, rounding, row_id * x.channels + c);
      }
    }
    PackGroup(codes.data(), widths, {out.data + first / kGroupTokens * out.group_bytes, bytes});
  }
}

// A value beyond the range's ends was clipped: its decoded form does not move with the width.
bool IsClipped(float x, const ChannelTables& tables, size_t c) {
  const float t = (x - tables.lo[c]) * tables.inverse_step[c];
  return t < -0.5f || t > tables.largest[c] + 0.5f;
}

void Decode(const CodeView& codes, ChannelSlice slice, const ChannelTables& tables,
            const DecodedRows& out, const GateSumsJob* sums) {
  const size_t channels = slice.end - slice.begin;
  const std::span<const uint8_t> widths = std::span(tables.widths).subspan(slice.begin, channels);
  std::vector<uint8_t> group(kGroupTokens * channels);
  for (size_t first = 0; first < out.rows.size(); first += kGroupTokens) {
    const size_t offset = first / kGroupTokens * codes.group_bytes;
    UnpackGroup({codes.data + offset, codes.bytes - offset}, widths, group.data());
    const size_t count = std::min(kGroupTokens, out.rows.size() - first);
    for (size_t k = 0; k < count; ++k) {
      for (size_t c = slice.begin; c < slice.end; ++c) {
        const auto code = static_cast<float>(group[k * channels + c - slice.begin]);
        const float value = Dequantize(code, tables.lo[c], tables.step[c]);
        if (out.data != nullptr) out.data[out.rows[first + k] * out.channels + c] = value;
        if (sums != nullptr) AddToSums(*sums, sums->x.rows[first + k], c, value);
      }
    }
  }
}

}  // namespace

void AddToSums(const GateSumsJob& job, uint32_t row, size_t c, float gradient) {
  const double g = gradient;
  job.energy[c] += g * g;
  if (job.error_dot == nullptr) return;
  const ChannelTables& tables = *job.tables;
  const float x = Value(job.x, row, c);
  if (IsClipped(x, tables, c)) return;
  const auto code = static_cast<float>(CodeOf(x, tables, c, {}, 0));
  const float x_hat = Dequantize(code, tables.lo[c], tables.step[c]);
  const double error = static_cast<double>(x_hat) - static_cast<double>(x);
  job.error_dot[c] += g * error;
}

KernelSet ScalarKernelSet() {
  return {"scalar", ExtremesOf, Encode, Decode, &ScalarSymbolKernels(), &ScalarRansKernels()};
}

}  // namespace amaq::quant
