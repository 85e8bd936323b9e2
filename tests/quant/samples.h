#ifndef AMAQ_TESTS_QUANT_SAMPLES_H_
#define AMAQ_TESTS_QUANT_SAMPLES_H_

// Inputs and small helpers that the tests of quant/ share. Random numbers have a fixed seed.

#include <cmath>
#include <cstdint>
#include <numbers>
#include <optional>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/rng.h"
#include "core/tensor_view.h"

namespace amaq::quant {

struct Matrix {
  int64_t rows;
  int64_t channels;
  std::vector<float> values;

  float& at(int64_t row, int64_t channel) {
    return values[static_cast<size_t>(row * channels + channel)];
  }
  float at(int64_t row, int64_t channel) const {
    return values[static_cast<size_t>(row * channels + channel)];
  }
  MatrixView view() const { return {values.data(), DType::kF32, rows, channels}; }
};

// A stream of random numbers from the counter-based generator.
class Random {
 public:
  explicit Random(uint64_t seed) : seed_(seed) {}
  double Uniform() { return (PhiloxWord(seed_, index_++) + 0.5) * 0x1p-32; }
  double Normal() {
    return std::sqrt(-2 * std::log(Uniform())) * std::cos(2 * std::numbers::pi * Uniform());
  }
  uint32_t Below(uint32_t limit) { return PhiloxWord(seed_, index_++) % limit; }

 private:
  uint64_t seed_;
  uint64_t index_ = 0;
};

// Channels of different scale and mean, like a residual stream.
inline Matrix Activations(uint64_t seed, int64_t rows, int64_t channels) {
  Random random(seed);
  Matrix x{rows, channels, std::vector<float>(static_cast<size_t>(rows * channels))};
  for (int64_t c = 0; c < channels; ++c) {
    const double scale = std::exp2(6 * random.Uniform() - 3);
    const double mean = 2 * random.Normal();
    for (int64_t n = 0; n < rows; ++n) {
      x.at(n, c) = static_cast<float>(mean + scale * random.Normal());
    }
  }
  return x;
}

// The error that `action` throws, or nothing.
template <typename Action>
std::optional<Error> ErrorOf(const Action& action) {
  try {
    action();
  } catch (const Error& error) {
    return error;
  }
  return std::nullopt;
}

}  // namespace amaq::quant

// The action throws amaq::Error with that code and a message that contains the text.
#define EXPECT_ERROR(action, expected_code, text)                                        \
  do {                                                                                   \
    const std::optional<::amaq::Error> error_ = ::amaq::quant::ErrorOf([&] { action; }); \
    ASSERT_TRUE(error_.has_value()) << "no error from " #action;                         \
    EXPECT_EQ(error_->code(), expected_code) << error_->message();                       \
    EXPECT_THAT(error_->message(), ::testing::HasSubstr(text));                          \
  } while (false)

#endif  // AMAQ_TESTS_QUANT_SAMPLES_H_
