#ifndef AMAQ_QUANT_CODERS_CODERS_H_
#define AMAQ_QUANT_CODERS_CODERS_H_

// The coders behind MakeCoder, one file each, and what they share. Source: see each file.

#include <cstdint>
#include <memory>
#include <vector>

#include "quant/coder.h"
#include "quant/range_modes.h"
#include "quant/sections.h"

namespace amaq::quant {

// A coder without memory: raw where there are no widths or nothing is saved, else what the method
// writes.
class StatelessCoder : public Coder {
 public:
  explicit StatelessCoder(DType wire_dtype) : wire_dtype_(wire_dtype) {}
  CodedMatrix Encode(const MatrixView& x, const MessageContext& context,
                     std::span<float> decoded) final;
  void Decode(const std::vector<Section>& sections, std::optional<DType> raw_dtype,
              const MessageContext& context, int64_t num_rows, int64_t channels,
              std::span<float> out) final;

  // The sections of the method itself, never raw; context.widths are not empty.
  virtual std::vector<Section> Write(const MatrixView& x, const MessageContext& context) const = 0;
  virtual void Read(const std::vector<Section>& sections, const MessageContext& context,
                    int64_t num_rows, int64_t channels, std::span<float> out) const = 0;

 private:
  const DType wire_dtype_;
};

// none, fixed, linear, waterfill, amaq: one range a channel, octet layout.
// The rounding of `options` is each message's own.
std::unique_ptr<StatelessCoder> MakeUniformCoder(DType wire_dtype, const EncodeOptions& options);
// The same by token: one range a token, whose width is that of its position.
std::unique_ptr<StatelessCoder> MakeTokenCoder(DType wire_dtype, const EncodeOptions& options);
// group: one range for each group_size channels of a token.
std::unique_ptr<StatelessCoder> MakeGroupCoder(DType wire_dtype, uint32_t group_size);
// tahquant: tiles of 32 channels of a token; only activations have tokens of fewer bits.
std::unique_ptr<StatelessCoder> MakeTahquantCoder(DType wire_dtype, TensorKind kind);
// gradient.method: rd, at `rate` bits an element.
std::unique_ptr<Coder> MakeRdCoder(double rate, size_t threads);
// aqsgd, amaq-delta: what a sample differs by from its last visit, written by `inner`.
std::unique_ptr<Coder> MakeDeltaCoder(std::unique_ptr<StatelessCoder> inner,
                                      std::unique_ptr<CacheStorage> storage, uint64_t cache_bytes);

// range delayed, around a coder that takes context.delayed: what training messages had is predicted
// from once their step is kept.
std::unique_ptr<Coder> MakeDelayedCoder(std::unique_ptr<Coder> inner, const DelayedRanges& ranges);

}  // namespace amaq::quant

#endif  // AMAQ_QUANT_CODERS_CODERS_H_
