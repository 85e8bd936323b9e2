// EntropySender and EntropyReceiver: who makes tables when, and which version is held.

#include <algorithm>
#include <utility>

#include "core/error.h"
#include "quant/entropy.h"

namespace amaq::quant {
namespace {

// A message that does not shrink by 3 % is sent packed.
size_t LargestWorth(size_t packed_bytes) { return packed_bytes - (packed_bytes * 3 + 99) / 100; }

// Tables have aged when a message needs 1 % more bits a symbol than the one that they were made
// from.
constexpr double kAged = 1.01;

Section* Find(std::vector<Section>* sections, SectionKind kind) {
  const auto found = std::find_if(sections->begin(), sections->end(),
                                  [kind](const Section& s) { return s.kind == kind; });
  return found == sections->end() ? nullptr : &*found;
}

struct Candidate {
  EntropyModel model;
  double symbol_bits = 0;  // of the message that it was made from
  size_t table_bytes = 0;
  double total_bits() const { return symbol_bits + 8 * static_cast<double>(table_bytes); }
};

Candidate Make(ByteSpan codes, const CodesShape& shape, bool is_relative_to_zero,
               uint32_t row_classes) {
  const std::vector<uint8_t> symbols = SymbolsOf(codes, shape, is_relative_to_zero);
  Candidate made{BuildEntropyModel(symbols, shape.widths, row_classes)};
  made.model.is_relative_to_zero = is_relative_to_zero;
  const EntropyTables tables(made.model);
  BestRowClasses(tables, symbols, &made.symbol_bits);
  made.table_bytes = tables.Serialize().size();
  if (row_classes > 1) made.table_bytes += shape.rows * 3 / 8;
  return made;
}

// Of the forms that a model can have, the one that serves these codes best.
Candidate MakeBest(ByteSpan codes, const CodesShape& shape) {
  Candidate best = Make(codes, shape, false, 1);
  const auto keep = [&best](Candidate other) {
    if (other.total_bits() < best.total_bits()) best = std::move(other);
  };
  keep(Make(codes, shape, true, 1));
  keep(Make(codes, shape, best.model.is_relative_to_zero, kMaxRowClasses));
  return best;
}

}  // namespace

void EntropySender::Compress(CodesShape shape, std::vector<Section>* sections) {
  const std::vector<uint8_t>& widths = shape.widths;
  Section* const codes = Find(sections, SectionKind::kCodes);
  if (codes == nullptr || widths.empty() || codes->bytes.empty() ||
      codes->bytes.size() != shape.CodesBytes()) {
    return;
  }
  FindZeroCodes(*sections, &shape);
  const size_t packed = codes->bytes.size();
  const double num_symbols = static_cast<double>(shape.rows) * static_cast<double>(widths.size());
  size_t limit = LargestWorth(packed);
  std::optional<Bytes> coded;
  if (tables_ && tables_->Fits(widths)) {
    coded = EncodeCodes(codes->bytes, shape, *tables_, limit);
    if (coded) limit = coded->size();
  }
  Bytes table_bytes;
  if (!coded || 8 * static_cast<double>(coded->size()) > kAged * expected_bits_ * num_symbols) {
    Candidate candidate = MakeBest(codes->bytes, shape);
    candidate.model.version = version_ + 1;
    EntropyTables tables(std::move(candidate.model));
    Bytes serialized = tables.Serialize();
    const size_t left = limit > serialized.size() ? limit - serialized.size() : 0;
    if (std::optional<Bytes> better = EncodeCodes(codes->bytes, shape, tables, left)) {
      expected_bits_ = 8 * static_cast<double>(better->size()) / num_symbols;
      coded = std::move(better);
      table_bytes = std::move(serialized);
      tables_ = std::move(tables);
      ++version_;
    }
  }
  bytes_in_ += packed;
  bytes_out_ += coded ? coded->size() + table_bytes.size() : packed;
  if (!coded) return;
  *codes = {SectionKind::kEntropyCodes, *std::move(coded)};
  if (!table_bytes.empty()) {
    const auto place = sections->begin() + (codes - sections->data());
    sections->insert(place, {SectionKind::kEntropyTables, std::move(table_bytes)});
  }
}

void EntropyReceiver::Restore(CodesShape shape, std::vector<Section>* sections) {
  const std::vector<uint8_t>& widths = shape.widths;
  const Bytes* table_bytes = FindSection(*sections, SectionKind::kEntropyTables);
  Section* const coded = Find(sections, SectionKind::kEntropyCodes);
  if (coded == nullptr && table_bytes == nullptr) return;
  if (coded == nullptr || widths.empty() || Find(sections, SectionKind::kCodes) != nullptr) {
    Throw(Code::kDataLoss, "a message has entropy tables without codes, or codes twice");
  }
  std::optional<EntropyTables> newer;
  if (table_bytes != nullptr) newer = EntropyTables::Parse(*table_bytes, widths);
  const EntropyTables* tables = newer ? &*newer : tables_ ? &*tables_ : nullptr;
  if (tables == nullptr) {
    Throw(Code::kDataLoss, "a message is coded with entropy tables that never came");
  }
  if (tables->model().is_relative_to_zero) FindZeroCodes(*sections, &shape);
  *coded = {SectionKind::kCodes, DecodeCodes(coded->bytes, shape, *tables)};
  std::erase_if(*sections, [](const Section& s) { return s.kind == SectionKind::kEntropyTables; });
  if (newer) tables_ = std::move(newer);
}

}  // namespace amaq::quant
