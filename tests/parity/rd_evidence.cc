// What the ingredients of amaq-rd give, without training: the tables of docs/benchmarks.md. Not
// part of the product. Usage: amaq_rd_evidence MODEL TRAIN.jsonl HELD_OUT.jsonl
//
// SmolLM2 as configs/gsm8k-client.yaml cuts it. Of TRAIN the first records (60 rows a channel) fit
// the bases, the next 48 teach the tables of the coders, the next 24 are new data of the same file.
// The first 24 of HELD_OUT are coded, decoded and go through the rest of the model. Messages are of
// 4 records, as the product's.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/error.h"
#include "quant/entropy_stage.h"
#include "quant/rd.h"
#include "quant/rd_format.h"
#include "quant/sections.h"
#include "tensor/bridge.h"
#include "tests/parity/account.h"
#include "tests/parity/split_model.h"
#include "train/basis.h"
#include "train/cut.h"

namespace amaq {
namespace {

using train::Basis;
using train::Transform;

constexpr size_t kRecords = 4;  // a message
constexpr size_t kTeachingRecords = 48;
constexpr size_t kHeldOutRecords = 24;
constexpr uint64_t kRunRows = 35'661;  // of 60 steps: what the basis' bytes are shared among

// What the program looks at.
struct Evidence {
  SplitModel& model;
  Crossings fit, teaching, fresh, held_out;
};

void Print(const std::string& name, const Outcome& outcome) {
  std::printf("| %s | %.3f | %.3f | %.4f | %.4f |\n", name.c_str(), outcome.code_bits,
              outcome.total_bits, outcome.error, outcome.loss);
  std::fflush(stdout);
}

// A recipe of the rate-distortion coder -----------------------------------------------------------

struct Recipe {
  std::string name;
  Transform transform = Transform::kEigen;
  float dead_zone = 0.15f;
  bool has_centroids = true;
  double bits = 1.52;      // of the codes
  double total_bits = 0;   // above 0: of everything instead
  bool remembers = false;  // rows cross as differences to kinds; what is coded is learnt from, too
};

std::vector<float> ComponentsOf(const Basis& basis, const Crossing& crossing) {
  const at::Tensor y = tensor::OnHost(basis.Analyse(crossing.x, crossing.sinks));
  const std::span<const float> values = tensor::Floats(y);
  return {values.begin(), values.end()};
}

// The messages of some records through a basis.
class Components {
 public:
  Components(const Basis& basis, const Crossings& crossings) {
    for (const Crossing& crossing : crossings) {
      messages_.push_back(ComponentsOf(basis, crossing));
      elements_ += messages_.back().size();
    }
  }
  const std::vector<std::vector<float>>& messages() const { return messages_; }
  double elements() const { return static_cast<double>(elements_); }

 private:
  std::vector<std::vector<float>> messages_;
  uint64_t elements_ = 0;
};

quant::RdOptions OptionsOf(double log2_step, float dead_zone, bool remembers = false) {
  quant::RdOptions options;
  if (remembers) options.kinds = quant::RdKinds::kLearn;
  options.step = {static_cast<float>(std::exp2(log2_step)), 0};  // finer than the index' grid
  options.dead_zone = dead_zone;
  return options;
}

void Learn(quant::RdCounts counts, quant::RdModel* model) {
  const uint64_t step = model->generation();
  model->Add({step, 0, 0}, std::move(counts));
  model->Keep({step + 1, 0, 0});
}

quant::RdModel Taught(const Components& teaching, size_t channels,
                      const quant::RdOptions& options) {
  quant::RdModel model(channels);
  for (const std::vector<float>& y : teaching.messages()) {
    Learn(quant::RdEncode(y, options, model, {}).value().counts, &model);
  }
  return model;
}

double BitsOf(const Components& components, const quant::RdOptions& options, quant::RdModel model) {
  uint64_t bytes = 0;
  for (const std::vector<float>& y : components.messages()) {
    quant::RdEncoded sent = quant::RdEncode(y, options, model, {}).value();
    bytes += quant::TotalBytes(sent.sections);
    if (options.kinds == quant::RdKinds::kLearn) Learn(std::move(sent.counts), &model);
  }
  return 8 * static_cast<double>(bytes) / components.elements();
}

// The step at which new records need `bits` an element, with tables taught at that step.
double SolveLog2Step(const Components& teaching, const Components& coded, size_t channels,
                     float dead_zone, double bits, bool remembers = false) {
  double low = -6, high = 8;  // more bits, fewer
  for (int i = 0; i < 13; ++i) {
    const double middle = (low + high) / 2;
    const quant::RdOptions options = OptionsOf(middle, dead_zone, remembers);
    const double needed = BitsOf(coded, options, Taught(teaching, channels, options));
    (needed > bits ? low : high) = middle;
  }
  return high;
}

// y^ without the centroids that it was decoded with.
void DropCentroids(float step, std::span<float> y_hat) {
  for (float& value : y_hat) value = std::nearbyint(value / step) * step;
}

Basis FittedBasis(const Crossings& fit, Transform transform, uint64_t expected_rows = kRunRows) {
  train::Moments moments(fit.front().x.size(1));
  for (const Crossing& crossing : fit) moments.Add(crossing.x, crossing.sinks);
  const Basis sent = train::FitBasis(transform, moments, expected_rows);
  return train::ReadBasis(train::WriteBasis(sent), sent.channels());
}

// The whole activation as its receiver has it.
at::Tensor Received(const Basis& basis, const Crossing& crossing, std::span<const float> y_hat) {
  at::Tensor y = tensor::EmptyFloats(crossing.x.size(0), basis.channels());
  std::copy(y_hat.begin(), y_hat.end(), tensor::Floats(y).begin());
  return basis.Synthesise(y, crossing.sinks);
}

Outcome RunRecipe(const Evidence& evidence, const Recipe& recipe) {
  const Basis basis = FittedBasis(evidence.fit, recipe.transform);
  const auto channels = static_cast<size_t>(basis.channels());
  const double basis_bits = 8 * static_cast<double>(quant::TotalBytes(train::WriteBasis(basis))) /
                            static_cast<double>(kRunRows * channels);
  const Components teaching(basis, evidence.teaching);
  const Components coded(basis, evidence.held_out);
  const double bits = recipe.total_bits == 0 ? recipe.bits : recipe.total_bits - basis_bits;
  const double log2_step =
      SolveLog2Step(teaching, coded, channels, recipe.dead_zone, bits, recipe.remembers);
  const quant::RdOptions options = OptionsOf(log2_step, recipe.dead_zone, recipe.remembers);
  quant::RdModel model = Taught(teaching, channels, options);
  Account account(evidence.model);
  for (size_t i = 0; i < evidence.held_out.size(); ++i) {
    const std::vector<float>& y = coded.messages()[i];
    quant::RdEncoded sent = quant::RdEncode(y, options, model, {}).value();
    std::vector<float> y_hat(y.size());
    quant::RdDecode(sent.sections, model, y_hat);
    if (recipe.remembers) Learn(std::move(sent.counts), &model);
    if (!recipe.has_centroids) DropCentroids(options.step.value(), y_hat);
    const Crossing& crossing = evidence.held_out[i];
    const uint64_t bytes = quant::TotalBytes(sent.sections);
    account.Add(crossing, Received(basis, crossing, y_hat),
                {bytes, crossing.batch.num_tokens(), bytes});
  }
  return account.Result(basis_bits);
}

// The packed path ---------------------------------------------------------------------------------

// Widths by water-filling from two micro-batches in bf16, as the method does it.
std::vector<uint8_t> WaterfilledWidths(const Evidence& evidence) {
  quant::WidthConfig config;
  config.method = quant::Method::kWaterfill;
  config.target_bits = 3;
  const int64_t channels = evidence.model.channels();
  const auto policy = quant::MakeWidthPolicy(config, channels);
  for (size_t i = 0; policy->calibration_micro_batches() > 0; ++i) {
    const Crossing& crossing = evidence.teaching.at(i);
    const at::Tensor x = RowsOf(crossing.x, crossing.coded);
    const at::Tensor g = RowsOf(evidence.model.Gradient(crossing), crossing.coded).to(at::kDouble);
    const at::Tensor range =
        (std::get<0>(x.max(0)) - std::get<0>(x.min(0))).to(at::kDouble).contiguous();
    const at::Tensor energy = g.square().sum(0).contiguous();
    quant::ChannelStats stats;
    stats.range.assign(range.const_data_ptr<double>(), range.const_data_ptr<double>() + channels);
    stats.gradient_energy.assign(energy.const_data_ptr<double>(),
                                 energy.const_data_ptr<double>() + channels);
    policy->Observe(stats, crossing.batch.num_supervised());
  }
  policy->FinishCalibration();
  return {policy->widths().begin(), policy->widths().end()};
}

Outcome RunWaterfill(const Evidence& evidence, const Crossings& held_out) {
  const std::vector<uint8_t> widths = WaterfilledWidths(evidence);
  train::CutOptions options;
  options.method = quant::Method::kWaterfill;
  train::CutCoder coder(options);
  quant::EntropyStage stage(quant::EntropyMode::kOn);
  const auto send = [&](const Crossing& crossing) {
    train::CodedTensor coded = coder.EncodeActivation(crossing.x, crossing.batch.segments, widths,
                                                      {}, train::KeepDecoded::kYes);
    stage.Compress(coder.ActivationCodes(coded.sections, crossing.batch.segments, widths), {},
                   &coded.sections);
    return coded;
  };
  for (const Crossing& crossing : evidence.teaching) send(crossing);
  Account account(evidence.model);
  for (const Crossing& crossing : held_out) {
    const train::CodedTensor coded = send(crossing);
    uint64_t code_bytes = 0;
    for (const Section& section : coded.sections) {
      if (section.kind == SectionKind::kRanges || section.kind == SectionKind::kSinkRows) continue;
      code_bytes += section.bytes.size();
    }
    account.Add(crossing, coded.decoded,
                {code_bytes, crossing.coded.size(), quant::TotalBytes(coded.sections)});
  }
  return account.Result(0);
}

Outcome RunBf16(const Evidence& evidence) {
  Account account(evidence.model);
  for (const Crossing& crossing : evidence.held_out) {
    const auto channels = static_cast<uint64_t>(crossing.x.size(1));
    account.Add(crossing, crossing.x.to(at::kBFloat16).to(at::kFloat),
                {crossing.coded.size() * channels * sizeof(uint16_t), crossing.coded.size(),
                 crossing.batch.num_tokens() * channels * sizeof(uint16_t)});
  }
  return account.Result(0);
}

// Ingredients that are no recipe ------------------------------------------------------------------

// Bits an element that tables taught with and without classes of rows give, states and heads left
// out.
double CodeLength(const Components& teaching, const Components& coded, size_t channels,
                  const quant::RdOptions& options, bool has_row_classes) {
  quant::RdModel model(channels);
  double bits = 0;
  const auto pass = [&](const std::vector<float>& y, bool counts_bits) {
    std::vector<float> y_hat(y.size());
    const quant::RdEncoded sent = quant::RdEncode(y, options, model, y_hat).value();
    quant::RdClasses classes{model.BasesAt(options.step.index), {}};
    const size_t rows = y.size() / channels;
    std::vector<int32_t> q;
    for (const float value : y_hat) {
      q.push_back(static_cast<int32_t>(std::nearbyint(value / options.step.value())));
    }
    for (size_t row = 0; row < rows; ++row) {
      size_t chosen = quant::kRdMiddleRow;
      double least = INFINITY;
      for (size_t c = 0; c < quant::kRdRowClasses; ++c) {
        if (!has_row_classes && c != quant::kRdMiddleRow) continue;
        double needed = has_row_classes ? 3 : 0;
        for (size_t channel = 0; channel < channels; ++channel) {
          const size_t table = classes.bases[channel] + quant::kRdRowStride * c;
          const quant::RdTableShape& shape = quant::RdShapeOf(table);
          const uint8_t symbol = shape.SymbolOf(q[row * channels + channel]);
          needed +=
              quant::kFrequencyBits - std::log2(model.tables().slices(table)[symbol].frequency);
          needed += symbol == shape.escape() ? 8 : shape.low_bits;
        }
        if (needed < least) {
          least = needed;
          chosen = c;
        }
      }
      classes.row_classes.push_back(static_cast<uint8_t>(chosen));
      if (counts_bits) bits += least;
    }
    return quant::RdCountsOf(q, classes, options.step.index);
  };
  for (const std::vector<float>& y : teaching.messages()) Learn(pass(y, false), &model);
  for (const std::vector<float>& y : coded.messages()) pass(y, true);
  return bits / coded.elements();
}

void PrintRowClasses(const Evidence& evidence) {
  const Basis basis = FittedBasis(evidence.fit, Transform::kEigen);
  const auto channels = static_cast<size_t>(basis.channels());
  const Components teaching(basis, evidence.teaching);
  const Components coded(basis, evidence.held_out);
  const quant::RdOptions options =
      OptionsOf(SolveLog2Step(teaching, coded, channels, 0.15f, 1.52), 0.15f);
  std::printf("\nCode length by the tables, bits: with row classes %.3f, without %.3f\n",
              CodeLength(teaching, coded, channels, options, true),
              CodeLength(teaching, coded, channels, options, false));
}

// Gradients: the coder of one step size against codes of 3 bits with the lossless stage.
struct GradientOutcome {
  double bits = 0;
  double error = 0;  // over the energy
};

GradientOutcome SendGradients(const Evidence& evidence, const std::vector<at::Tensor>& gradients,
                              const train::CutOptions& options, std::span<const uint8_t> widths) {
  train::CutCoder coder(options);
  quant::EntropyStage stage(quant::EntropyMode::kOn);
  double bits = 0, elements = 0, error = 0, energy = 0;
  for (size_t i = 0; i < gradients.size(); ++i) {
    const data::Batch& batch = evidence.teaching[i].batch;
    const train::GradientRows plan = train::PlanGradientRows(batch.segments, batch.target_rows, 1);
    const train::MicroBatchId id = {i, 0};
    train::CodedTensor coded = coder.EncodeGradient(gradients[i], plan, widths, id);
    const at::Tensor received =
        coder.DecodeGradient(coded.sections, coded.raw_dtype, plan, gradients[i].size(0), widths,
                             gradients[i].size(1), at::kCPU, at::kFloat, id);
    if (options.gradient_rate == 0) {
      stage.Compress(coder.GradientCodes(coded.sections, plan, widths), {}, &coded.sections);
    }
    coder.KeepSteps(i + 1);
    if (i < gradients.size() / 2) continue;  // the tables are young
    bits += 8 * static_cast<double>(quant::TotalBytes(coded.sections));
    elements += static_cast<double>(gradients[i].numel());
    error += (received - gradients[i]).to(at::kDouble).square().sum().item<double>();
    energy += gradients[i].to(at::kDouble).square().sum().item<double>();
  }
  return {bits / elements, error / energy};
}

void PrintGradients(const Evidence& evidence) {
  std::vector<at::Tensor> gradients;
  for (const Crossing& crossing : evidence.teaching) {
    gradients.push_back(evidence.model.Gradient(crossing));
  }
  std::printf("\n| gradients | bits | error / energy |\n|---|---|---|\n");
  const auto print = [](const char* name, const GradientOutcome& outcome) {
    std::printf("| %s | %.3f | %.4f |\n", name, outcome.bits, outcome.error);
    std::fflush(stdout);
  };
  train::CutOptions options;
  options.method = quant::Method::kFixed;
  for (const uint32_t bits : {3u, 4u}) {
    options.gradient_bits = bits;
    const std::vector<uint8_t> widths(static_cast<size_t>(evidence.model.channels()),
                                      static_cast<uint8_t>(bits));
    print(bits == 3 ? "packed at 3 bits, lossless stage" : "packed at 4 bits, lossless stage",
          SendGradients(evidence, gradients, options, widths));
  }
  options.gradient_bits.reset();
  for (const double rate : {1.0, 1.3, 1.6, 2.0, 2.5}) {
    options.gradient_rate = rate;
    print("one step size", SendGradients(evidence, gradients, options, {}));
  }
}

// The guard against a fit to the records rather than to what they have in common.
void PrintOverfitting(const Evidence& evidence) {
  std::printf(
      "\n| rows fitted to | basis, kB | bits: its own records | other records of the file | "
      "held-out file |\n|---|---|---|---|---|\n");
  for (const uint64_t wanted : {uint64_t{1200}, uint64_t{2400}, uint64_t{9000}, kRunRows}) {
    Crossings fit;
    for (const Crossing& crossing : evidence.fit) {
      if (NumRows(fit) < wanted) fit.push_back(crossing);
    }
    const Basis basis = FittedBasis(fit, Transform::kEigen);
    const auto channels = static_cast<size_t>(basis.channels());
    const Components teaching(basis, evidence.teaching);
    const Components held_out(basis, evidence.held_out);
    const quant::RdOptions options =
        OptionsOf(SolveLog2Step(teaching, held_out, channels, 0.15f, 1.52), 0.15f);
    const quant::RdModel model = Taught(teaching, channels, options);
    const Crossings own(fit.begin(),
                        fit.begin() + static_cast<std::ptrdiff_t>(std::min<size_t>(6, fit.size())));
    std::printf("| %llu | %.1f | %.3f | %.3f | %.3f |\n",
                static_cast<unsigned long long>(NumRows(fit)),
                static_cast<double>(quant::TotalBytes(train::WriteBasis(basis))) / 1e3,
                BitsOf(Components(basis, own), options, model),
                BitsOf(Components(basis, evidence.fresh), options, model),
                BitsOf(held_out, options, model));
    std::fflush(stdout);
  }
}

void PrintBasisBytes(const Evidence& evidence) {
  std::printf(
      "\n| steps | rows | basis, bytes | bits a coefficient | bits an element |\n"
      "|---|---|---|---|---|\n");
  const auto channels = static_cast<double>(evidence.model.channels());
  for (const uint64_t steps : {60u, 600u, 6000u}) {
    const uint64_t rows = kRunRows * steps / 60;
    const Basis basis = FittedBasis(evidence.fit, Transform::kEigen, rows);
    const auto bytes = static_cast<double>(quant::TotalBytes(train::WriteBasis(basis)));
    const auto coefficients = static_cast<double>(basis.reflectors().coefficients.size());
    std::printf("| %llu | %llu | %.0f | %.2f | %.5f |\n", static_cast<unsigned long long>(steps),
                static_cast<unsigned long long>(rows), bytes, 8 * bytes / coefficients,
                8 * bytes / (static_cast<double>(rows) * channels));
  }
}

void Run(const std::string& model_path, const std::string& train, const std::string& held_out) {
  tensor::ConfigureCompute(1);
  SplitModel model(model_path);
  const std::vector<data::Example> records = model.Read(train, 400);
  const std::vector<data::Example> new_records = model.Read(held_out, kHeldOutRecords);
  size_t fitted = 0;
  for (uint64_t rows = 0; rows < 60 * static_cast<uint64_t>(model.channels());) {
    for (size_t i = 0; i < kRecords; ++i) rows += records.at(fitted++).tokens.size();
  }
  auto next = [all = std::span<const data::Example>(records), &model](size_t count) mutable {
    const Crossings crossings = model.Cross(all.first(count), kRecords);
    all = all.subspan(count);
    return crossings;
  };
  const Evidence evidence{model, next(fitted), next(kTeachingRecords), next(kHeldOutRecords),
                          model.Cross(new_records, kRecords)};
  std::printf("%zu records of %llu rows to fit to, %llu rows held out\n\n", fitted,
              static_cast<unsigned long long>(NumRows(evidence.fit)),
              static_cast<unsigned long long>(NumRows(evidence.held_out)));
  std::printf(
      "| scheme | bits of the codes | all bytes | mean squared error | loss |\n"
      "|---|---|---|---|---|\n");
  Print("bf16", RunBf16(evidence));
  Print("min-max, water-filled 3 bits, lossless stage", RunWaterfill(evidence, evidence.held_out));
  Print("the same, one record a message", RunWaterfill(evidence, model.Cross(new_records, 1)));
  const std::vector<Recipe> recipes = {
      {"one step, no transform", Transform::kNone, 0, false, 1.51},
      {"eigenbasis", Transform::kEigen, 0, false, 1.52},
      {"eigenbasis, dead zone 0.1, centroids", Transform::kEigen, 0.1f, true, 1.52},
      {"eigenbasis, dead zone 0.15, centroids", Transform::kEigen, 0.15f, true, 1.52},
      {"the same, fewer bits", Transform::kEigen, 0.15f, true, 0.99},
      {"the same, 1.5 bits with everything", Transform::kEigen, 0.15f, true, 0, 1.5},
      {"memory of rows", Transform::kEigen, 0.15f, true, 1.52, 0, true},
      {"memory of rows, fewer bits", Transform::kEigen, 0.15f, true, 0.99, 0, true},
      {"memory of rows, 1.5 bits with everything", Transform::kEigen, 0.15f, true, 0, 1.5, true},
      {"without transform", Transform::kNone, 0.15f, true, 1.52},
      {"Hadamard", Transform::kHadamard, 0.15f, true, 1.52},
      {"without dead zone", Transform::kEigen, 0, true, 1.52},
      {"without centroids", Transform::kEigen, 0.15f, false, 1.52}};
  for (const Recipe& recipe : recipes) Print(recipe.name, RunRecipe(evidence, recipe));
  PrintRowClasses(evidence);
  PrintOverfitting(evidence);
  PrintBasisBytes(evidence);
  PrintGradients(evidence);
}

}  // namespace
}  // namespace amaq

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fputs("usage: amaq_rd_evidence MODEL TRAIN.jsonl HELD_OUT.jsonl\n", stderr);
    return 2;
  }
  try {
    amaq::Run(argv[1], argv[2], argv[3]);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "amaq_rd_evidence: %s\n", error.what());
    return 1;
  }
  return 0;
}
