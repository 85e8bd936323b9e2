#ifndef AMAQ_QUANT_ENTROPY_STAGE_H_
#define AMAQ_QUANT_ENTROPY_STAGE_H_

// wire.entropy at one party of a cut: codes what it sends, restores what it receives, and, with
// `auto`, chooses for each message. The choice changes bytes, never what is decoded. Lane-bound.
// Source: design "AMAQ", section 8; the rule and its constants are our choice
// (docs/formats/entropy.md).

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "core/section.h"
#include "quant/entropy.h"

namespace amaq::quant {

enum class EntropyMode { kOff, kOn, kAuto };
std::optional<EntropyMode> ParseEntropyMode(std::string_view name);  // "off", "on", "auto"

// `auto`: on where the bytes saved would have taken the link longer than the two parties take to
// code and decode them. Knows no clock: numbers come in.
class EntropyChoice {
 public:
  // Is the next message to be coded? bytes_per_second of the link; nullopt: not known, or none.
  bool CodesNext(std::optional<double> bytes_per_second);
  // What a coded message took (the sender's part) and saved; below 0 where tables cost more.
  void Measured(double num_symbols, double bytes_saved, double seconds);

  bool is_on() const { return is_on_; }  // probes apart

  // Seconds saved on the link over seconds of coding: from here on it is worth beginning, and from
  // there on stopping.
  static constexpr double kBegin = 1.25;
  static constexpr double kStop = 0.8;
  // While it is off, the first two of so many messages are coded to measure again: two, because
  // one of them makes tables.
  static constexpr uint64_t kProbeEvery = 64;

 private:
  // Of the latest coded messages, in a ring.
  struct Cost {
    double seconds = 0;  // a symbol
    double saved = 0;    // bytes a symbol
  };
  // Seconds saved over seconds of coding; nullopt: nothing was measured yet.
  std::optional<double> Gain(double bytes_per_second) const;

  std::array<Cost, 4> costs_ = {};
  size_t num_costs_ = 0;
  uint64_t num_messages_ = 0;  // while off and the link is known
  bool is_on_ = false;
};

class EntropyStage {
 public:
  explicit EntropyStage(EntropyMode mode) : mode_(mode) {}

  bool is_used() const { return mode_ != EntropyMode::kOff; }
  // As EntropySender's and EntropyReceiver's; with kOff they do nothing. bytes_per_second: as
  // EntropyChoice's, read by kAuto alone.
  void Compress(CodesShape shape, std::optional<double> bytes_per_second,
                std::vector<Section>* sections);
  void Restore(CodesShape shape, std::vector<Section>* sections);

 private:
  const EntropyMode mode_;
  EntropySender sender_;
  EntropyReceiver receiver_;
  EntropyChoice choice_;
};

}  // namespace amaq::quant

#endif  // AMAQ_QUANT_ENTROPY_STAGE_H_
