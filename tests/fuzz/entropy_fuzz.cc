// The entropy stage: Restore of fuzzed tables and codes. On an error the sections are untouched;
// what is restored has the size of a kCodes section.
//
// Input: u8 rows, u8 channels, widths, u16 length of kRanges, u16 length of kEntropyTables (0xffff:
// absent), the two, and kEntropyCodes.

#include <vector>

#include "quant/codec.h"
#include "quant/entropy.h"
#include "tests/fuzz/fuzz.h"

using amaq::Bytes;
using amaq::ByteSpan;
using amaq::SectionKind;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  amaq::fuzz::Input input(data, size);
  const uint64_t rows = input.Byte();
  const size_t channels = 1 + input.Byte() % 31;
  const auto copy = [](ByteSpan bytes) { return Bytes(bytes.begin(), bytes.end()); };
  Bytes widths = copy(input.Take(channels));
  widths.resize(channels);
  for (uint8_t& width : widths) width %= 9;
  const size_t range_bytes = input.Word();
  const size_t table_bytes = input.Word();
  std::vector<amaq::Section> sections;
  sections.push_back({SectionKind::kRanges, copy(input.Take(range_bytes))});
  if (table_bytes != 0xffff) {
    sections.push_back({SectionKind::kEntropyTables, copy(input.Take(table_bytes))});
  }
  sections.push_back({SectionKind::kEntropyCodes, copy(input.Rest())});
  const size_t count = sections.size();
  const Bytes last = sections.back().bytes;

  amaq::quant::EntropyReceiver receiver;
  const auto error =
      amaq::fuzz::CodeOf([&] { receiver.Restore({.widths = widths, .rows = rows}, &sections); });
  if (error) {
    FUZZ_CHECK(*error == amaq::Code::kDataLoss);
    FUZZ_CHECK(sections.size() == count && sections.back().bytes == last);
    return 0;
  }
  const Bytes* codes = amaq::FindSection(sections, SectionKind::kCodes);
  FUZZ_CHECK(codes != nullptr && codes->size() == amaq::quant::CodesBytes(rows, widths));
  return 0;
}
