#ifndef AMAQ_QUANT_RD_H_
#define AMAQ_QUANT_RD_H_

// The rate-distortion coder: a matrix of real numbers to integers of one step size, and those to
// as few bytes as they need; and back. No widths, no ranges. What both ends learn from the messages
// is RdModel's; who chooses the step is RdRateControl's (rd_rate.h). Thread-safety: pure functions.
// Exactness: the same bytes and values on every machine and kernel set. Source: design "AMAQ",
// section 10; docs/formats/rd.md (our choice).
//
//   RdModel model(channels);                                      // at each end
//   const auto coded = RdEncode(y, options, model, decoded);      // nullopt: send it otherwise
//   const RdCounts counts = RdDecode(sections, model, y_hat);     // y_hat == decoded, bit for bit
//   model.Add(place, counts);                                     // training messages, both ends
//   model.Keep({step + 1, 0, 0});                                 // at COMMIT; TakeBack at ABORT

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "core/section.h"
#include "quant/config.h"
#include "quant/rd_model.h"
#include "quant/rd_tables.h"

namespace amaq::quant {

struct KernelSet;  // kernels.h

enum class RdKinds : uint8_t { kNone, kUse, kLearn };  // of rows, rd_memory.h

struct RdOptions {
  RdStep step;
  // kNearestEven: q = sgn(y) floor(|y| / step + 0.5 - dead_zone), with centroids; kStochastic:
  // q = floor(y / step + u), u as in docs/formats/octet.md, without.
  Rounding rounding = Rounding::kNearestEven;
  float dead_zone = 0.15f;    // in [0, 0.5)
  uint64_t rounding_key = 0;  // StochasticRoundingKey(...)
  // kUse: rows like those that the model remembers cross as the difference; kLearn: a training
  // message, whose rows are remembered. With kNearestEven only.
  RdKinds kinds = RdKinds::kNone;
  std::span<const uint32_t> row_ids;   // [R], of the counter of stochastic rounding; empty: 0...R-1
  const KernelSet* kernels = nullptr;  // nullptr: ActiveKernelSet()
  // At most so many, of a message of more than 2^18 values; the bytes are the same on any number.
  size_t threads = 1;
};

struct RdEncoded {
  std::vector<Section> sections;  // kRdClasses where it pays, kRdCodes
  RdCounts counts;                // what RdDecode will return
};

// y [R, H] row-major. decoded: empty, or [R, H]: what the receiver will see. nullopt: a |q| is
// above kRdLargest. Cost O(R * H). Errors: NonFiniteError (quant/codec.h); kInvalidArgument for
// sizes that are no matrix of the model's channels, or a step that is not valid.
std::optional<RdEncoded> RdEncode(std::span<const float> y, const RdOptions& options,
                                  const RdModel& model, std::span<float> decoded);

struct RdDecodeOptions {
  bool takes_kinds = true;             // rows may be of kinds; false: they must not
  const KernelSet* kernels = nullptr;  // as in RdOptions, and
  size_t threads = 1;
};

// The reverse: out [R, H], R rows as both parties know. Errors: kDataLoss for bytes that RdEncode
// would not have made with this model, its generation first of all; of damaged blocks of symbols
// the first is named. Nothing is written on error. Allocates in proportion to R * H. kernels,
// threads: as in RdOptions.
RdCounts RdDecode(const std::vector<Section>& sections, const RdModel& model, std::span<float> out,
                  const RdDecodeOptions& options = {});

// Bits of the sections that RdEncode would make without kinds of rows, within a few percent;
// infinite where it makes none.
double RdEstimateBits(std::span<const float> y, const RdOptions& options, const RdModel& model);

// The largest index (smallest step's neighbour above) at which y needs at most `bits`, the rest of
// `options` as given; kRdLargestIndex at most.
int16_t RdSolveIndex(std::span<const float> y, RdOptions options, const RdModel& model,
                     double bits);

// The step of a kRdCodes section that RdDecode took. Errors: kDataLoss.
RdStep RdStepOf(const Bytes& codes);

// What stochastic rounding adds to the energy of a value, in step^2, where the mean of |q| is
// `mean`, for Laplace-distributed values: 1/6 where it is large, `mean` where it is small.
double RdRoundingNoise(double mean);

// Root of the mean square of the finite values, 1 where it is 0 or cannot be a scale.
float RdScaleOf(std::span<const float> y);

}  // namespace amaq::quant

#endif  // AMAQ_QUANT_RD_H_
