#ifndef AMAQ_TESTS_SUPPORT_HOSTILE_BYTES_H_
#define AMAQ_TESTS_SUPPORT_HOSTILE_BYTES_H_

// What a decoder of untrusted bytes must bear: every truncation of a valid input, and seeded random
// corruption. A decoder may succeed or throw amaq::Error; anything else fails the test. Run under
// the sanitizers to see reads out of bounds.

#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "core/error.h"
#include "core/rng.h"
#include "core/section.h"

namespace amaq::test {

using Decode = std::function<void(ByteSpan)>;

// The input is copied to a heap block of its exact size, so that reading past its end is seen.
inline bool Survives(const Decode& decode, const Bytes& input) {
  const Bytes exact(input);
  try {
    decode(ByteSpan(exact.data(), exact.size()));
  } catch (const Error& error) {
    EXPECT_FALSE(error.message().empty());
    return false;
  }
  return true;
}

// Each proper prefix of `valid`. Returns how many were accepted.
inline size_t AcceptedTruncations(const Decode& decode, const Bytes& valid) {
  size_t accepted = 0;
  for (size_t length = 0; length < valid.size(); ++length) {
    const Bytes prefix(valid.begin(), valid.begin() + static_cast<std::ptrdiff_t>(length));
    if (Survives(decode, prefix)) ++accepted;
  }
  return accepted;
}

// `rounds` copies with 1 to 4 bytes replaced. Returns how many were refused.
inline size_t RefusedCorruptions(const Decode& decode, const Bytes& valid, uint64_t seed,
                                 size_t rounds) {
  size_t refused = 0;
  for (size_t round = 0; round < rounds; ++round) {
    Bytes corrupt(valid);
    const auto words = Philox4x32(seed, {static_cast<uint32_t>(round), 0, 0, 0});
    const auto places = Philox4x32(seed, {static_cast<uint32_t>(round), 1, 0, 0});
    for (size_t i = 0; i <= words[0] % 4; ++i) {
      // Bytes near the limits of integers are the interesting ones half of the time.
      constexpr uint8_t kLimits[] = {0x00, 0x01, 0x7f, 0x80, 0xff};
      const uint32_t value = words[i] >> 8;
      corrupt[places[i] % corrupt.size()] =
          value % 2 == 0 ? kLimits[value / 2 % 5] : static_cast<uint8_t>(value >> 1);
    }
    if (!Survives(decode, corrupt)) ++refused;
  }
  return refused;
}

}  // namespace amaq::test

#endif  // AMAQ_TESTS_SUPPORT_HOSTILE_BYTES_H_
