#ifndef AMAQ_IO_SCRATCH_FILE_H_
#define AMAQ_IO_SCRATCH_FILE_H_

// Disk space as memory: a nameless file mapped for reading and writing. It goes with the object,
// and with the process however that ends. Thread-compatible. Source: POSIX mmap, posix_fallocate.

#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace amaq::io {

class ScratchFile {
 public:
  // In `folder`, which is made if it is missing (and removed again if it is empty then). Room for
  // max_bytes is reserved as addresses, not yet as disk space. Errors: file.h's, naming the folder.
  static std::unique_ptr<ScratchFile> Create(const std::string& folder, uint64_t max_bytes);
  ~ScratchFile();
  ScratchFile(const ScratchFile&) = delete;
  ScratchFile& operator=(const ScratchFile&) = delete;

  // The first `bytes` bytes, new ones 0; earlier ones stay where they are. Disk space is taken
  // here, in pieces, so that no later access can fail. Errors: kResourceExhausted when the disk or
  // max_bytes is reached.
  std::span<uint8_t> Grow(uint64_t bytes);

 private:
  ScratchFile(std::string folder, int fd, uint8_t* data, uint64_t max_bytes)
      : folder_(std::move(folder)), fd_(fd), data_(data), max_bytes_(max_bytes) {}

  const std::string folder_;
  const int fd_;
  uint8_t* const data_;
  const uint64_t max_bytes_;
  uint64_t allocated_ = 0;
};

}  // namespace amaq::io

#endif  // AMAQ_IO_SCRATCH_FILE_H_
