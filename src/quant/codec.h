#ifndef AMAQ_QUANT_CODEC_H_
#define AMAQ_QUANT_CODEC_H_

// One tensor to sections and back: ranges, uniform quantization, octet packing, sink rows.
// Not a policy: the widths come from a WidthPolicy (width_policy.h). No state.
// Thread-safety: pure functions. Exactness: bytes are the same on every machine.
// Source: docs/formats/octet.md (our choice).

#include <cstdint>
#include <span>
#include <stdexcept>
#include <vector>

#include "core/error.h"
#include "core/section.h"
#include "core/tensor_view.h"
#include "quant/config.h"

namespace amaq::quant {

class DelayedRanges;  // range_modes.h
struct KernelSet;     // kernels.h

// Thrown by Encode for NaN, Inf or a range that overflows; nothing was written.
class NonFiniteError : public Error {
 public:
  NonFiniteError(uint64_t row, uint32_t channel, std::string message)
      : Error(Code::kInvalidArgument, std::move(message)), row_(row), channel_(channel) {}
  uint64_t row() const { return row_; }
  uint32_t channel() const { return channel_; }

 private:
  uint64_t row_;
  uint32_t channel_;
};

// Which rows of the tensor cross how. Row numbers are positions in the matrix, ascending.
struct RowPlan {
  std::span<const uint32_t> sink_rows;  // sent as bf16, kept out of ranges and codes
  // Row number in the whole micro-batch of each matrix row (a gradient may send a subset); empty:
  // the identity. Only the counter of stochastic rounding reads it.
  std::span<const uint32_t> row_ids;
};

struct EncodeOptions {
  Range range = Range::kMinMax;
  Rounding rounding = Rounding::kNearestEven;
  uint64_t rounding_key = 0;         // StochasticRoundingKey(...)
  double range_percentile = 99.5;    // percentile
  DelayedRanges* delayed = nullptr;  // delayed: what past messages had; Encode adds this one's
  // Codes are made at 8 bits, then shifted down to their width (nearest-even rounding only). The
  // decoder need not know.
  bool nested = false;
  const KernelSet* kernels = nullptr;  // nullptr: ActiveKernelSet()
};

// x [N, H] in fp32, bf16 or fp16; widths [H], each 0...8. Appends kRanges, kSinkRows (when there
// are any) and kCodes. Cost O(N*H). Errors: NonFiniteError; kInvalidArgument for widths out of
// range or a wrong count.
std::vector<Section> Encode(const MatrixView& x, std::span<const uint8_t> widths,
                            const RowPlan& rows, const EncodeOptions& options);

// The reverse: out [N, H] fp32 row-major, every row written (sink rows too).
// Errors: kDataLoss for a missing, short, long or inconsistent section. Nothing is written on
// error.
void Decode(const std::vector<Section>& sections, std::span<const uint8_t> widths,
            const RowPlan& rows, int64_t num_rows, int64_t channels, std::span<float> out,
            const KernelSet* kernels = nullptr);

// An activation as its sender knows it: what was encoded, and the message that it became.
struct SentActivation {
  MatrixView x;
  const std::vector<Section>* sections;
  std::span<const uint8_t> widths;
  bool nested = false;
};

// Per channel, over the coded rows of a gradient's message, g being the decoded values.
struct GateSums {
  std::vector<double> energy;     // [H] sum of g^2
  std::vector<double> error_dot;  // [H] sum of g * (x_hat - x), rows whose x was clipped left out;
                                  // empty without an activation
};

// Decodes a gradient's message and forms the gate's sums in the same pass. rows.row_ids name the
// activation's row of each gradient row, which must be coded in the activation's message, too;
// x_hat is formed from x by the rule that made its codes. `activation` may be null. out [N, H] is
// written as by Decode, or empty: only the sums are wanted. Errors: as Decode.
GateSums DecodeForGate(const std::vector<Section>& sections, std::span<const uint8_t> widths,
                       const RowPlan& rows, int64_t num_rows, const SentActivation* activation,
                       std::span<float> out, const KernelSet* kernels = nullptr);
// The same sums of a gradient that was decoded before. Errors: those of the activation's message.
GateSums SumForGate(const MatrixView& gradient, const RowPlan& rows,
                    const SentActivation* activation);

// A tensor as it is, in `dtype` (fp32, bf16, fp16): one kRaw section. Values beyond fp16 saturate.
// Errors: NonFiniteError.
std::vector<Section> EncodeRaw(const MatrixView& x, DType dtype);
void DecodeRaw(const std::vector<Section>& sections, DType dtype, int64_t num_rows,
               int64_t channels, std::span<float> out);

// Ranges of a coded message, as the receiver sees them.
struct DecodedRanges {
  std::vector<float> lo;    // [H]
  std::vector<float> step;  // [H]; 0: constant channel
};
DecodedRanges ReadRanges(const std::vector<Section>& sections, std::span<const uint8_t> widths);

// Exact size in bytes of the kCodes section: ceil(rows / 8) * sum of widths.
uint64_t CodesBytes(uint64_t rows, std::span<const uint8_t> widths);

}  // namespace amaq::quant

#endif  // AMAQ_QUANT_CODEC_H_
