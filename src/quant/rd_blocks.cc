#include "quant/rd_blocks.h"

#include <array>
#include <cstring>
#include <exception>
#include <optional>

#include "core/error.h"
#include "core/parallel.h"
#include "quant/rans.h"
#include "quant/rd_bits.h"
#include "quant/rd_tables.h"

namespace amaq::quant {
namespace {

constexpr size_t kNoLimit = size_t{1} << 40;

// A message and its blocks.
class Layout {
 public:
  explicit Layout(const RdCoding& coding)
      : coding_(coding),
        blocks_(RdBlocks(coding.classes.row_classes.size(), coding.classes.bases.size())),
        channel_tables_(coding.classes.bases.begin(), coding.classes.bases.end()),
        row_tables_(RdRowTables(coding.classes)) {}

  size_t channels() const { return channel_tables_.size(); }
  size_t size() const { return row_tables_.size() * channels(); }
  size_t num_blocks() const { return blocks_.count(); }
  RdRows rows(size_t block) const { return blocks_.Of(block); }
  template <typename T>
  std::span<T> Of(size_t block, std::span<T> all) const {
    return all.subspan(rows(block).first * channels(), rows(block).count * channels());
  }
  // Calls action(table, i) for each integer i of a block.
  template <typename Action>
  void ForEach(size_t block, const Action& action) const {
    size_t i = 0;
    for (size_t r = 0; r < rows(block).count; ++r) {
      const size_t row_table = row_tables_[rows(block).first + r];
      for (const uint16_t base : channel_tables_) action(base + row_table, i++);
    }
  }

  Bytes Encode(size_t block, std::span<const uint8_t> symbols) const;
  void Decode(size_t block, ByteSpan coded, std::span<uint8_t> symbols) const;

 private:
  // A message of one lane stands as rows of one symbol, each with a table of its own.
  bool has_one_lane() const { return size() < kRdOneLaneSymbols; }
  SymbolContext ContextOf(size_t block) const {
    return {coding_.tables, channel_tables_,
            std::span(row_tables_).subspan(rows(block).first, rows(block).count)};
  }
  static constexpr std::array<uint16_t, 1> kOneChannel = {0};

  const RdCoding& coding_;
  const RdParts blocks_;
  const std::vector<uint16_t> channel_tables_;  // [H]
  const std::vector<uint8_t> row_tables_;       // [R]
};

Bytes Layout::Encode(size_t block, std::span<const uint8_t> symbols) const {
  if (!has_one_lane()) {
    return *RansEncode(ContextOf(block), symbols, kNoLimit, coding_.kernels);
  }
  const std::vector<uint8_t> table_of_symbol = RdTablesOf(coding_.classes);
  Bytes coded = *RansEncode({coding_.tables, kOneChannel, table_of_symbol}, symbols, kNoLimit,
                            coding_.kernels);
  coded.erase(coded.begin() + kRdLaneBytes, coded.begin() + kRansStateBytes);
  return coded;
}

void Layout::Decode(size_t block, ByteSpan coded, std::span<uint8_t> symbols) const {
  if (!has_one_lane()) return RansDecode(ContextOf(block), coded, symbols, coding_.kernels);
  if (coded.size() < kRdLaneBytes) {
    Throw(Code::kDataLoss, "it has ", coded.size(), " bytes, less than its lane's state");
  }
  Bytes whole(coded.begin(), coded.begin() + kRdLaneBytes);
  for (size_t lane = 1; lane < kRansLanes; ++lane) AppendLittleEndian(&whole, kRdLaneStart);
  whole.insert(whole.end(), coded.begin() + kRdLaneBytes, coded.end());
  const std::vector<uint8_t> table_of_symbol = RdTablesOf(coding_.classes);
  RansDecode({coding_.tables, kOneChannel, table_of_symbol}, whole, symbols, coding_.kernels);
}

// Writing -----------------------------------------------------------------------------------------

void AppendEscape(int32_t q, Bytes* out) {
  uint32_t value = q > 0 ? 2 * static_cast<uint32_t>(q) - 1 : 2 * static_cast<uint32_t>(-q);
  for (; value >= 0x80; value >>= 7) out->push_back(static_cast<uint8_t>(value | 0x80u));
  out->push_back(static_cast<uint8_t>(value));
}

struct WrittenBlock {
  Bytes coded;
  Bytes low_bits;
  size_t num_low_bits = 0;
  Bytes escapes;
};

WrittenBlock WriteBlock(const Layout& layout, size_t block, std::span<const int32_t> q) {
  const std::span<const RdTableShape> shapes = RdShapes();
  WrittenBlock written;
  std::vector<uint8_t> symbols(q.size());
  {
    RdBitWriter writer(&written.low_bits);
    layout.ForEach(block, [&](size_t table, size_t i) {
      const RdTableShape& shape = shapes[table];
      symbols[i] = shape.SymbolOf(q[i]);
      if (symbols[i] == shape.escape()) {
        AppendEscape(q[i], &written.escapes);
      } else if (shape.low_bits != 0) {
        const uint32_t mask = (1u << shape.low_bits) - 1;
        writer.Put((static_cast<uint32_t>(q[i]) + shape.half()) & mask, shape.low_bits);
        written.num_low_bits += shape.low_bits;
      }
    });
  }
  written.coded = layout.Encode(block, symbols);
  return written;
}

// Reading -----------------------------------------------------------------------------------------

struct ReadBlock {
  ByteSpan coded;
  size_t num_low_bits = 0;
  size_t first_low_bit = 0;
  size_t num_escapes = 0;
  std::vector<uint32_t> escapes;  // their places in the block
};

// What `action` throws says which block it is about.
template <typename Action>
void Named(const Layout& layout, size_t block, const Action& action) {
  try {
    action();
  } catch (const Error& error) {
    Throw(error.code(), "block ", block, " of the rate-distortion codes (",
          layout.rows(block).count, " rows from row ", layout.rows(block).first,
          "): ", error.message());
  }
}

// Where each block is; fewer than there should be, and the error, where a length cannot be.
std::vector<ReadBlock> FindBlocks(ByteReader* reader, const Layout& layout,
                                  std::exception_ptr* error) {
  std::vector<ReadBlock> blocks;
  try {
    while (blocks.size() < layout.num_blocks()) {
      Named(layout, blocks.size(), [&] {
        ReadBlock block;
        block.coded = reader->Take(reader->Read<uint32_t>());
        blocks.push_back(std::move(block));
      });
    }
  } catch (const Error&) {
    *error = std::current_exception();
  }
  return blocks;
}

void ReadSymbols(const Layout& layout, size_t at, std::span<uint8_t> symbols, ReadBlock* block) {
  Named(layout, at, [&] { layout.Decode(at, block->coded, symbols); });
  const std::span<const RdTableShape> shapes = RdShapes();
  layout.ForEach(at, [&](size_t table, size_t i) {
    if (symbols[i] == shapes[table].escape()) {
      ++block->num_escapes;
    } else {
      block->num_low_bits += shapes[table].low_bits;
    }
  });
}

// All but the escaped ones, whose places it keeps.
void ReadValues(const Layout& layout, size_t at, std::span<const uint8_t> symbols,
                ByteSpan low_bits, std::span<int32_t> q, ReadBlock* block) {
  const std::span<const RdTableShape> shapes = RdShapes();
  RdBitReader bits(low_bits, block->first_low_bit);
  block->escapes.reserve(block->num_escapes);
  layout.ForEach(at, [&](size_t table, size_t i) {
    const RdTableShape& shape = shapes[table];
    if (symbols[i] == shape.escape()) {
      block->escapes.push_back(static_cast<uint32_t>(i));
    } else {
      q[i] = shape.ValueOf(symbols[i], bits.Take(shape.low_bits));
    }
  });
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

}  // namespace

void RdWriteIntegers(std::span<const int32_t> q, const RdCoding& coding, Bytes* out) {
  const Layout layout(coding);
  std::vector<WrittenBlock> blocks(layout.num_blocks());
  ParallelFor(blocks.size(), coding.threads,
              [&](size_t i) { blocks[i] = WriteBlock(layout, i, layout.Of(i, q)); });
  for (const WrittenBlock& block : blocks) {
    AppendLittleEndian(out, static_cast<uint32_t>(block.coded.size()));
    out->insert(out->end(), block.coded.begin(), block.coded.end());
  }
  {
    RdBitWriter writer(out);
    for (const WrittenBlock& block : blocks) writer.Append(block.low_bits, block.num_low_bits);
  }
  for (const WrittenBlock& block : blocks) {
    out->insert(out->end(), block.escapes.begin(), block.escapes.end());
  }
}

std::vector<int32_t> RdReadIntegers(ByteReader* reader, const RdCoding& coding) {
  const Layout layout(coding);
  std::exception_ptr error;
  std::vector<ReadBlock> blocks = FindBlocks(reader, layout, &error);
  std::vector<uint8_t> symbols(layout.size());
  ParallelFor(blocks.size(), coding.threads, [&](size_t i) {
    ReadSymbols(layout, i, layout.Of(i, std::span(symbols)), &blocks[i]);
  });
  if (error) std::rethrow_exception(error);  // damage in a block before it comes first
  size_t num_low_bits = 0;
  size_t num_escapes = 0;
  for (ReadBlock& block : blocks) {
    block.first_low_bit = num_low_bits;
    num_low_bits += block.num_low_bits;
    num_escapes += block.num_escapes;
  }
  const ByteSpan low_bits = reader->Take((num_low_bits + 7) / 8);
  RdBitReader(low_bits, num_low_bits).ExpectZeros();
  if (num_escapes > reader->remaining()) {  // each takes one at least
    Throw(Code::kDataLoss, "the rate-distortion codes end early: ", num_escapes,
          " escaped symbols in ", reader->remaining(), " bytes");
  }
  std::vector<int32_t> q(layout.size());
  ParallelFor(blocks.size(), coding.threads, [&](size_t i) {
    ReadValues(layout, i, layout.Of(i, std::span<const uint8_t>(symbols)), low_bits,
               layout.Of(i, std::span(q)), &blocks[i]);
  });
  for (size_t at = 0; at < blocks.size(); ++at) {
    const size_t first = layout.rows(at).first * layout.channels();
    for (const uint32_t place : blocks[at].escapes) {
      const size_t i = first + place;
      const size_t table = coding.classes.Table(i / layout.channels(), i % layout.channels());
      q[i] = ReadEscape(reader, RdShapeOf(table));
    }
  }
  reader->ExpectEnd();
  return q;
}

}  // namespace amaq::quant
