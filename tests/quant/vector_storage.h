#ifndef AMAQ_TESTS_QUANT_VECTOR_STORAGE_H_
#define AMAQ_TESTS_QUANT_VECTOR_STORAGE_H_

// A sample cache's memory without a file, and the value that outputs of tests begin with.

#include <cstdint>
#include <span>
#include <vector>

#include "core/error.h"
#include "quant/sample_cache.h"

namespace amaq::quant {

inline constexpr float kUntouched = -777;

class VectorStorage final : public CacheStorage {
 public:
  explicit VectorStorage(size_t capacity) : memory_(capacity) {}
  std::span<uint8_t> Grow(uint64_t bytes) override {
    if (bytes > memory_.size()) Throw(Code::kResourceExhausted, "the vector is full");
    return std::span(memory_).first(bytes);
  }

 private:
  std::vector<uint8_t> memory_;
};

}  // namespace amaq::quant

#endif  // AMAQ_TESTS_QUANT_VECTOR_STORAGE_H_
