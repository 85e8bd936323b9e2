#ifndef AMAQ_CORE_DIGEST_H_
#define AMAQ_CORE_DIGEST_H_

// XXH3-64 (xxHash): identity of messages, adapters and files. Not cryptographic.

#include <cstdint>
#include <memory>
#include <string>

#include "core/section.h"

namespace amaq {

uint64_t Digest(ByteSpan bytes);

class DigestStream {
 public:
  DigestStream();
  ~DigestStream();
  DigestStream(const DigestStream&) = delete;
  DigestStream& operator=(const DigestStream&) = delete;
  void Update(ByteSpan bytes);
  uint64_t value() const;  // of all bytes so far

 private:
  struct State;
  std::unique_ptr<State> state_;
};

std::string Hex(uint64_t value);  // 16 lower-case digits

}  // namespace amaq

#endif  // AMAQ_CORE_DIGEST_H_
