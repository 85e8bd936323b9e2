#include "quant/entropy.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "core/bytes.h"
#include "core/error.h"

namespace amaq::quant {
namespace {

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
