// kernels.h in a build without CUDA (AMAQ_WITH_CUDA=OFF).
#include "core/error.h"
#include "quant/cuda/kernels.h"

namespace amaq::quant::cuda {
namespace {

[[noreturn]] void ThrowNoCuda(const char* function) {
  Throw(Code::kUnimplemented, "quant::cuda::", function,
        " is not in this build, which has no CUDA; configure with -DAMAQ_WITH_CUDA=ON");
}

}  // namespace

void LaunchOffsets(const uint8_t*, uint32_t, uint32_t*, void*) { ThrowNoCuda("LaunchOffsets"); }

uint64_t RangeWorkspaceBytes(uint32_t, uint32_t) { ThrowNoCuda("RangeWorkspaceBytes"); }

void LaunchRanges(const Input&, const uint8_t*, Range, void*, ChannelRange*, Status*, void*) {
  ThrowNoCuda("LaunchRanges");
}

void LaunchEncode(const Input&, const Layout&, const ChannelRange*, const Status*, Rounding,
                  uint64_t, uint8_t*, void*) {
  ThrowNoCuda("LaunchEncode");
}

void LaunchDecode(const uint8_t*, const Layout&, const ChannelRange*, const CodedRows&, uint32_t,
                  float*, void*) {
  ThrowNoCuda("LaunchDecode");
}

void LaunchRdQuantize(const Input&, const RdRounding&, const uint8_t*, const RdFamily&,
                      const RdQuantized&, void*) {
  ThrowNoCuda("LaunchRdQuantize");
}

void LaunchRdCount(const RdIntegers&, const RdRowClasses&, const RdFamily&, uint8_t*, uint32_t*,
                   void*) {
  ThrowNoCuda("LaunchRdCount");
}

void LaunchRdDequantize(const RdIntegers&, const RdRowClasses&, const float*, float, float*,
                        void*) {
  ThrowNoCuda("LaunchRdDequantize");
}

}  // namespace amaq::quant::cuda
