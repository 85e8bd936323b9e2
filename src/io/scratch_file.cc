#include "io/scratch_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <limits>
#include <system_error>

#include "core/error.h"

namespace amaq::io {
namespace {

constexpr uint64_t kPiece = uint64_t{16} << 20;

Code CodeOf(int error) {
  if (error == EACCES || error == EPERM || error == EROFS) return Code::kPermissionDenied;
  if (error == ENOENT || error == ENOTDIR) return Code::kNotFound;
  return Code::kResourceExhausted;
}

[[noreturn]] void ThrowScratch(std::string_view what, const std::string& folder, int error) {
  Throw(CodeOf(error), what, " in ", folder, ": ", std::generic_category().message(error));
}

}  // namespace

std::unique_ptr<ScratchFile> ScratchFile::Create(const std::string& folder, uint64_t max_bytes) {
  if (max_bytes == 0 || max_bytes > static_cast<uint64_t>(std::numeric_limits<off_t>::max())) {
    Throw(Code::kInvalidArgument, "a scratch file cannot have ", max_bytes, " bytes");
  }
  std::error_code status;
  const bool is_new = std::filesystem::create_directories(folder, status);
  if (status) ThrowScratch("cannot make a folder for a scratch file", folder, status.value());
  std::string name = folder + "/scratch-XXXXXX";
  const int fd = ::mkostemp(name.data(), O_CLOEXEC);
  const int error = errno;
  if (fd >= 0) ::unlink(name.c_str());
  if (is_new) std::filesystem::remove(folder, status);  // only if it is empty
  if (fd < 0) ThrowScratch("cannot create a scratch file", folder, error);
  // Pages behind the end of the file are never touched: Grow moves the end first.
  void* data = ::mmap(nullptr, max_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (data == MAP_FAILED) {
    const int map_error = errno;
    ::close(fd);
    ThrowScratch("cannot map a scratch file", folder, map_error);
  }
  return std::unique_ptr<ScratchFile>(
      new ScratchFile(folder, fd, static_cast<uint8_t*>(data), max_bytes));
}

ScratchFile::~ScratchFile() {
  ::munmap(data_, max_bytes_);
  ::close(fd_);
}

std::span<uint8_t> ScratchFile::Grow(uint64_t bytes) {
  if (bytes > max_bytes_) {
    Throw(Code::kResourceExhausted, "a scratch file in ", folder_, " is limited to ", max_bytes_,
          " bytes, ", bytes, " are wanted");
  }
  if (bytes > allocated_) {
    const uint64_t wanted =
        std::min(max_bytes_, (bytes - 1) / kPiece * kPiece + kPiece);  // max_bytes_ < 2^63
    const int error = ::posix_fallocate(fd_, static_cast<off_t>(allocated_),
                                        static_cast<off_t>(wanted - allocated_));
    if (error != 0) ThrowScratch("cannot enlarge a scratch file", folder_, error);
    allocated_ = wanted;
  }
  return {data_, bytes};
}

}  // namespace amaq::io
