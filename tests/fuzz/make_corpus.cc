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
#include "quant/coder.h"
#include "quant/entropy.h"
#include "quant/rd.h"
#include "quant/rd_basis.h"
#include "tests/quant/vector_storage.h"
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

// The forms that octet_fuzz.cc, entropy_fuzz.cc, rd_fuzz.cc and basis_fuzz.cc read.
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
    quant::RdOptions options;
    options.kinds = quant::RdKinds::kLearn;
    model->Add({step, 0, 0}, quant::RdEncode(y, options, *model, {}).value().counts);
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
  quant::RdOptions options;
  options.kinds = quant::RdKinds::kUse;
  const std::vector<Section> sections = quant::RdEncode(y, options, model, {}).value().sections;
  Bytes seed = {static_cast<uint8_t>(rows), static_cast<uint8_t>(channels - 1),
                static_cast<uint8_t>(is_taught ? 1 : 0)};
  AppendSized(FindSection(sections, SectionKind::kRdClasses), &seed);
  for (const Section& section : sections) Append(section.bytes, &seed);
  return seed;
}

Bytes BasisSeed(quant::Transform transform, size_t channels, size_t reflectors, int8_t weight) {
  quant::RdBasis basis{
      transform, {std::vector<float>(channels, 0.5f), std::vector<float>(channels, 64)}, {}};
  const float limit = static_cast<float>(quant::RdBasisWeight(weight)) / 2;
  for (size_t k = 0; k < reflectors; ++k) {
    basis.reflectors.weights.push_back(weight);
    for (const float value : Values(channels - 1 - k, k)) {
      basis.reflectors.coefficients.push_back(std::nearbyint(limit * value));
    }
  }
  const std::vector<Section> sections = quant::WriteRdBasis(basis);
  Bytes seed = {static_cast<uint8_t>(channels - 1)};
  for (const SectionKind kind : {SectionKind::kRdBasis, SectionKind::kRdClasses}) {
    const Bytes* bytes = FindSection(sections, kind);
    AppendSized(bytes, &seed);
    if (bytes != nullptr) Append(*bytes, &seed);
  }
  if (reflectors > 0) Append(*FindSection(sections, SectionKind::kRdCodes), &seed);
  return seed;
}

// Sizes and bytes of the sections of these kinds; what is behind the last size has none.
void AppendSections(const std::vector<Section>& sections, const std::vector<SectionKind>& kinds,
                    bool last_has_size, Bytes* seed) {
  for (const SectionKind kind : kinds) {
    if (last_has_size || kind != kinds.back()) AppendSized(FindSection(sections, kind), seed);
  }
  for (const SectionKind kind : kinds) {
    const Bytes* bytes = FindSection(sections, kind);
    if (bytes != nullptr) Append(*bytes, seed);
  }
}

// The form that tiles_fuzz.cc reads.
Bytes TilesSeed(uint8_t form, uint32_t rows, uint8_t channels, uint8_t width,
                const std::vector<uint32_t>& sinks) {
  std::vector<float> x = Values(size_t{rows} * channels, form);
  for (size_t i = 0; i < x.size(); i += 37) x[i] *= 50;  // outliers turn tiles
  quant::CoderConfig config;
  config.method = (form & 1) != 0 ? quant::Method::kTahquant : quant::Method::kGroup;
  config.group_size = 32 + 8 * ((form >> 2) % 13u);
  const auto kind = (form & 2) != 0 ? quant::TensorKind::kGradient : quant::TensorKind::kActivation;
  const std::vector<uint8_t> widths(channels, width);
  quant::MessageContext context;
  context.widths = widths;
  context.rows = {sinks, {}};
  const quant::CodedMatrix sent =
      quant::MakeCoder(config, kind, nullptr)
          ->Encode({x.data(), DType::kF32, rows, channels}, context, {});
  AMAQ_CHECK(!sent.raw_dtype);
  Bytes seed = {form, static_cast<uint8_t>(rows), static_cast<uint8_t>(channels - 1),
                static_cast<uint8_t>(width - 3), static_cast<uint8_t>(sinks.size())};
  for (const uint32_t sink : sinks) seed.push_back(static_cast<uint8_t>(sink));
  AppendSections(
      sent.sections,
      {SectionKind::kTiles, SectionKind::kSinkRows, SectionKind::kScales, SectionKind::kCodes},
      false, &seed);
  return seed;
}

// The form that visits_fuzz.cc reads: two messages of the same samples.
Bytes VisitsSeed(quant::Method method, const std::vector<uint32_t>& lengths, const Bytes& widths) {
  Bytes seed = {static_cast<uint8_t>(method == quant::Method::kAqsgd ? 0 : 1),
                static_cast<uint8_t>(lengths.size() - 1)};
  std::vector<uint32_t> segments = {0};
  std::vector<uint32_t> sinks;
  std::vector<uint64_t> keys;
  for (const uint32_t length : lengths) {
    seed.push_back(static_cast<uint8_t>(length - 1));
    sinks.push_back(segments.back());
    keys.push_back(keys.size() + 1);
    segments.push_back(segments.back() + length);
  }
  seed.push_back(static_cast<uint8_t>(widths.size() - 1));
  for (const uint8_t width : widths) seed.push_back(static_cast<uint8_t>(width - 1));
  quant::CoderConfig config;
  config.method = method;
  config.cache_bytes = 2048;
  const auto coder = quant::MakeCoder(config, quant::TensorKind::kActivation,
                                      std::make_unique<quant::VectorStorage>(config.cache_bytes));
  const auto channels = static_cast<int64_t>(widths.size());
  for (uint32_t visit = 0; visit < 2; ++visit) {
    const std::vector<float> x = Values(segments.back() * widths.size(), 7 + visit);
    quant::MessageContext context;
    context.widths = widths;
    context.rows = {sinks, {}};
    context.samples = quant::SampleContext{segments, keys, {0, 0, visit}};
    const quant::CodedMatrix sent =
        coder->Encode({x.data(), DType::kF32, segments.back(), channels}, context, {});
    AppendSections(sent.sections,
                   {SectionKind::kSampleKeys, SectionKind::kRanges, SectionKind::kSinkRows,
                    SectionKind::kCodes},
                   true, &seed);
  }
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
  Folder basis(root, "basis");
  basis.Add(BasisSeed(quant::Transform::kNone, 7, 0, 0));
  basis.Add(BasisSeed(quant::Transform::kHadamard, 48, 0, 0));
  basis.Add(BasisSeed(quant::Transform::kEigen, 63, 20, 12));
  basis.Add(BasisSeed(quant::Transform::kEigen, 24, 23, 40));
  basis.Add(BasisSeed(quant::Transform::kEigen, 9, 8, -3));
  Folder tiles(root, "tiles");
  tiles.Add(TilesSeed(0, 19, 83, 3, {0, 10}));
  tiles.Add(TilesSeed(0 + 4 * 12, 9, 100, 8, {}));
  tiles.Add(TilesSeed(1, 27, 83, 4, {0, 9}));
  tiles.Add(TilesSeed(3, 9, 64, 6, {}));
  Folder visits(root, "visits");
  visits.Add(VisitsSeed(quant::Method::kAqsgd, {12, 9, 1}, Bytes(16, 3)));
  visits.Add(VisitsSeed(quant::Method::kAmaqDelta, {12, 12}, {2, 3, 4, 8, 5, 6, 7, 1}));
  visits.Add(VisitsSeed(quant::Method::kAqsgd, std::vector<uint32_t>(9, 12), Bytes(16, 1)));
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
