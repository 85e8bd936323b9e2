#include "core/crc32c.h"

#include <array>
#include <cstring>

namespace amaq {
namespace {

constexpr uint32_t kPolynomial = 0x82F63B78u;  // reflected

// kTables[k][b]: the CRC of byte b followed by k zero bytes; eight tables allow eight bytes a step.
constexpr auto kTables = [] {
  std::array<std::array<uint32_t, 256>, 8> tables{};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1u) != 0 ? kPolynomial : 0u);
    tables[0][byte] = crc;
  }
  for (size_t k = 1; k < 8; ++k) {
    for (size_t byte = 0; byte < 256; ++byte) {
      const uint32_t previous = tables[k - 1][byte];
      tables[k][byte] = (previous >> 8) ^ tables[0][previous & 0xffu];
    }
  }
  return tables;
}();

}  // namespace

uint32_t Crc32c(uint32_t crc, ByteSpan bytes) {
  crc = ~crc;
  const uint8_t* data = bytes.data();
  size_t left = bytes.size();
  for (; left >= 8; data += 8, left -= 8) {
    uint64_t word;
    std::memcpy(&word, data, 8);
    word ^= crc;
    crc = 0;
    for (size_t i = 0; i < 8; ++i) crc ^= kTables[7 - i][(word >> (8 * i)) & 0xffu];
  }
  for (; left > 0; ++data, --left) crc = (crc >> 8) ^ kTables[0][(crc ^ *data) & 0xffu];
  return ~crc;
}

}  // namespace amaq
