#ifndef AMAQ_TESTS_SUPPORT_GGUF_BUILDER_H_
#define AMAQ_TESTS_SUPPORT_GGUF_BUILDER_H_

// Writes small GGUF files, field by field, so that tests can also write wrong ones.

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "core/bytes.h"

namespace amaq::test {

class GgufBuilder {
 public:
  uint32_t magic = 0x46554747;
  uint32_t version = 3;
  uint64_t alignment = 32;  // of the tensor data written; no key is added

  static void AppendString(Bytes* out, const std::string& text) {
    AppendLittleEndian(out, uint64_t{text.size()});
    out->insert(out->end(), text.begin(), text.end());
  }

  // `type` is the format's number; `value` must be as wide as it says.
  template <typename T>
  GgufBuilder& Scalar(const std::string& key, uint32_t type, T value) {
    BeginValue(key, type);
    AppendLittleEndian(&values_, value);
    return *this;
  }
  GgufBuilder& Uint(const std::string& key, uint32_t value) { return Scalar(key, 4, value); }
  GgufBuilder& Bool(const std::string& key, bool value) {
    return Scalar(key, 7, static_cast<uint8_t>(value ? 1 : 0));
  }
  GgufBuilder& String(const std::string& key, const std::string& value) {
    BeginValue(key, 8);
    AppendString(&values_, value);
    return *this;
  }
  GgufBuilder& Strings(const std::string& key, const std::vector<std::string>& list) {
    BeginArray(key, 8, list.size());
    for (const std::string& value : list) AppendString(&values_, value);
    return *this;
  }
  template <typename T>
  GgufBuilder& Array(const std::string& key, uint32_t element_type, const std::vector<T>& list) {
    BeginArray(key, element_type, list.size());
    for (const T value : list) AppendLittleEndian(&values_, value);
    return *this;
  }

  // `dimensions` innermost first, as the file has them.
  GgufBuilder& Tensor(const std::string& name, const std::vector<uint64_t>& dimensions,
                      uint32_t type, const Bytes& data) {
    data_.resize((data_.size() + alignment - 1) / alignment * alignment);
    return TensorAt(name, dimensions, type, data_.size(), data);
  }
  GgufBuilder& TensorAt(const std::string& name, const std::vector<uint64_t>& dimensions,
                        uint32_t type, uint64_t offset, const Bytes& data) {
    AppendString(&infos_, name);
    AppendLittleEndian(&infos_, static_cast<uint32_t>(dimensions.size()));
    for (const uint64_t dimension : dimensions) AppendLittleEndian(&infos_, dimension);
    AppendLittleEndian(&infos_, type);
    AppendLittleEndian(&infos_, offset);
    data_.insert(data_.end(), data.begin(), data.end());
    ++num_tensors_;
    return *this;
  }

  Bytes Build() const {
    Bytes out;
    AppendLittleEndian(&out, magic);
    AppendLittleEndian(&out, version);
    AppendLittleEndian(&out, num_tensors_);
    AppendLittleEndian(&out, num_keys_);
    out.insert(out.end(), values_.begin(), values_.end());
    out.insert(out.end(), infos_.begin(), infos_.end());
    if (num_tensors_ > 0) out.resize((out.size() + alignment - 1) / alignment * alignment);
    out.insert(out.end(), data_.begin(), data_.end());
    return out;
  }

 private:
  void BeginValue(const std::string& key, uint32_t type) {
    AppendString(&values_, key);
    AppendLittleEndian(&values_, type);
    ++num_keys_;
  }
  void BeginArray(const std::string& key, uint32_t element_type, uint64_t count) {
    BeginValue(key, 9);
    AppendLittleEndian(&values_, element_type);
    AppendLittleEndian(&values_, count);
  }

  Bytes values_, infos_, data_;
  uint64_t num_keys_ = 0;
  uint64_t num_tensors_ = 0;
};

}  // namespace amaq::test

#endif  // AMAQ_TESTS_SUPPORT_GGUF_BUILDER_H_
