#ifndef AMAQ_QUANT_RD_BITS_H_
#define AMAQ_QUANT_RD_BITS_H_

// Streams of values of a few bits, the lowest bit first, in a rate-distortion coded message.
// Not thread-safe. Source: docs/formats/rd.md.

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "core/error.h"
#include "core/section.h"

namespace amaq::quant {

// Values of up to 16 bits.
class RdBitWriter {
 public:
  explicit RdBitWriter(Bytes* out) : out_(out) {}
  ~RdBitWriter() {
    if (used_ != 0) out_->push_back(static_cast<uint8_t>(pending_));
  }
  RdBitWriter(const RdBitWriter&) = delete;
  RdBitWriter& operator=(const RdBitWriter&) = delete;

  void Put(uint32_t value, uint32_t bits) {
    pending_ |= value << used_;
    used_ += bits;
    for (; used_ >= 8; used_ -= 8, pending_ >>= 8) {
      out_->push_back(static_cast<uint8_t>(pending_ & 0xffu));
    }
  }
  // The first `bits` of another stream.
  void Append(ByteSpan stream, size_t bits) {
    for (size_t i = 0; i < bits; i += 8) {
      Put(stream[i / 8], static_cast<uint32_t>(std::min<size_t>(8, bits - i)));
    }
  }

 private:
  Bytes* out_;
  uint32_t pending_ = 0;
  uint32_t used_ = 0;
};

// The caller takes no more bits than there are.
class RdBitReader {
 public:
  explicit RdBitReader(ByteSpan bytes, size_t first_bit = 0) : bytes_(bytes), at_(first_bit) {}

  uint32_t Take(uint32_t count) {
    uint32_t value = 0;
    for (uint32_t taken = 0; taken < count;) {
      const auto used = static_cast<uint32_t>(at_ % 8);
      const uint32_t part = std::min(count - taken, 8 - used);
      const uint32_t bits = (uint32_t{bytes_[at_ / 8]} >> used) & ((1u << part) - 1);
      value |= bits << taken;
      taken += part;
      at_ += part;
    }
    return value;
  }
  // Errors: kDataLoss where a bit that is left is set.
  void ExpectZeros() {
    for (; at_ < 8 * bytes_.size(); ++at_) {
      if ((bytes_[at_ / 8] >> (at_ % 8) & 1) == 0) continue;
      Throw(Code::kDataLoss, "the spare bits of the rate-distortion codes must be 0");
    }
  }

 private:
  ByteSpan bytes_;
  size_t at_;
};

}  // namespace amaq::quant

#endif  // AMAQ_QUANT_RD_BITS_H_
