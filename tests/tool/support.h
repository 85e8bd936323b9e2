#ifndef AMAQ_TESTS_TOOL_SUPPORT_H_
#define AMAQ_TESTS_TOOL_SUPPORT_H_

// Files and matrices that the tests of tool/ share. Random numbers have a fixed seed.

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "core/rng.h"
#include "io/file.h"
#include "io/npy.h"

namespace amaq::tool {

// A folder of its own that goes away with the test.
class ToolTest : public ::testing::Test {
 protected:
  ToolTest() {
    const auto* test = ::testing::UnitTest::GetInstance()->current_test_info();
    folder_ = ::testing::TempDir() + "/tool_" + test->name();
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }
  ~ToolTest() override { std::filesystem::remove_all(folder_); }

  std::string Path(const std::string& name) const { return folder_ + "/" + name; }
  const std::string& folder() const { return folder_; }

  std::string WriteText(const std::string& name, const std::string& text) const {
    std::ofstream(Path(name), std::ios::binary) << text;
    return Path(name);
  }
  std::string WriteNpy(const std::string& name, int64_t rows, int64_t channels,
                       const std::vector<float>& values) const {
    const std::vector<int64_t> shape = {rows, channels};
    io::WriteFileAtomically(Path(name), io::SerializeNpy(shape, values));
    return Path(name);
  }
  std::vector<float> ReadNpy(const std::string& path) const {
    const auto file = io::NpyFile::Open(path);
    std::vector<float> values(file->tensors()[0].num_elements);
    file->ReadF32(io::kNpyTensor, values);
    return values;
  }

 private:
  std::string folder_;
};

// [rows, channels] in [-1, 1) * 2^channel.
inline std::vector<float> Ramp(int64_t rows, int64_t channels) {
  std::vector<float> values(static_cast<size_t>(rows * channels));
  for (size_t i = 0; i < values.size(); ++i) {
    const float scale = std::exp2(static_cast<float>(i % static_cast<size_t>(channels)));
    values[i] = scale * (2 * UniformFloat(PhiloxWord(7, i)) - 1);
  }
  return values;
}

}  // namespace amaq::tool

#endif  // AMAQ_TESTS_TOOL_SUPPORT_H_
