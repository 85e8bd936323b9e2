#ifndef AMAQ_IO_GGUF_H_
#define AMAQ_IO_GGUF_H_

// GGUF versions 2 and 3, little-endian: metadata and tensors of one file. Not an interpreter of the
// metadata: keys are looked up by the caller. Strict: every count, string length, dimension and
// offset is checked against the file before it is used; a tensor type we cannot read is an error
// when the file is opened. Source: the format's public description (ggml, docs/gguf.md).
// Thread-safety: immutable after opening.

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "core/section.h"
#include "io/file.h"
#include "io/tensor_source.h"

namespace amaq::io {

// Unsigned, signed and floating-point numbers of any width are widened, which is exact. An array of
// booleans is std::vector<uint8_t>. Arrays of arrays are refused.
using GgufValue = std::variant<uint64_t, int64_t, double, bool, std::string, std::vector<uint64_t>,
                               std::vector<int64_t>, std::vector<double>, std::vector<uint8_t>,
                               std::vector<std::string>>;

class GgufFile : public TensorSource {
 public:
  // Errors: those of MappedFile; kDataLoss if it ends early; kUnimplemented for a version, tensor
  // type or split file that is not read; kInvalidArgument otherwise.
  static std::unique_ptr<GgufFile> Open(const std::string& path);
  // From memory that outlives the object; `name` stands in errors.
  static std::unique_ptr<GgufFile> FromBytes(ByteSpan bytes, std::string name);

  const std::map<std::string, GgufValue, std::less<>>& metadata() const { return metadata_; }
  // nullptr if there is no such key.
  const GgufValue* FindValue(std::string_view key) const;
  // Errors: kNotFound without the key, kInvalidArgument if it has another type; both name the file.
  uint64_t Uint(std::string_view key) const;  // any whole number of 0 or more
  double Number(std::string_view key) const;  // any number
  bool Bool(std::string_view key) const;
  const std::string& String(std::string_view key) const;
  const std::vector<std::string>& Strings(std::string_view key) const;
  std::vector<int64_t> Integers(std::string_view key) const;  // array of whole numbers

  void DropPages() const override;

 private:
  GgufFile(std::string name, std::unique_ptr<MappedFile> file, ByteSpan bytes);
  const GgufValue& Value(std::string_view key) const;
  ByteSpan BytesOf(const TensorInfo& info) const override;

  std::unique_ptr<MappedFile> file_;  // null when from memory
  ByteSpan bytes_;
  std::map<std::string, GgufValue, std::less<>> metadata_;
};

}  // namespace amaq::io

#endif  // AMAQ_IO_GGUF_H_
