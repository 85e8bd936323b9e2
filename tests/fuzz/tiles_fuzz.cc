// The tile formats: a fuzzed message of `group` or `tahquant` through its coder. On an error
// nothing was written; what decodes is finite, and its codes pass through the symbols of the
// entropy stage.
//
// Input: u8 form (bit 0: tahquant, bit 1: gradient, the rest: group size), u8 rows, u8 channels,
// u8 width, u8 sink rows and their numbers, u16 lengths of kTiles, kSinkRows and kScales (0xffff:
// absent), the three, and kCodes.

#include <algorithm>
#include <cmath>
#include <vector>

#include "quant/coder.h"
#include "tests/fuzz/fuzz.h"

using amaq::Bytes;
using amaq::ByteSpan;
using amaq::SectionKind;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  amaq::fuzz::Input input(data, size);
  const uint8_t form = input.Byte();
  const uint32_t rows = input.Byte() % 64;
  const size_t channels = 1 + input.Byte() % 100;
  const std::vector<uint8_t> widths(channels, static_cast<uint8_t>(3 + input.Byte() % 6));
  std::vector<uint32_t> sinks(input.Byte() % 8);
  for (uint32_t& sink : sinks) sink = input.Byte() % (rows + 1);
  std::vector<amaq::Section> sections;
  std::vector<std::pair<SectionKind, size_t>> sizes;
  for (const auto kind : {SectionKind::kTiles, SectionKind::kSinkRows, SectionKind::kScales}) {
    sizes.emplace_back(kind, input.Word());
  }
  for (const auto& [kind, bytes] : sizes) {
    if (bytes == 0xffff) continue;
    const ByteSpan taken = input.Take(bytes);
    sections.push_back({kind, Bytes(taken.begin(), taken.end())});
  }
  const ByteSpan codes = input.Rest();
  sections.push_back({SectionKind::kCodes, Bytes(codes.begin(), codes.end())});

  amaq::quant::CoderConfig config;
  config.method = (form & 1) != 0 ? amaq::quant::Method::kTahquant : amaq::quant::Method::kGroup;
  config.group_size = 32 + 8 * ((form >> 2) % 13u);
  const auto kind =
      (form & 2) != 0 ? amaq::quant::TensorKind::kGradient : amaq::quant::TensorKind::kActivation;
  const auto coder = amaq::quant::MakeCoder(config, kind, nullptr);
  amaq::quant::MessageContext context;
  context.widths = widths;
  context.rows = {sinks, {}};
  constexpr float kUntouched = -777;
  std::vector<float> out(rows * channels, kUntouched);
  const auto error = amaq::fuzz::CodeOf([&] {
    coder->Decode(sections, std::nullopt, context, rows, static_cast<int64_t>(channels), out);
  });
  if (error) {
    // Sinks that do not ascend are the caller's fault.
    FUZZ_CHECK(*error == amaq::Code::kDataLoss || *error == amaq::Code::kInvalidArgument);
    FUZZ_CHECK(std::ranges::all_of(out, [](float v) { return v == kUntouched; }));
    return 0;
  }
  FUZZ_CHECK(std::ranges::all_of(out, [](float v) { return std::isfinite(v); }));
  amaq::quant::CodesShape shape = coder->ShapeOf(sections, context, rows);
  FUZZ_CHECK(shape.CodesBytes() == codes.size());
  amaq::quant::FindZeroCodes(sections, &shape);
  const auto symbols = amaq::quant::SymbolsOf(codes, shape, true);
  const Bytes packed = amaq::quant::PackSymbols(symbols, shape, true);
  FUZZ_CHECK(amaq::quant::SymbolsOf(packed, shape, true) == symbols);
  return 0;
}
