#ifndef AMAQ_TOOL_RD_REPORT_H_
#define AMAQ_TOOL_RD_REPORT_H_

// What can be seen of rate-distortion codes and of the transform of amaq-rd without the model that
// reads them (docs/formats/rd.md, rd_basis.md). Pure functions. Errors: kDataLoss for a damaged
// section.

#include <cstdint>
#include <string>
#include <vector>

#include "core/section.h"

namespace amaq::tool {

struct PartBytes {
  std::string name;
  uint64_t bytes = 0;
};

struct RdReport {
  double scale = 0;
  int32_t index = 0;
  double step = 0;
  uint32_t generation = 0;  // commits that the model has seen
  std::vector<PartBytes> parts;
  std::vector<uint64_t> row_classes;     // [8] coded rows; empty: all are of the middle class
  std::vector<uint64_t> channel_tables;  // [66] channels; empty: the model's
};

// sections: with a kRdCodes of `rows` coded rows of `channels`.
RdReport DescribeRd(const std::vector<Section>& sections, uint64_t rows, uint64_t channels);

struct BasisReport {
  std::string transform;  // its word in quant.rd.transform
  uint64_t channels = 0;
  uint64_t reflectors = 0;
  std::vector<PartBytes> parts;
  int8_t lowest_weight = 0;  // of the reflectors: quarter octaves
  int8_t highest_weight = 0;
};

BasisReport DescribeBasis(const std::vector<Section>& sections);

}  // namespace amaq::tool

#endif  // AMAQ_TOOL_RD_REPORT_H_
