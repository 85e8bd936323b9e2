// The packed payload: Decode of fuzzed sections, widths, sink rows and shape. On an error nothing
// may be written; what decodes is finite, and coding it again must not fail.
//
// Input: u8 rows, u8 channels, u8 number of sink rows, widths, sink rows (u8 each), u16 length of
// kRanges, u16 length of kSinkRows (0xffff: absent), the two, and kCodes.

#include <algorithm>
#include <cmath>
#include <vector>

#include "quant/codec.h"
#include "tests/fuzz/fuzz.h"

using amaq::Bytes;
using amaq::ByteSpan;
using amaq::Code;
using amaq::SectionKind;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  constexpr float kUntouched = -777;
  amaq::fuzz::Input input(data, size);
  const int64_t rows = input.Byte() % 64;
  const int64_t channels = input.Byte() % 32;
  const size_t num_sinks = input.Byte() % 8;
  const auto copy = [](ByteSpan bytes) { return Bytes(bytes.begin(), bytes.end()); };
  std::vector<uint8_t> widths = copy(input.Take(static_cast<size_t>(channels)));
  const Bytes sink_bytes = copy(input.Take(num_sinks));
  const std::vector<uint32_t> sinks(sink_bytes.begin(), sink_bytes.end());
  const size_t range_bytes = input.Word();
  const size_t sink_section = input.Word();
  std::vector<amaq::Section> sections;
  sections.push_back({SectionKind::kRanges, copy(input.Take(range_bytes))});
  if (sink_section != 0xffff) {
    sections.push_back({SectionKind::kSinkRows, copy(input.Take(sink_section))});
  }
  sections.push_back({SectionKind::kCodes, copy(input.Rest())});

  std::vector<float> out(static_cast<size_t>(rows * channels), kUntouched);
  const auto error = amaq::fuzz::CodeOf([&] {
    amaq::quant::Decode(sections, widths, {sinks, {}}, rows, channels, out);
  });
  if (error) {
    FUZZ_CHECK(*error == Code::kDataLoss || *error == Code::kInvalidArgument);
    FUZZ_CHECK(std::ranges::all_of(out, [](float v) { return v == kUntouched; }));
    return 0;
  }
  FUZZ_CHECK(std::ranges::all_of(out, [](float v) { return std::isfinite(v); }));
  // Decoded values may span more than fp32 can subtract: then coding refuses and names it.
  const auto again = amaq::fuzz::CodeOf([&] {
    const auto recoded = amaq::quant::Encode({out.data(), amaq::DType::kF32, rows, channels},
                                             widths, {sinks, {}}, {});
    amaq::quant::Decode(recoded, widths, {sinks, {}}, rows, channels, out);
  });
  FUZZ_CHECK(!again || *again == Code::kInvalidArgument);
  return 0;
}
