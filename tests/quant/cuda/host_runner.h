#ifndef AMAQ_TESTS_QUANT_CUDA_HOST_RUNNER_H_
#define AMAQ_TESTS_QUANT_CUDA_HOST_RUNNER_H_

// The kernels of parity.h on the host grid.

#include <vector>

#include "quant/cuda/plan.h"
#include "tests/quant/cuda/host_grid.h"
#include "tests/quant/cuda/parity.h"

namespace amaq::quant::cuda {

class HostRunner : public Runner {
 public:
  explicit HostRunner(HostGrid grid) : grid_(grid) {}

  Coded Encode(const Sample& sample) override {
    const Case& shape = sample.shape;
    const Input x{sample.data.data(), shape.dtype, shape.channels, CodedOf(sample)};
    const std::vector<uint32_t> offsets = Offsets(sample);
    std::vector<ChannelScan> workspace(WorkspaceBytes(x.coded.count, x.channels) /
                                       sizeof(ChannelScan));
    Coded coded;
    coded.ranges.resize(x.coded.count == 0 ? 0 : x.channels);
    RunRanges(grid_, x, sample.widths.data(), shape.range, workspace.data(), coded.ranges.data(),
              &coded.status);
    // Guard bytes on both sides show a store out of bounds.
    const size_t size = CodesBytes(x.coded.count, sample.widths);
    Bytes codes(size + 16, kGuard);
    uint8_t* start = codes.data() + 4 + shape.misalignment;
    RunEncode(grid_, x, {sample.widths.data(), offsets.data()}, coded.ranges.data(), &coded.status,
              shape.rounding, sample.key, start);
    coded.codes.assign(start, start + size);
    std::fill(start, start + size, kGuard);
    if (codes != Bytes(size + 16, kGuard)) coded.codes.assign({'o', 'u', 't', 's', 'i', 'd', 'e'});
    return coded;
  }

  std::vector<float> Decode(const Sample& sample, const Coded& coded) override {
    const std::vector<uint32_t> offsets = Offsets(sample);
    std::vector<float> out(size_t{sample.shape.rows} * sample.shape.channels, kUntouched);
    Bytes codes(sample.shape.misalignment, kGuard);
    codes.insert(codes.end(), coded.codes.begin(), coded.codes.end());
    RunDecode(grid_, codes.data() + sample.shape.misalignment,
              {sample.widths.data(), offsets.data()}, coded.ranges.data(), CodedOf(sample),
              sample.shape.channels, out.data());
    return out;
  }

  std::vector<uint32_t> Offsets(const Sample& sample) {
    std::vector<uint32_t> offsets(sample.widths.size() + 1);
    RunOffsets(grid_, sample.widths.data(), sample.shape.channels, offsets.data());
    return offsets;
  }

 private:
  static constexpr uint8_t kGuard = 0xee;

  // Without sinks the list is left out.
  static CodedRows CodedOf(const Sample& sample) {
    return {sample.shape.sinks ? sample.coded_rows.data() : nullptr,
            static_cast<uint32_t>(sample.coded_rows.size()),
            sample.row_ids.empty() ? nullptr : sample.row_ids.data()};
  }

  HostGrid grid_;
};

}  // namespace amaq::quant::cuda

#endif  // AMAQ_TESTS_QUANT_CUDA_HOST_RUNNER_H_
