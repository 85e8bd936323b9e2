// A build without CUDA has the same functions, which say so.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "quant/cuda/kernels.h"
#include "tests/quant/samples.h"

namespace amaq::quant::cuda {
namespace {

TEST(NoCudaTest, EveryLaunchIsRefusedByName) {
  EXPECT_ERROR(LaunchOffsets(nullptr, 1, nullptr, nullptr), Code::kUnimplemented, "LaunchOffsets");
  EXPECT_ERROR(RangeWorkspaceBytes(1, 1), Code::kUnimplemented, "RangeWorkspaceBytes");
  EXPECT_ERROR(LaunchRanges({}, nullptr, Range::kMinMax, nullptr, nullptr, nullptr, nullptr),
               Code::kUnimplemented, "LaunchRanges");
  EXPECT_ERROR(LaunchEncode({}, {}, nullptr, nullptr, Rounding::kNearestEven, 0, nullptr, nullptr),
               Code::kUnimplemented, "AMAQ_WITH_CUDA");
  EXPECT_ERROR(LaunchDecode(nullptr, {}, nullptr, {}, 1, nullptr, nullptr), Code::kUnimplemented,
               "LaunchDecode");
  EXPECT_ERROR(LaunchRdQuantize({}, {}, nullptr, {}, {}, nullptr), Code::kUnimplemented,
               "LaunchRdQuantize");
  EXPECT_ERROR(LaunchRdCount({}, {}, {}, nullptr, nullptr, nullptr), Code::kUnimplemented,
               "LaunchRdCount");
  EXPECT_ERROR(LaunchRdDequantize({}, {}, nullptr, 1, nullptr, nullptr), Code::kUnimplemented,
               "LaunchRdDequantize");
}

}  // namespace
}  // namespace amaq::quant::cuda
