#ifndef AMAQ_CORE_RNG_H_
#define AMAQ_CORE_RNG_H_

// Counter-based random numbers: a pure function of (key, counter), so order of evaluation and
// thread count never change a result. Philox4x32-10 of Salmon et al., "Parallel random numbers: as
// easy as 1, 2, 3" (SC 2011), section 3.3. Thread-safety: pure functions.

#include <array>
#include <cstdint>
#include <string_view>

#include "core/host_device.h"

namespace amaq {

// Four words for the 128-bit counter under the 64-bit key (low word first).
AMAQ_HOST_DEVICE inline std::array<uint32_t, 4> Philox4x32(uint64_t key,
                                                           std::array<uint32_t, 4> counter) {
  auto key0 = static_cast<uint32_t>(key);
  auto key1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t product0 = uint64_t{0xD2511F53u} * counter[0];
    const uint64_t product1 = uint64_t{0xCD9E8D57u} * counter[2];
    counter = {
        static_cast<uint32_t>(product1 >> 32) ^ counter[1] ^ key0, static_cast<uint32_t>(product1),
        static_cast<uint32_t>(product0 >> 32) ^ counter[3] ^ key1, static_cast<uint32_t>(product0)};
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  return counter;
}

// The first word at a 64-bit counter value.
AMAQ_HOST_DEVICE inline uint32_t PhiloxWord(uint64_t key, uint64_t index) {
  return Philox4x32(key,
                    {static_cast<uint32_t>(index), static_cast<uint32_t>(index >> 32), 0, 0})[0];
}

// [0, 1) with 24 bits.
AMAQ_HOST_DEVICE inline float UniformFloat(uint32_t word) {
  return static_cast<float>(word >> 8) * 0x1p-24f;
}

// Keys. Each is XXH3-64 of the little-endian bytes of its parts.
uint64_t StochasticRoundingKey(uint64_t seed, uint32_t cut, uint32_t direction, uint64_t step,
                               uint32_t micro_batch);
uint64_t NamedKey(uint64_t seed, std::string_view name);
uint64_t DropoutKey(uint64_t seed, std::string_view module, uint64_t step, uint32_t micro_batch);

}  // namespace amaq

#endif  // AMAQ_CORE_RNG_H_
