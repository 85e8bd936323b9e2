#ifndef AMAQ_IO_SAFETENSORS_H_
#define AMAQ_IO_SAFETENSORS_H_

// The safetensors container: u64 header length, JSON header (name -> dtype, shape, data_offsets;
// optional __metadata__ of strings), raw bytes. The reader is strict, as files may be hostile: the
// header is at most 100 MB, tensors cover the data exactly (no overlap, no hole, nothing after),
// shapes agree with byte counts, names are unique. Source: the format's public description.
// Thread-safety: immutable after opening.

#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/section.h"
#include "io/file.h"
#include "io/tensor_source.h"

namespace amaq::io {

class SafetensorsFile : public TensorSource {
 public:
  // Errors: those of MappedFile; kDataLoss if it ends early; kInvalidArgument otherwise.
  static std::unique_ptr<SafetensorsFile> Open(const std::string& path);
  // From memory that outlives the object; `name` stands in errors.
  static std::unique_ptr<SafetensorsFile> FromBytes(ByteSpan bytes, std::string name);

  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  void DropPages() const override;

 private:
  SafetensorsFile(std::string name, std::unique_ptr<MappedFile> file, ByteSpan bytes);
  ByteSpan BytesOf(const TensorInfo& info) const override;
  void ParseHeader(std::string_view header, uint64_t data_begin);

  std::unique_ptr<MappedFile> file_;  // null when from memory
  ByteSpan bytes_;
  std::map<std::string, std::string> metadata_;
};

struct F32Tensor {
  std::string name;
  std::vector<int64_t> shape;
  std::span<const float> values;  // row-major
};

// A whole file of F32 tensors, sorted by name, header padded with spaces to a multiple of 8 bytes:
// byte for byte what the reference writer gives for at most one metadata entry (it keeps no order
// of more; here they are sorted). Errors: kInvalidArgument if a name repeats or is "__metadata__",
// or if a shape disagrees with the number of values.
Bytes SerializeSafetensors(std::vector<F32Tensor> tensors,
                           const std::map<std::string, std::string>& metadata);

}  // namespace amaq::io

#endif  // AMAQ_IO_SAFETENSORS_H_
