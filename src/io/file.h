#ifndef AMAQ_IO_FILE_H_
#define AMAQ_IO_FILE_H_

// Files as a whole: mapped for reading, read as text, replaced atomically. Errors name the path and
// the system's reason: kNotFound, kPermissionDenied, kResourceExhausted, else kUnknown.
// Thread-safety: MappedFile is immutable; the functions are safe on different paths.
// Source: POSIX mmap, madvise, rename (our choice of protocol).

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "core/section.h"

namespace amaq::io {

// A regular file mapped read-only. The bytes stay valid for the life of the object. Nobody may
// shorten the file meanwhile: reading a page past its end is a bus error of the system.
class MappedFile {
 public:
  static std::unique_ptr<MappedFile> Open(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::string& path() const { return path_; }
  ByteSpan bytes() const { return {data_, size_}; }

  // Lets the system forget the pages that lie wholly inside [offset, offset + length): they leave
  // the resident set and are read again when touched. Out-of-range ends are cut off.
  void DropPages(size_t offset, size_t length) const;
  void DropPages() const { DropPages(0, size_); }

 private:
  MappedFile(std::string path, const uint8_t* data, size_t size)
      : path_(std::move(path)), data_(data), size_(size) {}

  const std::string path_;
  const uint8_t* const data_;
  const size_t size_;
};

// The whole file. Errors: kResourceExhausted if it is longer than max_bytes.
std::string ReadTextFile(const std::string& path, size_t max_bytes);

// A reader sees the old content or the new one, never a part: the bytes go to a new file in the
// same folder, are synced, and the file is renamed over `path`; then the folder is synced. On error
// `path` is as before and the new file is gone.
void WriteFileAtomically(const std::string& path, ByteSpan bytes);
void WriteFileAtomically(const std::string& path, std::string_view text);

}  // namespace amaq::io

#endif  // AMAQ_IO_FILE_H_
