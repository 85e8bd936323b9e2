// The transform of amaq-rd: ReadRdBasis of fuzzed sections. What is taken is finite and of the
// sizes that were asked for; of integers the same bytes are made and read again.
//
// Input: u8 channels, u16 length of kRdBasis, the section, u16 length of kRdClasses (0xffff:
// absent), the section, and kRdCodes.

#include <algorithm>
#include <cmath>
#include <vector>

#include "quant/rd_basis.h"
#include "quant/uniform.h"
#include "tests/fuzz/fuzz.h"

using amaq::Bytes;
using amaq::ByteSpan;
using amaq::SectionKind;
using amaq::quant::RdBasis;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  amaq::fuzz::Input input(data, size);
  const size_t channels = 1 + input.Byte() % 63;
  const auto copy = [](ByteSpan bytes) { return Bytes(bytes.begin(), bytes.end()); };
  std::vector<amaq::Section> sections;
  sections.push_back({SectionKind::kRdBasis, copy(input.Take(input.Word()))});
  const size_t class_bytes = input.Word();
  if (class_bytes != 0xffff) {
    sections.push_back({SectionKind::kRdClasses, copy(input.Take(class_bytes))});
  }
  sections.push_back({SectionKind::kRdCodes, copy(input.Rest())});

  RdBasis basis;
  const auto error =
      amaq::fuzz::CodeOf([&] { basis = amaq::quant::ReadRdBasis(sections, channels); });
  if (error) {
    FUZZ_CHECK(*error == amaq::Code::kDataLoss);
    return 0;
  }
  const std::vector<float>& coefficients = basis.reflectors.coefficients;
  const size_t count = basis.reflectors.weights.size();
  for (const std::vector<float>* mean : {&basis.means.rows, &basis.means.sinks}) {
    FUZZ_CHECK(mean->size() == channels);
    FUZZ_CHECK(std::all_of(mean->begin(), mean->end(), amaq::quant::IsFinite));
  }
  FUZZ_CHECK(count < channels);
  FUZZ_CHECK(2 * coefficients.size() == count * (2 * channels - 1 - count));
  FUZZ_CHECK(std::all_of(coefficients.begin(), coefficients.end(), amaq::quant::IsFinite));
  if (!std::all_of(coefficients.begin(), coefficients.end(),
                   [](float v) { return v == std::nearbyint(v); })) {
    return 0;  // another step than a sender's
  }
  const RdBasis again = amaq::quant::ReadRdBasis(amaq::quant::WriteRdBasis(basis), channels);
  FUZZ_CHECK(again.transform == basis.transform);
  FUZZ_CHECK(again.means.rows == basis.means.rows);
  FUZZ_CHECK(again.means.sinks == basis.means.sinks);
  FUZZ_CHECK(again.reflectors.weights == basis.reflectors.weights);
  FUZZ_CHECK(again.reflectors.coefficients == coefficients);
  return 0;
}
