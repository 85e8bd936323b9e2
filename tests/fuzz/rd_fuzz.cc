// The rate-distortion coder: RdDecode of fuzzed sections, with an empty model or one that has seen
// two messages. On an error the output is untouched; what is decoded is finite, decodes to the same
// again, and changes both of two equal models alike.
//
// Input: u8 rows, u8 channels, u8 (bit 0: the model has seen messages), u16 length of kRdClasses
// (0xffff: absent), the section, and kRdCodes.

#include <algorithm>
#include <map>
#include <vector>

#include "core/rng.h"
#include "quant/rd.h"
#include "quant/uniform.h"
#include "tests/fuzz/fuzz.h"

using amaq::Bytes;
using amaq::ByteSpan;
using amaq::SectionKind;
using amaq::quant::RdCounts;
using amaq::quant::RdModel;

namespace {

// That has seen the same two messages as in make_corpus.cc.
RdModel TaughtModel(size_t channels) {
  static std::map<size_t, RdModel> made;  // much slower to make than to copy
  const auto [found, is_new] = made.try_emplace(channels, channels);
  RdModel& model = found->second;
  for (uint64_t step = 0; is_new && step < 2; ++step) {
    std::vector<float> y(8 * channels);
    for (size_t i = 0; i < y.size(); ++i) {
      y[i] = 20 * (amaq::UniformFloat(amaq::PhiloxWord(step, i)) - 0.5f);
    }
    amaq::quant::RdOptions options;
    options.kinds = amaq::quant::RdKinds::kLearn;
    model.Add({step, 0, 0}, amaq::quant::RdEncode(y, options, model, {}).value().counts);
    model.Keep({step + 1, 0, 0});
  }
  model.tables();
  return model;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  amaq::fuzz::Input input(data, size);
  const size_t rows = input.Byte();
  const size_t channels = 1 + input.Byte() % 63;
  const bool is_taught = (input.Byte() & 1) != 0;
  const size_t class_bytes = input.Word();
  const auto copy = [](ByteSpan bytes) { return Bytes(bytes.begin(), bytes.end()); };
  std::vector<amaq::Section> sections;
  if (class_bytes != 0xffff) {
    sections.push_back({SectionKind::kRdClasses, copy(input.Take(class_bytes))});
  }
  sections.push_back({SectionKind::kRdCodes, copy(input.Rest())});
  RdModel model = is_taught ? TaughtModel(channels) : RdModel(channels);

  constexpr float kUntouched = 12345;
  std::vector<float> out(rows * channels, kUntouched);
  RdCounts counts;
  const auto error =
      amaq::fuzz::CodeOf([&] { counts = amaq::quant::RdDecode(sections, model, out); });
  if (error) {
    FUZZ_CHECK(*error == amaq::Code::kDataLoss);
    FUZZ_CHECK(std::all_of(out.begin(), out.end(), [](float v) { return v == kUntouched; }));
    return 0;
  }
  FUZZ_CHECK(std::all_of(out.begin(), out.end(), amaq::quant::IsFinite));
  std::vector<float> again(out.size());
  RdModel other = model;
  other.Add({9, 0, 0}, amaq::quant::RdDecode(sections, other, again));
  FUZZ_CHECK(out == again);
  model.Add({9, 0, 0}, counts);
  model.Keep({10, 0, 0});
  other.Keep({10, 0, 0});
  FUZZ_CHECK(model.Digest() == other.Digest());
  return 0;
}
