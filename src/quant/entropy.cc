#include "quant/entropy.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "core/bytes.h"
#include "core/check.h"
#include "quant/codec.h"
#include "quant/octet.h"
#include "quant/range.h"
#include "quant/uniform.h"

namespace amaq::quant {
namespace {

// What is added to a code, modulo 2^n, to make it a symbol; and the masks.
struct Rotation {
  Rotation(const CodesShape& shape, bool is_relative_to_zero) {
    for (size_t c = 0; c < shape.widths.size(); ++c) {
      const uint32_t size = 1u << shape.widths[c];
      mask.push_back(static_cast<uint8_t>(size - 1));
      const uint32_t zero = is_relative_to_zero ? shape.zero_codes[c] : size / 2;
      offset.push_back(static_cast<uint8_t>(size / 2 - zero));
    }
  }
  std::vector<uint8_t> offset, mask;  // [H]
};

uint32_t RowClassBits(uint32_t row_classes) {
  return static_cast<uint32_t>(std::bit_width(row_classes - 1));
}

void AppendRowClasses(std::span<const uint8_t> row_classes, uint32_t bits, Bytes* out) {
  const size_t first = out->size();
  out->resize(first + (row_classes.size() * bits + 7) / 8);
  for (size_t i = 0; i < row_classes.size() * bits; ++i) {
    const uint32_t bit = row_classes[i / bits] >> (i % bits) & 1u;
    (*out)[first + i / 8] = static_cast<uint8_t>((*out)[first + i / 8] | bit << (i % 8));
  }
}

std::vector<uint8_t> ReadRowClasses(ByteReader* reader, uint64_t rows, uint32_t row_classes) {
  const uint32_t bits = RowClassBits(row_classes);
  const ByteSpan packed = reader->Take((rows * bits + 7) / 8);
  std::vector<uint8_t> classes(rows, 0);
  for (size_t i = 0; i < packed.size() * 8; ++i) {
    const bool is_set = (packed[i / 8] >> (i % 8) & 1) != 0;
    if (i < rows * bits) {
      classes[i / bits] = static_cast<uint8_t>(classes[i / bits] | (is_set ? 1u << (i % bits) : 0));
    } else if (is_set) {
      Throw(Code::kDataLoss, "the spare bits of the row classes must be 0");
    }
  }
  for (const uint8_t entry : classes) {
    if (entry < row_classes) continue;
    Throw(Code::kDataLoss, "a row is of class ", int{entry}, "; the tables have ", row_classes);
  }
  return classes;
}

Bytes PackSymbols(std::span<const uint8_t> symbols, const CodesShape& shape,
                  bool is_relative_to_zero) {
  const size_t channels = shape.widths.size();
  const Rotation rotation(shape, is_relative_to_zero);
  const size_t group_bytes = GroupBytes(shape.widths);
  Bytes codes(CodesBytes(shape.rows, shape.widths));
  std::vector<uint8_t> group(kGroupTokens * channels);
  for (size_t first = 0; first < shape.rows; first += kGroupTokens) {
    std::fill(group.begin(), group.end(), uint8_t{0});
    for (size_t k = 0; k < std::min(kGroupTokens, shape.rows - first); ++k) {
      const uint8_t* row = symbols.data() + (first + k) * channels;
      for (size_t c = 0; c < channels; ++c) {
        group[k * channels + c] =
            static_cast<uint8_t>((row[c] - rotation.offset[c]) & rotation.mask[c]);
      }
    }
    PackGroup(group.data(), shape.widths,
              std::span(codes).subspan(first / kGroupTokens * group_bytes));
  }
  return codes;
}

std::optional<Bytes> EncodeSymbols(std::span<const uint8_t> symbols, const EntropyTables& tables,
                                   size_t max_bytes) {
  const std::vector<uint8_t> row_classes = BestRowClasses(tables, symbols, nullptr);
  Bytes out;
  AppendLittleEndian(&out, tables.version());
  AppendRowClasses(row_classes, RowClassBits(tables.model().row_classes), &out);
  if (out.size() > max_bytes) return std::nullopt;
  const std::optional<Bytes> block = RansEncode(
      {tables.symbols(), tables.channel_tables(), row_classes}, symbols, max_bytes - out.size());
  if (!block) return std::nullopt;
  out.insert(out.end(), block->begin(), block->end());
  return out;
}

}  // namespace

std::vector<uint8_t> ZeroCodes(ByteSpan ranges, std::span<const uint8_t> widths) {
  std::vector<uint8_t> codes(widths.size(), 0);
  if (ranges.empty()) return codes;  // no row is coded
  const std::vector<ChannelRange> parsed = ParseRanges(ranges, widths);
  for (size_t c = 0; c < widths.size(); ++c) {
    if (parsed[c].step == 0) continue;
    codes[c] = static_cast<uint8_t>(static_cast<int32_t>(
        QuantizeNearest(0, parsed[c].lo, InverseStep(parsed[c].step), LargestCode(widths[c]))));
  }
  return codes;
}

std::vector<uint8_t> SymbolsOf(ByteSpan codes, const CodesShape& shape, bool is_relative_to_zero) {
  AMAQ_CHECK(codes.size() == CodesBytes(shape.rows, shape.widths));
  const size_t channels = shape.widths.size();
  const Rotation rotation(shape, is_relative_to_zero);
  const size_t group_bytes = GroupBytes(shape.widths);
  std::vector<uint8_t> symbols(shape.rows * channels);
  std::vector<uint8_t> group(kGroupTokens * channels);
  for (size_t first = 0; first < shape.rows; first += kGroupTokens) {
    UnpackGroup(codes.subspan(first / kGroupTokens * group_bytes), shape.widths, group.data());
    for (size_t k = 0; k < std::min(kGroupTokens, shape.rows - first); ++k) {
      uint8_t* row = symbols.data() + (first + k) * channels;
      for (size_t c = 0; c < channels; ++c) {
        row[c] =
            static_cast<uint8_t>((group[k * channels + c] + rotation.offset[c]) & rotation.mask[c]);
      }
    }
  }
  return symbols;
}

std::optional<Bytes> EncodeCodes(ByteSpan codes, const CodesShape& shape,
                                 const EntropyTables& tables, size_t max_bytes) {
  return EncodeSymbols(SymbolsOf(codes, shape, tables.model().is_relative_to_zero), tables,
                       max_bytes);
}

Bytes DecodeCodes(ByteSpan coded, const CodesShape& shape, const EntropyTables& tables) {
  ByteReader reader(coded, "the entropy codes section");
  const auto version = reader.Read<uint32_t>();
  if (version != tables.version() || !tables.Fits(shape.widths)) {
    Throw(Code::kDataLoss, "a message is coded with version ", version,
          " of the entropy tables, version ", tables.version(), " is held");
  }
  const std::vector<uint8_t> row_classes =
      ReadRowClasses(&reader, shape.rows, tables.model().row_classes);
  std::vector<uint8_t> symbols(shape.rows * shape.widths.size());
  RansDecode({tables.symbols(), tables.channel_tables(), row_classes},
             reader.Take(reader.remaining()), symbols);
  return PackSymbols(symbols, shape, tables.model().is_relative_to_zero);
}

}  // namespace amaq::quant
