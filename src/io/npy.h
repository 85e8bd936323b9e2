#ifndef AMAQ_IO_NPY_H_
#define AMAQ_IO_NPY_H_

// NumPy's array file: magic, version, length of the header, a header that is a Python dict of
// 'descr', 'fortran_order' and 'shape', the elements. The reader is strict, as files may be
// hostile: little-endian fp32 ('<f4') and fp16 ('<f2') in C order, versions 1 to 3, the data fill
// the file exactly. Source: numpy.org, "numpy.lib.format". Thread-safety: immutable after opening.

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/section.h"
#include "io/file.h"
#include "io/tensor_source.h"

namespace amaq::io {

// One tensor, named kNpyTensor, of type F32 or F16.
inline constexpr const char kNpyTensor[] = "array";

class NpyFile : public TensorSource {
 public:
  // Errors: those of MappedFile; kDataLoss if it ends early; kUnimplemented for another element
  // type or Fortran order; kInvalidArgument otherwise.
  static std::unique_ptr<NpyFile> Open(const std::string& path);
  // From memory that outlives the object; `name` stands in errors.
  static std::unique_ptr<NpyFile> FromBytes(ByteSpan bytes, std::string name);

  void DropPages() const override;

 private:
  NpyFile(std::string name, std::unique_ptr<MappedFile> file, ByteSpan bytes);
  ByteSpan BytesOf(const TensorInfo& info) const override;

  std::unique_ptr<MappedFile> file_;  // null when from memory
  ByteSpan bytes_;
};

// A whole file, version 1.0, '<f4': byte for byte what numpy.save writes.
// Errors: kInvalidArgument if the shape disagrees with the number of values.
Bytes SerializeNpy(std::span<const int64_t> shape, std::span<const float> values);

}  // namespace amaq::io

#endif  // AMAQ_IO_NPY_H_
