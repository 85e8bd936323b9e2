#ifndef AMAQ_CORE_BYTES_H_
#define AMAQ_CORE_BYTES_H_

// Bounded little-endian reading and writing. The reader never reads past its span: a short input is
// kDataLoss naming what was wanted. Thread-compatible. The host is little-endian (checked below).

#include <bit>
#include <cstring>
#include <string_view>
#include <type_traits>

#include "core/error.h"
#include "core/section.h"

namespace amaq {

static_assert(std::endian::native == std::endian::little, "amaq runs on little-endian hosts only");

class ByteReader {
 public:
  // `what` names the input in errors ("ranges section"); it must outlive the reader.
  ByteReader(ByteSpan bytes, std::string_view what) : bytes_(bytes), what_(what) {}

  size_t remaining() const { return bytes_.size() - position_; }
  size_t position() const { return position_; }

  ByteSpan Take(size_t count) {
    if (count > remaining()) {
      Throw(Code::kDataLoss, what_, " ends early: ", count, " bytes wanted at offset ", position_,
            ", ", remaining(), " left");
    }
    const ByteSpan taken = bytes_.subspan(position_, count);
    position_ += count;
    return taken;
  }

  template <typename T>
  T Read() {
    static_assert(std::is_trivially_copyable_v<T>);
    T value;
    std::memcpy(&value, Take(sizeof(T)).data(), sizeof(T));
    return value;
  }

  void ExpectEnd() const {
    if (remaining() != 0) Throw(Code::kDataLoss, what_, " has ", remaining(), " bytes too many");
  }

 private:
  ByteSpan bytes_;
  std::string_view what_;
  size_t position_ = 0;
};

template <typename T>
void AppendLittleEndian(Bytes* out, T value) {
  static_assert(std::is_trivially_copyable_v<T>);
  const size_t offset = out->size();
  out->resize(offset + sizeof(T));
  std::memcpy(out->data() + offset, &value, sizeof(T));
}

}  // namespace amaq

#endif  // AMAQ_CORE_BYTES_H_
