#include "tool/rd_report.h"

#include <algorithm>

#include "core/bytes.h"
#include "quant/config.h"
#include "quant/rd.h"
#include "quant/rd_basis.h"
#include "quant/rd_bits.h"
#include "quant/rd_format.h"
#include "quant/sections.h"

namespace amaq::tool {
namespace {

std::vector<uint64_t> CountRowClasses(ByteSpan packed, uint64_t rows) {
  std::vector<uint64_t> counts(quant::kRdRowClasses);
  quant::RdBitReader bits(packed);
  for (uint64_t row = 0; row < rows; ++row) ++counts[bits.Take(quant::kRdBitsOfRowClass)];
  return counts;
}

}  // namespace

RdReport DescribeRd(const std::vector<Section>& sections, uint64_t rows, uint64_t channels) {
  const Bytes& codes =
      quant::RequireSection(sections, SectionKind::kRdCodes, "rate-distortion codes");
  ByteReader reader(codes, "rate-distortion codes section");
  RdReport report;
  const quant::RdStep step{reader.Read<float>(), reader.Read<int16_t>()};
  report.scale = step.scale;
  report.index = step.index;
  if (step.is_valid()) report.step = step.value();
  const auto flags = reader.Read<uint8_t>();
  report.generation = reader.Read<uint32_t>();
  if (const Bytes* tables = FindSection(sections, SectionKind::kRdClasses)) {
    report.channel_tables.resize(quant::kRdBases);
    for (const uint8_t table : *tables) {
      if (table < quant::kRdBases) ++report.channel_tables[table];
    }
    report.parts.push_back({"channel tables", tables->size()});
  }
  auto end_part = [&, begin = size_t{0}](const char* name) mutable {
    if (reader.position() > begin) report.parts.push_back({name, reader.position() - begin});
    begin = reader.position();
  };
  end_part("head");
  if ((flags & quant::kRdHasCentroids) != 0) reader.Take(sizeof(quant::RdCentroids));
  end_part("centroids");
  if ((flags & quant::kRdHasRowClasses) != 0) {
    report.row_classes =
        CountRowClasses(reader.Take((rows * quant::kRdBitsOfRowClass + 7) / 8), rows);
  }
  end_part("row classes");
  if ((flags & quant::kRdHasKinds) != 0) {
    const auto bits_of_kind = reader.Read<uint8_t>();
    reader.Take((rows * bits_of_kind + 7) / 8);
  }
  end_part("kinds of rows");
  const uint64_t block_rows = std::max<uint64_t>(quant::RdBlockRows(rows, channels), 1);
  for (uint64_t first = 0; first < rows; first += block_rows) reader.Take(reader.Read<uint32_t>());
  end_part("symbols");
  reader.Take(reader.remaining());
  end_part("low bits and escapes");
  return report;
}

BasisReport DescribeBasis(const std::vector<Section>& sections) {
  const quant::RdBasisHead head = quant::ReadRdBasisHead(sections);
  BasisReport report;
  report.transform = quant::TransformName(head.transform);
  report.channels = head.means.rows.size();
  report.reflectors = head.weights.size();
  for (const Section& section : sections) {
    if (section.kind == SectionKind::kRdBasis) {
      const uint64_t means = 2 * sizeof(uint16_t) * report.channels;
      report.parts.push_back({"head", section.bytes.size() - means - report.reflectors});
      report.parts.push_back({"means", means});
      if (report.reflectors > 0) report.parts.push_back({"weights", report.reflectors});
    } else {
      const bool is_codes = section.kind == SectionKind::kRdCodes;
      report.parts.push_back({is_codes ? "coefficients" : "tables", section.bytes.size()});
    }
  }
  if (head.weights.empty()) return report;
  const auto [lowest, highest] = std::ranges::minmax(head.weights);
  report.lowest_weight = lowest;
  report.highest_weight = highest;
  return report;
}

}  // namespace amaq::tool
