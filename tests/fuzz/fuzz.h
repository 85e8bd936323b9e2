#ifndef AMAQ_TESTS_FUZZ_FUZZ_H_
#define AMAQ_TESTS_FUZZ_FUZZ_H_

// What the fuzz targets share. Each target is one file that defines LLVMFuzzerTestOneInput: it is
// linked with libFuzzer (preset fuzz), or with standalone_main.cc, which runs the kept corpus and
// seeded mutations of it as an ordinary test. A target may meet amaq::Error and nothing else; what
// must hold is checked with FUZZ_CHECK.

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <span>

#include "core/error.h"
#include "core/section.h"

// NOLINTNEXTLINE: the name is libFuzzer's.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

#define FUZZ_CHECK(condition)                                                        \
  do {                                                                               \
    if (!(condition)) {                                                              \
      std::fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                                  \
    }                                                                                \
  } while (false)

namespace amaq::fuzz {

// Numbers from the front of an input; zeros when it is used up.
class Input {
 public:
  Input(const uint8_t* data, size_t size) : bytes_(data, size) {}

  uint8_t Byte() { return static_cast<uint8_t>(Number(1)); }
  uint16_t Word() { return static_cast<uint16_t>(Number(2)); }
  ByteSpan Take(size_t count) {
    const ByteSpan taken = bytes_.subspan(0, count < bytes_.size() ? count : bytes_.size());
    bytes_ = bytes_.subspan(taken.size());
    return taken;
  }
  ByteSpan Rest() { return Take(bytes_.size()); }

 private:
  uint32_t Number(size_t count) {
    uint32_t value = 0;
    const ByteSpan taken = Take(count);
    for (size_t i = 0; i < taken.size(); ++i) value |= uint32_t{taken[i]} << (8 * i);
    return value;
  }
  ByteSpan bytes_;
};

// The error that the action throws; its sentence must not be empty.
template <typename Action>
std::optional<Code> CodeOf(const Action& action) {
  try {
    action();
  } catch (const Error& error) {
    FUZZ_CHECK(!error.message().empty());
    return error.code();
  }
  return std::nullopt;
}

}  // namespace amaq::fuzz

#endif  // AMAQ_TESTS_FUZZ_FUZZ_H_
