#include "tests/bench/rd_bench.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/error.h"
#include "core/rng.h"
#include "quant/codec.h"
#include "quant/kernels.h"
#include "quant/rd.h"
#include "quant/sections.h"

namespace amaq::bench {
namespace {

constexpr size_t kChannels = 576;  // of SmolLM2
constexpr uint64_t kTaught = 4;    // messages that the model has seen

// What the transform leaves of an activation: Laplace-distributed components whose scales fall by
// 2^6, the last ones alike.
std::vector<float> Components(size_t rows, size_t channels, uint64_t key) {
  std::vector<float> y(rows * channels);
  for (size_t i = 0; i < y.size(); ++i) {
    const size_t c = i % channels;
    const uint32_t word = PhiloxWord(key, i);
    const double uniform = (static_cast<double>(word >> 1) + 0.5) * 0x1p-31;
    const double scale = std::max(0.5, 32 * std::exp2(-static_cast<double>(c) / 20));
    y[i] = static_cast<float>((word % 2 == 0 ? scale : -scale) * -std::log(uniform));
  }
  return y;
}

// A matrix at a rate: the step that meets it, a model that knows the like of it, its message.
class Stream {
 public:
  Stream(size_t rows, size_t channels, double bits)
      : model_(channels), y_(Components(rows, channels, kTaught)) {
    const double wanted = bits * static_cast<double>(y_.size());
    for (uint64_t step = 0; step < kTaught; ++step) {
      const std::vector<float> y = Components(rows, channels, step);
      options_.step.index = quant::RdSolveIndex(y, options_, model_, wanted);
      model_.Add({step, 0, 0}, quant::RdEncode(y, options_, model_, {}).value().counts);
      model_.Keep({step + 1, 0, 0});
    }
    options_.step.index = quant::RdSolveIndex(y_, options_, model_, wanted);
    Validate(wanted);
  }

  void Encode(size_t threads = 1) {
    options_.threads = threads;
    coded_ = quant::RdEncode(y_, options_, model_, {}).value();
  }
  void Decode(size_t threads = 1) {
    quant::RdDecode(coded_.sections, model_, out_, {.threads = threads});
  }
  void Copy() { std::memcpy(out_.data(), y_.data(), y_.size() * sizeof(float)); }
  void EncodePacked() { packed_ = quant::Encode(View(), widths_, {}, {}); }
  void DecodePacked() { quant::Decode(packed_, widths_, {}, View().rows, View().channels, out_); }

 private:
  MatrixView View() const {
    return {y_.data(), DType::kF32, static_cast<int64_t>(y_.size() / widths_.size()),
            static_cast<int64_t>(widths_.size())};
  }

  // The receiver sees what the sender was told, each value within a step of its own, and every
  // kernel set makes and reads the same bytes.
  void Validate(double wanted) {
    std::vector<float> told(y_.size());
    coded_ = quant::RdEncode(y_, options_, model_, told).value();
    const float step = options_.step.value();
    for (const quant::KernelSet& set : quant::AllKernelSets()) {
      quant::RdOptions options = options_;
      options.kernels = &set;
      const quant::RdEncoded again = quant::RdEncode(y_, options, model_, {}).value();
      quant::RdDecode(coded_.sections, model_, out_, {.kernels = options.kernels});
      if (out_ != told || again.sections.back().bytes != coded_.sections.back().bytes) {
        Throw(Code::kInternal, "kernel set ", set.name, " codes or decodes otherwise");
      }
    }
    const uint64_t bytes = quant::TotalBytes(coded_.sections);
    for (size_t i = 0; i < y_.size(); ++i) {
      if (std::fabs(told[i] - y_[i]) > 1.001f * step) {
        Throw(Code::kInternal, "the value ", y_[i], " came back as ", told[i], ", the step is ",
              step);
      }
    }
    if (8 * static_cast<double>(bytes) > 1.05 * wanted) {
      Throw(Code::kInternal, bytes, " bytes were made where ", wanted / 8, " were wanted");
    }
    EncodePacked();
    DecodePacked();
  }

  quant::RdOptions options_;
  quant::RdModel model_;
  std::vector<float> y_;
  std::vector<float> out_ = std::vector<float>(y_.size());
  quant::RdEncoded coded_;
  const std::vector<uint8_t> widths_ = std::vector<uint8_t>(model_.channels(), 3);
  std::vector<Section> packed_;
};

}  // namespace

std::vector<Ratio> RunRdBench(const Effort& effort, bool small) {
  std::vector<Ratio> ratios;
  for (const double bits : {1.0, 1.5, 2.0}) {
    Stream stream(small ? 64 : 592, kChannels, bits);  // one lane; a micro-batch of GSM8K
    const auto copy = [&] { stream.Copy(); };
    const auto encode = [&] { stream.Encode(); };
    const auto decode = [&] { stream.Decode(); };
    const std::string at = StrCat(", ", bits, bits == 1 ? " bit" : " bits");
    ratios.push_back(Compare("rd encode" + at, "memcpy", copy, encode, effort));
    ratios.push_back(Compare(
        "rd encode" + at, "packed encode with ranges, 3 bits", [&] { stream.EncodePacked(); },
        encode, effort));
    ratios.push_back(Compare("rd decode" + at, "memcpy", copy, decode, effort));
    ratios.push_back(Compare(
        "rd decode" + at, "packed decode, 3 bits", [&] { stream.DecodePacked(); }, decode, effort));
  }
  return ratios;
}

std::vector<Ratio> RunThreadsBench(const Effort& effort, bool small) {
  std::vector<Ratio> ratios;
  for (const size_t channels : {kChannels, size_t{4096}}) {
    Stream stream(small ? (size_t{1} << 19) / channels : 2048, channels, 1.5);
    const std::string what = StrCat(" on 2 threads, ", channels, " channels");
    ratios.push_back(Compare(
        "rd encode" + what, "on 1", [&] { stream.Encode(1); }, [&] { stream.Encode(2); }, effort));
    ratios.push_back(Compare(
        "rd decode" + what, "on 1", [&] { stream.Decode(1); }, [&] { stream.Decode(2); }, effort));
  }
  return ratios;
}

}  // namespace amaq::bench
