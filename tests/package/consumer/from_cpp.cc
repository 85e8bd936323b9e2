// The worked example of docs/formats/octet.md; every installed header compiles in a stranger's
// file.

#include <amaq_codec.h>

#include <cstdio>
#include <vector>

#include "core/dtype.h"
#include "core/error.h"
#include "core/section.h"
#include "core/tensor_view.h"
#include "core/version.h"
#include "quant/codec.h"
#include "quant/config.h"
#include "quant/gate.h"
#include "quant/octet.h"
#include "quant/range.h"
#include "quant/range_modes.h"
#include "quant/row_reader.h"
#include "quant/rows.h"
#include "quant/uniform.h"
#include "quant/width_policy.h"

int main() {
  const std::vector<float> x = {0, -1, 1000.5f, 1, 0.5f, 1000.75f, 7, 2, 1001};
  const std::vector<uint8_t> widths = {3, 2, 2};
  std::vector<float> decoded(x.size());
  const auto sections = amaq::quant::Encode({x.data(), amaq::DType::kF32, 3, 3}, widths, {}, {});
  amaq::quant::Decode(sections, widths, {}, 3, 3, decoded);
  const amaq::Bytes expected = {0xc8, 0x01, 0x00, 0x38, 0x00, 0x34, 0x00};
  const amaq::Bytes* codes = amaq::FindSection(sections, amaq::SectionKind::kCodes);
  if (codes == nullptr || *codes != expected || decoded[4] != 1.0f) {
    std::fputs("from_cpp: other bytes than those of the format page\n", stderr);
    return 1;
  }
  return 0;
}
