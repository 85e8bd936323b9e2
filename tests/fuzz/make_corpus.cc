// Writes the seeds of the fuzz targets, valid inputs made by our own encoders, into
// FOLDER/<target>/seed-<n>. What a fuzzer found beside them is kept under its digest.
//   amaq-fuzz-corpus tests/fuzz/corpus

#include <cmath>
#include <cstdio>
#include <filesystem>
#include <vector>

#include "core/bytes.h"
#include "core/check.h"
#include "core/rng.h"
#include "io/file.h"
#include "io/npy.h"
#include "io/safetensors.h"
#include "quant/codec.h"
#include "quant/entropy.h"
#include "quant/rd.h"
#include "tests/support/gguf_builder.h"
#include "transport/capture.h"
#include "transport/step_header.h"

namespace amaq {
namespace {

class Folder {
 public:
  Folder(const std::string& root, const std::string& target) : path_(root + "/" + target) {
    std::filesystem::create_directories(path_);
  }
  void Add(const Bytes& seed) { io::WriteFileAtomically(StrCat(path_, "/seed-", number_++), seed); }

 private:
  const std::string path_;
  int number_ = 0;
};

std::vector<float> Values(size_t count, uint64_t key) {
  std::vector<float> values(count);
  for (size_t i = 0; i < count; ++i) {
    values[i] = std::pow(2 * UniformFloat(PhiloxWord(key, i)) - 1, 3.0f);
  }
  return values;
}

void Append(const Bytes& bytes, Bytes* out) { out->insert(out->end(), bytes.begin(), bytes.end()); }

void AppendSized(const Bytes* bytes, Bytes* out) {
  AppendLittleEndian(out, static_cast<uint16_t>(bytes == nullptr ? 0xffff : bytes->size()));
}

// The forms that octet_fuzz.cc, entropy_fuzz.cc and rd_fuzz.cc read.
Bytes OctetSeed(int64_t rows, const Bytes& widths, const std::vector<uint32_t>& sinks) {
  const auto channels = static_cast<int64_t>(widths.size());
  const std::vector<float> x = Values(static_cast<size_t>(rows * channels), widths.size());
  const auto sections =
      quant::Encode({x.data(), DType::kF32, rows, channels}, widths, {sinks, {}}, {});
  const Bytes* sink_rows = FindSection(sections, SectionKind::kSinkRows);
  Bytes seed = {static_cast<uint8_t>(rows), static_cast<uint8_t>(channels),
                static_cast<uint8_t>(sinks.size())};
  Append(widths, &seed);
  for (const uint32_t sink : sinks) seed.push_back(static_cast<uint8_t>(sink));
  AppendSized(FindSection(sections, SectionKind::kRanges), &seed);
  AppendSized(sink_rows, &seed);
  for (const Section& section : sections) Append(section.bytes, &seed);
  return seed;
}

Bytes EntropySeed(int64_t rows, const Bytes& widths) {
  const auto channels = static_cast<int64_t>(widths.size());
  std::vector<float> x = Values(static_cast<size_t>(rows * channels), widths.size());
  for (size_t i = 0; i < x.size(); ++i) {  // rows of two loudnesses, for classes of rows
    x[i] *= std::abs(x[i]) * (i / static_cast<size_t>(channels) % 5 == 0 ? 1.0f : 0.125f);
  }
  auto sections = quant::Encode({x.data(), DType::kF32, rows, channels}, widths, {}, {});
  quant::EntropySender sender;
  sender.Compress({.widths = widths, .rows = static_cast<uint64_t>(rows)}, &sections);
  Bytes seed = {static_cast<uint8_t>(rows), static_cast<uint8_t>(channels - 1)};
  Append(widths, &seed);
  const Bytes* tables = FindSection(sections, SectionKind::kEntropyTables);
  const Bytes* codes = FindSection(sections, SectionKind::kEntropyCodes);
  AMAQ_CHECK(tables != nullptr && codes != nullptr);  // else the seed would reach nothing
  AppendSized(FindSection(sections, SectionKind::kRanges), &seed);
  AppendSized(tables, &seed);
  Append(*FindSection(sections, SectionKind::kRanges), &seed);
  Append(*tables, &seed);
  Append(*codes, &seed);
  return seed;
}

// The messages that rd_fuzz.cc teaches its model with.
void Teach(quant::RdModel* model) {
  for (uint64_t step = 0; step < 2; ++step) {
    std::vector<float> y(8 * model->channels());
    for (size_t i = 0; i < y.size(); ++i) {
      y[i] = 20 * (UniformFloat(PhiloxWord(step, i)) - 0.5f);
    }
    model->Add({step, 0, 0}, quant::RdEncode(y, {}, *model, {}).value().counts);
    model->Keep({step + 1, 0, 0});
  }
}

Bytes RdSeed(size_t rows, size_t channels, float scale, bool is_taught) {
  quant::RdModel model(channels);
  if (is_taught) Teach(&model);
  std::vector<float> y = Values(rows * channels, channels);
  for (size_t i = 0; i < y.size(); ++i) {
    y[i] *= scale * static_cast<float>(1u << i % channels % 8);
  }
  const std::vector<Section> sections = quant::RdEncode(y, {}, model, {}).value().sections;
  Bytes seed = {static_cast<uint8_t>(rows), static_cast<uint8_t>(channels - 1),
                static_cast<uint8_t>(is_taught ? 1 : 0)};
  AppendSized(FindSection(sections, SectionKind::kRdClasses), &seed);
  for (const Section& section : sections) Append(section.bytes, &seed);
  return seed;
}

std::vector<transport::Message> Messages() {
  std::vector<transport::Message> messages(4);
  messages[0].tensor = transport::TensorSpec{19, 7, DType::kBF16, 3};
  messages[0].gate = {2, transport::GatePhase::kAdapting, 3.5, 1};
  messages[0].sections = {{SectionKind::kWidths, Bytes(7)}, {SectionKind::kCodes, Bytes(40)}};
  messages[0].loss_tokens = 11;
  messages[1].key.phase = transport::Phase::kBackward;
  messages[1].item = transport::BackwardInfo{1.5, 11};
  messages[2].key.phase = transport::Phase::kCommit;
  messages[2].item = transport::CommitInfo{false, 1, 0.5, 3};
  messages[3].key = {1, 9, 0, 1, transport::Phase::kAbort, 0};
  messages[3].item = transport::NonFinite{"gradient", 5, 6};
  return messages;
}

void WriteAll(const std::string& root) {
  Folder octet(root, "octet");
  octet.Add(OctetSeed(19, {2, 3, 0, 8, 5, 1, 4}, {0, 10}));
  octet.Add(OctetSeed(8, {1, 2, 3, 4, 5, 6, 7, 8}, {}));
  octet.Add(OctetSeed(1, {3}, {0}));
  octet.Add(OctetSeed(63, Bytes(31, 3), {}));
  Folder entropy(root, "entropy");
  entropy.Add(EntropySeed(255, Bytes(31, 4)));
  entropy.Add(EntropySeed(255, Bytes(16, 3)));
  entropy.Add(EntropySeed(250, {2, 3, 0, 6, 5, 1, 4, 4, 4, 4, 4, 4, 4, 3, 3, 3, 3, 3, 3}));
  Folder rd(root, "rd");
  rd.Add(RdSeed(200, 40, 1, false));
  rd.Add(RdSeed(9, 5, 300, false));
  rd.Add(RdSeed(60, 63, 4, true));
  rd.Add(RdSeed(1, 24, 0.5f, true));
  Folder frame(root, "frame");
  Folder header(root, "step_header");
  for (const transport::Message& message : Messages()) {
    frame.Add(transport::SerializeCapture(message));
    header.Add(transport::EncodeStepHeader(message));
  }
  Folder tensor_file(root, "tensor_file");
  const std::vector<float> x = Values(6, 1);
  const std::vector<int64_t> shape = {2, 3};
  tensor_file.Add(io::SerializeNpy(shape, x));
  tensor_file.Add(io::SerializeSafetensors({{"a", {2, 3}, x}, {"b", {6}, x}}, {{"format", "pt"}}));
  tensor_file.Add(test::GgufBuilder().Uint("a.b", 7).Tensor("t", {32}, 0, Bytes(128)).Build());
}

}  // namespace
}  // namespace amaq

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
    return 2;
  }
  amaq::WriteAll(argv[1]);
  return 0;
}
