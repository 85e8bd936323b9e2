#include "io/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "core/error.h"

namespace amaq::io {
namespace {

Code CodeOfErrno(int error) {
  switch (error) {
    case ENOENT:
    case ENOTDIR:
      return Code::kNotFound;
    case EACCES:
    case EPERM:
    case EROFS:
      return Code::kPermissionDenied;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
    case EMFILE:
    case ENFILE:
    case ENOMEM:
      return Code::kResourceExhausted;
    default:
      return Code::kUnknown;
  }
}

[[noreturn]] void ThrowErrno(std::string_view what, const std::string& path, int error) {
  Throw(CodeOfErrno(error), what, " ", path, ": ", std::generic_category().message(error));
}

// A file descriptor that closes itself.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }
  int Release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

// Opens for reading and returns the size; only regular files, so that a size means something.
size_t StatRegular(const Descriptor& file, const std::string& path) {
  if (file.get() < 0) ThrowErrno("cannot open", path, errno);
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) ThrowErrno("cannot stat", path, errno);
  if (!S_ISREG(status.st_mode)) {
    Throw(Code::kInvalidArgument, "cannot read ", path, ": not a regular file");
  }
  return static_cast<size_t>(status.st_size);
}

void WriteAll(int fd, ByteSpan bytes, const std::string& path) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) ThrowErrno("cannot write", path, errno);
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
}

// A new file beside `path`; its name goes to *name.
int CreateBeside(const std::string& path, std::string* name) {
  for (int attempt = 0;; ++attempt) {
    *name = StrCat(path, ".tmp.", ::getpid(), ".", attempt);
    const int fd = ::open(name->c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd >= 0) return fd;
    if (errno != EEXIST || attempt == 1000) ThrowErrno("cannot create", *name, errno);
  }
}

void SyncFolderOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  std::string folder = ".";
  if (slash != std::string::npos) folder = slash == 0 ? "/" : path.substr(0, slash);
  const Descriptor descriptor(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  // Some file systems cannot sync a folder (EINVAL); the content itself is synced already.
  if (descriptor.get() < 0 || (::fsync(descriptor.get()) != 0 && errno != EINVAL)) {
    ThrowErrno("cannot sync folder", folder, errno);
  }
}

}  // namespace

std::unique_ptr<MappedFile> MappedFile::Open(const std::string& path) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  const size_t size = StatRegular(file, path);
  void* data = nullptr;
  if (size > 0) {
    data = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.get(), 0);
    if (data == MAP_FAILED) ThrowErrno("cannot map", path, errno);
  }
  return std::unique_ptr<MappedFile>(new MappedFile(path, static_cast<const uint8_t*>(data), size));
}

MappedFile::~MappedFile() {
  if (size_ > 0) ::munmap(const_cast<uint8_t*>(data_), size_);
}

void MappedFile::DropPages(size_t offset, size_t length) const {
  const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  if (offset >= size_) return;
  const bool reaches_end = length >= size_ - offset;
  const size_t end = reaches_end ? size_ : (offset + length) / page * page;
  const size_t begin = (offset + page - 1) / page * page;
  if (begin >= end) return;
  // Advice only: a refusal costs memory, never correctness.
  (void)::madvise(const_cast<uint8_t*>(data_) + begin, end - begin, MADV_DONTNEED);
}

std::string ReadTextFile(const std::string& path, size_t max_bytes) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  const size_t size = StatRegular(file, path);
  if (size > max_bytes) {
    Throw(Code::kResourceExhausted, "cannot read ", path, ": ", size, " bytes, at most ", max_bytes,
          " are expected");
  }
  std::string text(size, '\0');
  size_t done = 0;
  while (done < size) {
    const ssize_t count = ::read(file.get(), text.data() + done, size - done);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) ThrowErrno("cannot read", path, errno);
    if (count == 0) break;  // shortened meanwhile
    done += static_cast<size_t>(count);
  }
  text.resize(done);
  return text;
}

void WriteFileAtomically(const std::string& path, ByteSpan bytes) {
  std::string temporary;
  Descriptor file(CreateBeside(path, &temporary));
  try {
    WriteAll(file.get(), bytes, temporary);
    if (::fsync(file.get()) != 0) ThrowErrno("cannot sync", temporary, errno);
    if (::close(file.Release()) != 0) ThrowErrno("cannot close", temporary, errno);
    if (::rename(temporary.c_str(), path.c_str()) != 0) ThrowErrno("cannot replace", path, errno);
  } catch (...) {
    ::unlink(temporary.c_str());
    throw;
  }
  SyncFolderOf(path);
}

void WriteFileAtomically(const std::string& path, std::string_view text) {
  WriteFileAtomically(path, ByteSpan(reinterpret_cast<const uint8_t*>(text.data()), text.size()));
}

}  // namespace amaq::io
