#include "tests/bench/codec_bench.h"

#include <algorithm>
#include <cstring>
#include <fstream>
#include <memory>
#include <new>
#include <numeric>

#include "core/error.h"
#include "core/rng.h"
#include "quant/codec.h"
#include "quant/kernels.h"
#include "quant/octet.h"
#include "quant/range.h"

namespace amaq::bench {
namespace {

using quant::AllKernelSets;
using quant::KernelSet;

// Memory at a cache line's start, where tensor libraries put theirs.
template <typename T>
struct LineAllocator {
  using value_type = T;
  static constexpr std::align_val_t kLine{64};
  LineAllocator() = default;
  template <typename U>
  explicit LineAllocator(const LineAllocator<U>& /*other*/) {}
  T* allocate(size_t count) { return static_cast<T*>(::operator new(count * sizeof(T), kLine)); }
  void deallocate(T* memory, size_t /*count*/) { ::operator delete(memory, kLine); }
  bool operator==(const LineAllocator& /*other*/) const { return true; }
};
template <typename T>
using Buffer = std::vector<T, LineAllocator<T>>;

// A tensor in both types, its message, and room for what the kernels write.
struct Tensor {
  Tensor(int64_t num_rows, int64_t num_channels, std::vector<uint8_t> channel_widths)
      : rows(num_rows),
        channels(num_channels),
        widths(std::move(channel_widths)),
        fp32(static_cast<size_t>(rows * channels)),
        bf16(fp32.size()),
        copy(fp32.size()),
        numbers(static_cast<size_t>(rows)),
        tables(widths, false) {
    std::iota(numbers.begin(), numbers.end(), 0u);
    for (size_t i = 0; i < fp32.size(); ++i) {
      // A sum of uniform numbers is near enough to a normal one.
      const uint32_t word = PhiloxWord(7, i);
      const float value = static_cast<float>((word & 0xffff) + (word >> 16)) * 0x1p-15f - 2.0f;
      bf16[i] = F32ToBF16(value);
      fp32[i] = BF16ToF32(bf16[i]);  // so that both types have the same codes
    }
    tables.clips = false;
    sections = quant::Encode(View(DType::kF32), widths, {}, {});
    const auto ranges = quant::ParseRanges(*FindSection(sections, SectionKind::kRanges), widths);
    for (size_t c = 0; c < ranges.size(); ++c) tables.Set(c, ranges[c]);
    codes = *FindSection(sections, SectionKind::kCodes);
  }

  MatrixView View(DType dtype) const {
    const void* data = dtype == DType::kF32 ? static_cast<const void*>(fp32.data()) : bf16.data();
    return {data, dtype, rows, channels};
  }
  quant::CodedRows Rows(DType dtype) const {
    return {View(dtype).data, dtype, widths.size(), numbers};
  }

  void Copy() { std::memcpy(copy.data(), fp32.data(), fp32.size() * sizeof(float)); }
  void EncodeGiven(const KernelSet& set, DType dtype) {
    set.encode(Rows(dtype), {0, widths.size()}, tables, {},
               {codes.data(), quant::GroupBytes(widths)});
  }
  void EncodeAll(const KernelSet& set, DType dtype) {
    quant::EncodeOptions options;
    options.kernels = &set;
    made = quant::Encode(View(dtype), widths, {}, options);
  }
  void Decode(const KernelSet& set) {
    set.decode({codes.data(), codes.size(), quant::GroupBytes(widths)}, {0, widths.size()}, tables,
               {copy.data(), widths.size(), numbers}, nullptr);
  }
  void DecodeWithSums(const KernelSet& set) {
    dot.assign(widths.size(), 0);
    energy.assign(widths.size(), 0);
    const quant::GateSumsJob job{Rows(DType::kF32), &tables, dot.data(), energy.data()};
    set.decode({codes.data(), codes.size(), quant::GroupBytes(widths)}, {0, widths.size()}, tables,
               {copy.data(), widths.size(), numbers}, &job);
  }

  // The set's bytes and values are those of the scalar set.
  void Validate(const KernelSet& set) {
    const Bytes expected_codes = codes;
    Decode(AllKernelSets().front());
    const Buffer<float> expected = copy;
    for (const DType dtype : {DType::kF32, DType::kBF16}) {
      std::fill(codes.begin(), codes.end(), uint8_t{0});
      EncodeGiven(set, dtype);
      EncodeAll(set, dtype);
      if (codes != expected_codes || made.back().bytes != expected_codes) {
        Throw(Code::kInternal, "kernel set ", set.name, " makes other codes than scalar");
      }
    }
    std::fill(copy.begin(), copy.end(), 0.0f);
    Decode(set);
    if (copy != expected) Throw(Code::kInternal, "kernel set ", set.name, " decodes otherwise");
  }

  int64_t rows, channels;
  std::vector<uint8_t> widths;
  Buffer<float> fp32;
  Buffer<uint16_t> bf16;
  Buffer<float> copy;
  std::vector<uint32_t> numbers;
  quant::ChannelTables tables;
  std::vector<Section> sections, made;
  Bytes codes;
  std::vector<double> dot, energy;
};

// What the operating system says of this core's share; the C library's sysconf adds up sockets.
int64_t CacheBytes() {
  std::ifstream file("/sys/devices/system/cpu/cpu0/cache/index3/size");  // "32768K"
  int64_t kilobytes = 0;
  return file >> kilobytes && kilobytes > 0 ? kilobytes << 10 : int64_t{32} << 20;
}

std::vector<uint8_t> RandomWidths(int64_t channels) {
  std::vector<uint8_t> widths;
  for (int64_t c = 0; c < channels; ++c) {
    widths.push_back(static_cast<uint8_t>(3 + PhiloxWord(11, static_cast<uint64_t>(c)) % 6));
  }
  return widths;
}

std::string With(std::string_view what, DType dtype) {
  return StrCat(what, ", ", DTypeName(dtype));
}

void OutOfCache(const Effort& effort, int64_t rows, const KernelSet& set,
                std::vector<Ratio>* ratios) {
  const int64_t channels = 4096;
  Tensor tensor(rows, channels, RandomWidths(channels));
  tensor.Validate(set);
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    ratios->push_back(Compare(
        With("encode with ranges, out of cache", dtype), "memcpy", [&] { tensor.Copy(); },
        [&] { tensor.EncodeAll(set, dtype); }, effort));
  }
  ratios->push_back(Compare(
      "decode, out of cache", "memcpy", [&] { tensor.Copy(); }, [&] { tensor.Decode(set); },
      effort));
}

void InCache(const Effort& effort, int64_t rows, const KernelSet& set, std::vector<Ratio>* ratios) {
  const int64_t channels = 1024;
  const KernelSet& scalar = AllKernelSets().front();
  Tensor tensor(rows, channels, RandomWidths(channels));
  tensor.Validate(set);
  const auto copy = [&] { tensor.Copy(); };
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    ratios->push_back(Compare(
        With("encode given ranges, in cache", dtype), "memcpy", copy,
        [&] { tensor.EncodeGiven(set, dtype); }, effort));
    ratios->push_back(Compare(
        With("encode given ranges", dtype), "own scalar",
        [&] { tensor.EncodeGiven(scalar, dtype); }, [&] { tensor.EncodeGiven(set, dtype); },
        effort));
  }
  ratios->push_back(Compare(
      "decode, in cache", "memcpy", copy, [&] { tensor.Decode(set); }, effort));
  ratios->push_back(Compare(
      "decode with the gate's sums, in cache", "memcpy", copy, [&] { tensor.DecodeWithSums(set); },
      effort));
  ratios->push_back(Compare(
      "decode", "own scalar", [&] { tensor.Decode(scalar); }, [&] { tensor.Decode(set); }, effort));
}

// Each width against the fastest of them, which is found first.
void Widths(const Effort& effort, int64_t rows, const KernelSet& set, std::vector<Ratio>* ratios) {
  const int64_t channels = 1024;
  std::vector<std::unique_ptr<Tensor>> tensors;
  for (uint8_t width = 2; width <= 8; ++width) {
    tensors.push_back(std::make_unique<Tensor>(rows, channels, std::vector<uint8_t>(1024, width)));
  }
  const auto run = [&](Tensor& tensor, bool encode) {
    encode ? tensor.EncodeGiven(set, DType::kF32) : tensor.Decode(set);
  };
  for (const bool encode : {true, false}) {
    std::vector<double> speeds;
    for (const auto& tensor : tensors) {
      speeds.push_back(
          Compare(
              "", "", [&] { run(*tensors.front(), encode); }, [&] { run(*tensor, encode); }, effort)
              .cpu.median);
    }
    const auto [slowest, fastest] = std::minmax_element(speeds.begin(), speeds.end());
    Tensor& slow = *tensors[static_cast<size_t>(slowest - speeds.begin())];
    Tensor& fast = *tensors[static_cast<size_t>(fastest - speeds.begin())];
    ratios->push_back(Compare(
        StrCat(encode ? "encode" : "decode", ", slowest width (", int{slow.widths[0]}, ")"),
        StrCat("fastest width (", int{fast.widths[0]}, ")"), [&] { run(fast, encode); },
        [&] { run(slow, encode); }, effort));
  }
}

}  // namespace

std::vector<Ratio> RunCodecBench(const Effort& effort, bool small) {
  const KernelSet& set = quant::ActiveKernelSet();
  std::vector<Ratio> ratios;
  OutOfCache(effort, small ? 16 : 4 * CacheBytes() / (4096 * 4), set, &ratios);
  InCache(effort, small ? 16 : 256, set, &ratios);
  Widths(effort, small ? 16 : 256, set, &ratios);
  return ratios;
}

}  // namespace amaq::bench
