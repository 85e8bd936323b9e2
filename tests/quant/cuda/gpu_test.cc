// The CUDA kernels on a GPU: the cases of the host (bodies_test.cc) again, and the share of memory
// bandwidth, which is printed and not asserted. Skipped where no GPU is.

#include <algorithm>
#include <cstdio>
#include <functional>
#include <tuple>

#include <cuda_runtime_api.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/check.h"
#include "tests/quant/cuda/parity.h"
#include "tests/quant/cuda/rd_parity.h"

namespace amaq::quant::cuda {
namespace {

void Require(cudaError_t error) {
  if (error != cudaSuccess) Throw(Code::kInternal, "CUDA: ", cudaGetErrorString(error));
}

// Device memory that is freed with its owner.
class DeviceMemory {
 public:
  explicit DeviceMemory(size_t bytes) : bytes_(bytes) {
    Require(cudaMalloc(&data_, std::max<size_t>(bytes, 4)));
  }
  template <typename T>
  explicit DeviceMemory(const std::vector<T>& values) : DeviceMemory(values.size() * sizeof(T)) {
    Require(cudaMemcpy(data_, values.data(), bytes_, cudaMemcpyHostToDevice));
  }
  ~DeviceMemory() { cudaFree(data_); }
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;

  template <typename T>
  T* as() const {
    return static_cast<T*>(data_);
  }
  template <typename T>
  std::vector<T> Read() const {
    std::vector<T> values(bytes_ / sizeof(T));
    Require(cudaMemcpy(values.data(), data_, bytes_, cudaMemcpyDeviceToHost));
    return values;
  }

 private:
  void* data_ = nullptr;
  size_t bytes_;
};

// A sample's lists on the device.
struct DeviceSample {
  explicit DeviceSample(const Sample& sample)
      : x(sample.data),
        widths(sample.widths),
        rows(sample.coded_rows),
        ids(sample.row_ids),
        offsets((sample.widths.size() + 1) * sizeof(uint32_t)) {
    LaunchOffsets(widths.as<uint8_t>(), sample.shape.channels, offsets.as<uint32_t>(), nullptr);
    coded = {sample.shape.sinks ? rows.as<uint32_t>() : nullptr,
             static_cast<uint32_t>(sample.coded_rows.size()),
             sample.row_ids.empty() ? nullptr : ids.as<uint32_t>()};
    input = {x.as<void>(), sample.shape.dtype, sample.shape.channels, coded};
    layout = {widths.as<uint8_t>(), offsets.as<uint32_t>()};
  }
  DeviceMemory x, widths, rows, ids, offsets;
  CodedRows coded;
  Input input;
  Layout layout;
};

class GpuRunner : public Runner {
 public:
  Coded Encode(const Sample& sample) override {
    const DeviceSample device(sample);
    const Case& shape = sample.shape;
    const size_t size = CodesBytes(device.coded.count, sample.widths);
    const DeviceMemory workspace(RangeWorkspaceBytes(device.coded.count, shape.channels));
    const DeviceMemory ranges(device.coded.count == 0 ? 0 : shape.channels * sizeof(ChannelRange));
    const DeviceMemory status(std::vector<Status>(1));
    const DeviceMemory codes(Bytes(size + 16, 0xee));
    LaunchRanges(device.input, device.widths.as<uint8_t>(), shape.range, workspace.as<void>(),
                 ranges.as<ChannelRange>(), status.as<Status>(), nullptr);
    uint8_t* start = codes.as<uint8_t>() + 4 + shape.misalignment;
    LaunchEncode(device.input, device.layout, ranges.as<ChannelRange>(), status.as<Status>(),
                 shape.rounding, sample.key, start, nullptr);
    Require(cudaDeviceSynchronize());
    Bytes bytes = codes.Read<uint8_t>();
    const auto begin = bytes.begin() + 4 + shape.misalignment;
    Coded coded{status.Read<Status>()[0], ranges.Read<ChannelRange>(),
                Bytes(begin, begin + static_cast<ptrdiff_t>(size))};
    std::fill(begin, begin + static_cast<ptrdiff_t>(size), uint8_t{0xee});
    if (bytes != Bytes(bytes.size(), 0xee)) coded.codes.assign({'o', 'u', 't', 's', 'i', 'd', 'e'});
    return coded;
  }

  std::vector<float> Decode(const Sample& sample, const Coded& coded) override {
    const DeviceSample device(sample);
    Bytes shifted(sample.shape.misalignment, 0xee);
    shifted.insert(shifted.end(), coded.codes.begin(), coded.codes.end());
    const DeviceMemory codes(shifted), ranges(coded.ranges);
    const DeviceMemory out(
        std::vector<float>(size_t{sample.shape.rows} * sample.shape.channels, kUntouched));
    LaunchDecode(codes.as<uint8_t>() + sample.shape.misalignment, device.layout,
                 ranges.as<ChannelRange>(), device.coded, sample.shape.channels, out.as<float>(),
                 nullptr);
    Require(cudaDeviceSynchronize());
    return out.Read<float>();
  }
};

class GpuRdRunner : public RdRunner {
 public:
  RdResult Run(const RdSample& sample, const std::vector<uint32_t>& symbol_costs) override {
    const auto [rows, channels] = std::pair(sample.shape.rows, sample.shape.channels);
    const auto shifts_of = RdShiftsOf(sample.centroids);
    const std::vector<RdTableShape> all_shapes(RdShapes().begin(), RdShapes().end());
    const std::vector<uint32_t> all_offsets(RdCountOffsets().begin(), RdCountOffsets().end());
    const DeviceMemory y(sample.y), ids(sample.ids), bases(sample.classes.bases);
    const DeviceMemory of_rows(sample.classes.row_classes), shapes(all_shapes);
    const DeviceMemory offsets(all_offsets), costs(symbol_costs);
    const DeviceMemory shifts(
        std::vector<float>(shifts_of[0].data(), shifts_of[0].data() + 3 * kRdTables));
    // What is not written shows.
    const DeviceMemory q(std::vector<int32_t>(sample.y.size(), -777));
    const DeviceMemory sums(std::vector<uint64_t>(channels, 777));
    const DeviceMemory row_costs(std::vector<uint64_t>(size_t{rows} * kRdRowClasses, 777));
    const DeviceMemory status(std::vector<RdStatus>(1));
    const DeviceMemory symbols(std::vector<uint8_t>(sample.y.size(), 77));
    const DeviceMemory counts(std::vector<uint32_t>(all_offsets.back(), 777));
    const DeviceMemory values(std::vector<float>(sample.y.size(), kUntouched));
    const RdFamily family = {shapes.as<RdTableShape>(), offsets.as<uint32_t>(),
                             costs.as<uint32_t>()};
    const RdRowClasses classes = {bases.as<uint8_t>(), of_rows.as<uint8_t>()};
    const Input input = {y.as<void>(),
                         DType::kF32,
                         channels,
                         {nullptr, rows, sample.ids.empty() ? nullptr : ids.as<uint32_t>()}};
    LaunchRdQuantize(
        input, sample.rounding(), bases.as<uint8_t>(), family,
        {q.as<int32_t>(), sums.as<uint64_t>(), row_costs.as<uint64_t>(), status.as<RdStatus>()},
        nullptr);
    const RdIntegers integers = {q.as<int32_t>(), rows, channels};
    LaunchRdCount(integers, classes, family, symbols.as<uint8_t>(), counts.as<uint32_t>(), nullptr);
    LaunchRdDequantize(integers, classes, shifts.as<float>(), sample.options.step.value(),
                       values.as<float>(), nullptr);
    Require(cudaDeviceSynchronize());
    return {q.Read<int32_t>(),          sums.Read<uint64_t>(),   row_costs.Read<uint64_t>(),
            status.Read<RdStatus>()[0], symbols.Read<uint8_t>(), counts.Read<uint32_t>(),
            values.Read<float>()};
  }
};

// Empty when a GPU can be used.
std::string WhyNoGpu() {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error != cudaSuccess) return StrCat("no GPU can be used: ", cudaGetErrorString(error));
  return count > 0 ? "" : "no GPU is there";
}

#define SKIP_WITHOUT_GPU() \
  if (const std::string why = WhyNoGpu(); !why.empty()) GTEST_SKIP() << why

class GpuParityTest : public ::testing::TestWithParam<std::tuple<DType, Rounding>> {};

TEST_P(GpuParityTest, GivesTheBytesAndValuesOfTheCodec) {
  SKIP_WITHOUT_GPU();
  const auto [dtype, rounding] = GetParam();
  GpuRunner runner;
  uint64_t seed = 0;

  for (const Case& shape : ParityCases(dtype, rounding)) {
    ASSERT_EQ(Difference(&runner, MakeSample(shape, ++seed)), "") << shape << " seed " << seed;
  }

  RecordProperty("cases", static_cast<int>(seed));
}

INSTANTIATE_TEST_SUITE_P(
    EveryInput, GpuParityTest,
    ::testing::Combine(::testing::Values(DType::kF32, DType::kBF16, DType::kF16),
                       ::testing::Values(Rounding::kNearestEven, Rounding::kStochastic)),
    [](const auto& param_info) {
      return InputName(std::get<0>(param_info.param), std::get<1>(param_info.param));
    });

TEST(GpuTest, AValueThatIsNotFiniteIsNamedAndNothingIsCoded) {
  SKIP_WITHOUT_GPU();
  Sample sample = MakeSample(
      {600, 70, 3, DType::kF32, Rounding::kNearestEven, Range::kMinMax, false, false, 0}, 2);
  sample.Set(300, 65, std::bit_cast<float>(0xff800000u));
  sample.Set(299, 66, std::bit_cast<float>(0x7fc00000u));

  const Coded coded = GpuRunner().Encode(sample);

  EXPECT_EQ(coded.status.non_finite, uint64_t{299} << 32 | 66);
  EXPECT_THAT(coded.codes, ::testing::Each(0xee));
}

TEST(GpuTest, GivesTheIntegersCountsAndValuesOfTheRateDistortionCoder) {
  SKIP_WITHOUT_GPU();
  GpuRdRunner runner;
  uint64_t seed = 0;

  for (const RdCase& shape : RdParityCases()) {
    ASSERT_EQ(RdDifference(&runner, MakeRdSample(shape, ++seed)), "") << shape;
  }
}

// Median seconds of one launch.
double MedianSeconds(const std::function<void()>& launch) {
  cudaEvent_t begin, end;
  Require(cudaEventCreate(&begin));
  Require(cudaEventCreate(&end));
  std::vector<float> times;
  for (int i = 0; i < 23; ++i) {
    Require(cudaEventRecord(begin, nullptr));
    launch();
    Require(cudaEventRecord(end, nullptr));
    Require(cudaEventSynchronize(end));
    float milliseconds = 0;
    Require(cudaEventElapsedTime(&milliseconds, begin, end));
    if (i >= 3) times.push_back(milliseconds);  // the first ones warm up
  }
  Require(cudaEventDestroy(begin));
  Require(cudaEventDestroy(end));
  std::nth_element(times.begin(), times.begin() + 10, times.end());
  return times[10] * 1e-3;
}

// Reads and writes of each kernel against those of a copy on the device, in the same process.
void ReportBandwidth(DType dtype, Rounding rounding) {
  const Case shape = {16384, 4096, kMixedWidths, dtype, rounding, Range::kMinMax, false, false, 0};
  const Sample sample = MakeSample(shape, 5);
  const DeviceSample device(sample);
  const size_t elements = size_t{shape.rows} * shape.channels;
  const size_t in_bytes = elements * SizeOf(dtype);
  const size_t code_bytes = CodesBytes(shape.rows, sample.widths);
  const DeviceMemory workspace(RangeWorkspaceBytes(shape.rows, shape.channels));
  const DeviceMemory ranges(shape.channels * sizeof(ChannelRange)), status(sizeof(Status));
  const DeviceMemory codes(code_bytes), out(elements * sizeof(float)), copy(in_bytes);
  const auto print = [&](const char* name, size_t bytes, double seconds, double copy_rate) {
    const double rate = static_cast<double>(bytes) / seconds;
    std::printf("%-8s %s rounding %u: %7.1f GB/s, %.2f of a copy's\n", name,
                std::string(DTypeName(dtype)).c_str(), static_cast<unsigned>(rounding), rate * 1e-9,
                rate / copy_rate);
  };

  const double copy_seconds = MedianSeconds([&] {
    Require(cudaMemcpyAsync(copy.as<void>(), device.x.as<void>(), in_bytes,
                            cudaMemcpyDeviceToDevice, nullptr));
  });
  const double copy_rate = 2 * static_cast<double>(in_bytes) / copy_seconds;
  print("copy", 2 * in_bytes, copy_seconds, copy_rate);
  print("ranges", in_bytes, MedianSeconds([&] {
          LaunchRanges(device.input, device.widths.as<uint8_t>(), shape.range, workspace.as<void>(),
                       ranges.as<ChannelRange>(), status.as<Status>(), nullptr);
        }),
        copy_rate);
  print("encode", in_bytes + code_bytes, MedianSeconds([&] {
          LaunchEncode(device.input, device.layout, ranges.as<ChannelRange>(), status.as<Status>(),
                       rounding, sample.key, codes.as<uint8_t>(), nullptr);
        }),
        copy_rate);
  print("decode", code_bytes + elements * sizeof(float), MedianSeconds([&] {
          LaunchDecode(codes.as<uint8_t>(), device.layout, ranges.as<ChannelRange>(), device.coded,
                       shape.channels, out.as<float>(), nullptr);
        }),
        copy_rate);
}

TEST(GpuTest, ReportsItsShareOfMemoryBandwidth) {
  SKIP_WITHOUT_GPU();

  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kF16}) {
    for (const Rounding rounding : {Rounding::kNearestEven, Rounding::kStochastic}) {
      ReportBandwidth(dtype, rounding);
    }
  }
}

}  // namespace
}  // namespace amaq::quant::cuda
