// Differences between visits: two fuzzed messages of `aqsgd` or `amaq-delta`, one after the other,
// through a receiver. A message that is refused changes nothing; what is taken back is gone.
//
// Input: u8 method, u8 segments and u8 length of each, u8 channels, their widths; then twice: u16
// lengths of kSampleKeys, kRanges, kSinkRows and kCodes (0xffff: absent), and the four.

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "quant/coder.h"
#include "tests/fuzz/fuzz.h"
#include "tests/quant/vector_storage.h"

using amaq::Bytes;
using amaq::ByteSpan;
using amaq::SectionKind;

namespace {

constexpr uint64_t kCacheBytes = 2048;  // of all samples: some do not fit

std::vector<amaq::Section> ReadSections(amaq::fuzz::Input* input) {
  std::vector<std::pair<SectionKind, size_t>> sizes;
  for (const auto kind : {SectionKind::kSampleKeys, SectionKind::kRanges, SectionKind::kSinkRows,
                          SectionKind::kCodes}) {
    sizes.emplace_back(kind, input->Word());
  }
  std::vector<amaq::Section> sections;
  for (const auto& [kind, bytes] : sizes) {
    if (bytes == 0xffff) continue;
    const ByteSpan taken = input->Take(bytes);
    sections.push_back({kind, Bytes(taken.begin(), taken.end())});
  }
  return sections;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  amaq::fuzz::Input input(data, size);
  amaq::quant::CoderConfig config;
  config.method =
      input.Byte() % 2 == 0 ? amaq::quant::Method::kAqsgd : amaq::quant::Method::kAmaqDelta;
  config.cache_bytes = kCacheBytes;
  std::vector<uint32_t> segments = {0};
  std::vector<uint32_t> sinks;
  for (size_t left = 1 + input.Byte() % 9; left > 0; --left) {
    sinks.push_back(segments.back());
    segments.push_back(segments.back() + 1 + input.Byte() % 12);
  }
  const size_t channels = 1 + input.Byte() % 16;
  const ByteSpan given = input.Take(channels);
  Bytes widths(given.begin(), given.end());
  widths.resize(channels);
  for (uint8_t& width : widths) width = static_cast<uint8_t>(1 + width % 8);

  const auto coder =
      amaq::quant::MakeCoder(config, amaq::quant::TensorKind::kActivation,
                             std::make_unique<amaq::quant::VectorStorage>(kCacheBytes));
  amaq::quant::MessageContext context;
  context.widths = widths;
  context.rows = {sinks, {}};
  const uint64_t empty = coder->MemoryDigest();
  for (uint32_t number = 0; number < 2; ++number) {
    const std::vector<amaq::Section> sections = ReadSections(&input);
    context.samples = amaq::quant::SampleContext{segments, {}, {0, 0, number}};
    std::vector<float> out(segments.back() * channels, amaq::quant::kUntouched);
    const uint64_t before = coder->MemoryDigest();
    const auto error = amaq::fuzz::CodeOf([&] {
      coder->Decode(sections, std::nullopt, context, segments.back(),
                    static_cast<int64_t>(channels), out);
    });
    if (error) {
      FUZZ_CHECK(*error == amaq::Code::kDataLoss);
      FUZZ_CHECK(before == empty || coder->MemoryDigest() == before);
      FUZZ_CHECK(std::ranges::all_of(out, [](float v) { return v == amaq::quant::kUntouched; }));
      continue;
    }
    FUZZ_CHECK(std::ranges::all_of(out, [](float v) { return std::isfinite(v); }));
    const amaq::quant::CodesShape shape = coder->ShapeOf(sections, context, segments.back());
    const Bytes* codes = amaq::FindSection(sections, SectionKind::kCodes);
    FUZZ_CHECK(codes != nullptr && codes->size() == shape.CodesBytes());
  }
  constexpr uint64_t kEmptyDigest = 0x2d06800538d394c2;  // XXH3-64 of no bytes
  coder->TakeBack({0, 0, 0});
  FUZZ_CHECK(coder->MemoryDigest() == empty || coder->MemoryDigest() == kEmptyDigest);
  return 0;
}
