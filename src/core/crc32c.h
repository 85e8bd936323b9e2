#ifndef AMAQ_CORE_CRC32C_H_
#define AMAQ_CORE_CRC32C_H_

// CRC-32C (Castagnoli, RFC 3720 appendix B.4): guards each frame.

#include <cstdint>

#include "core/section.h"

namespace amaq {

// Continues `crc` (0 to start) over `bytes`: Crc32c(Crc32c(0, a), b) == Crc32c(0, ab).
uint32_t Crc32c(uint32_t crc, ByteSpan bytes);

}  // namespace amaq

#endif  // AMAQ_CORE_CRC32C_H_
