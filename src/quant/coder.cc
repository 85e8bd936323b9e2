#include "quant/coder.h"

#include <utility>

#include "core/error.h"
#include "quant/coders/coders.h"

namespace amaq::quant {
namespace {

void CheckGroupSize(uint32_t group_size) {
  if (group_size < 32 || group_size > 128 || group_size % 8 != 0) {
    Throw(Code::kInvalidArgument, "quant.group_size must be a multiple of 8 in [32, 128], got ",
          group_size);
  }
}

void CheckTokenAxis(const CoderConfig& config) {
  if (!HasTokenAxis(config.method)) {
    Throw(Code::kInvalidArgument,
          "quant.axis: token gives widths to token positions, quant.method ",
          MethodName(config.method), " has none to give");
  }
  if (config.nested || config.range == Range::kDelayed) {
    Throw(Code::kInvalidArgument, "quant.axis: token does not go with ",
          config.nested ? "quant.nested" : "quant.range: delayed, which predicts channels");
  }
}

std::unique_ptr<Coder> MakeMethodCoder(const CoderConfig& config, TensorKind kind,
                                       std::unique_ptr<CacheStorage> storage) {
  EncodeOptions uniform;
  uniform.range = config.range;
  uniform.range_percentile = config.range_percentile;
  uniform.nested = config.nested && kind == TensorKind::kActivation;
  if (config.axis == Axis::kToken) {
    CheckTokenAxis(config);
    return MakeTokenCoder(config.wire_dtype, uniform);
  }
  switch (config.method) {
    case Method::kGroup:
      CheckGroupSize(config.group_size);
      return MakeGroupCoder(config.wire_dtype, config.group_size);
    case Method::kTahquant:
      return MakeTahquantCoder(config.wire_dtype, kind);
    case Method::kAqsgd:
    case Method::kAmaqDelta: {
      // One scale a channel, symmetric: AQ-SGD. amaq-delta has the ranges of amaq.
      if (config.method == Method::kAqsgd) uniform.range = Range::kAbsMax;
      std::unique_ptr<StatelessCoder> direct = MakeUniformCoder(config.wire_dtype, uniform);
      if (kind == TensorKind::kGradient) return direct;
      if (storage == nullptr) {
        Throw(Code::kInvalidArgument, "quant.method ", MethodName(config.method),
              " needs a place for its cache of samples");
      }
      return MakeDeltaCoder(std::move(direct), std::move(storage), config.cache_bytes);
    }
    case Method::kNone:
    case Method::kFixed:
    case Method::kLinear:
    case Method::kWaterfill:
    case Method::kAmaq:
    case Method::kAmaqRd:  // what it codes itself is no coder's (train/rd_activation.h)
      return MakeUniformCoder(config.wire_dtype, uniform);
  }
  Throw(Code::kInvalidArgument, "unknown quant.method number ",
        static_cast<uint32_t>(config.method));
}

}  // namespace

std::unique_ptr<Coder> MakeCoder(const CoderConfig& config, TensorKind kind,
                                 std::unique_ptr<CacheStorage> storage) {
  if (kind == TensorKind::kGradient && config.gradient_rate > 0) {
    return MakeRdCoder(config.gradient_rate, config.threads);
  }
  std::unique_ptr<Coder> coder = MakeMethodCoder(config, kind, std::move(storage));
  if (config.range != Range::kDelayed) return coder;
  return MakeDelayedCoder(std::move(coder), {config.range_margin, config.range_max_clipped});
}

GateSums Coder::DecodeForGate(const std::vector<Section>& sections, std::optional<DType> raw_dtype,
                              const MessageContext& context, int64_t num_rows, int64_t channels,
                              const SentActivation* activation, std::span<float> out) {
  Decode(sections, raw_dtype, context, num_rows, channels, out);
  return SumForGate({out.data(), DType::kF32, num_rows, channels}, context.rows, activation);
}

CodedMatrix StatelessCoder::Encode(const MatrixView& x, const MessageContext& context,
                                   std::span<float> decoded) {
  CodedMatrix coded;
  if (context.widths.empty()) {
    coded = {EncodeRaw(x, wire_dtype_), wire_dtype_};
  } else {
    coded.sections = Write(x, context);
    const auto bf16_bytes = static_cast<uint64_t>(x.rows * x.channels) * 2;
    if (TotalBytes(coded.sections) >= bf16_bytes) {
      coded = {EncodeRaw(x, DType::kBF16), DType::kBF16};
    }
  }
  if (!decoded.empty()) {
    Decode(coded.sections, coded.raw_dtype, context, x.rows, x.channels, decoded);
  }
  return coded;
}

void StatelessCoder::Decode(const std::vector<Section>& sections, std::optional<DType> raw_dtype,
                            const MessageContext& context, int64_t num_rows, int64_t channels,
                            std::span<float> out) {
  if (raw_dtype) {
    DecodeRaw(sections, *raw_dtype, num_rows, channels, out);
  } else {
    Read(sections, context, num_rows, channels, out);
  }
}

}  // namespace amaq::quant
