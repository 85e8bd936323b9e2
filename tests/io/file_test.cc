#include "io/file.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "tests/support/errors.h"

namespace amaq::io {
namespace {

std::string TempPath(const std::string& name) {
  const std::string folder = ::testing::TempDir() + "amaq_file_" +
                             ::testing::UnitTest::GetInstance()->current_test_info()->name();
  std::filesystem::create_directories(folder);
  return folder + "/" + name;
}

size_t ResidentPages(const MappedFile& file) {
  const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  // mincore would say what the page cache holds; /proc tells what this process has mapped in.
  const std::string smaps = [] {
    std::string text;
    FILE* stream = std::fopen("/proc/self/smaps", "r");
    char buffer[4096];
    for (size_t count; (count = std::fread(buffer, 1, sizeof(buffer), stream)) > 0;) {
      text.append(buffer, count);
    }
    std::fclose(stream);
    return text;
  }();
  const size_t at = smaps.find(std::filesystem::path(file.path()).filename().string());
  const size_t rss = smaps.find("Rss:", at);
  return std::stoul(smaps.substr(rss + 4)) * 1024 / page;
}

TEST(FileTest, MappedBytesAreThoseOfTheFile) {
  const std::string path = TempPath("bytes");
  WriteFileAtomically(path, std::string_view("abc"));

  const auto file = MappedFile::Open(path);

  EXPECT_EQ(Bytes(file->bytes().begin(), file->bytes().end()), (Bytes{'a', 'b', 'c'}));
}

TEST(FileTest, AnEmptyFileMapsToNoBytes) {
  const std::string path = TempPath("empty");
  WriteFileAtomically(path, std::string_view());

  const auto file = MappedFile::Open(path);
  file->DropPages();

  EXPECT_TRUE(file->bytes().empty());
}

TEST(FileTest, DroppedPagesLeaveTheResidentSetAndReadBackTheSame) {
  const std::string path = TempPath("pages_dropped");
  WriteFileAtomically(path, Bytes(1 << 20, 7));
  const auto file = MappedFile::Open(path);
  const auto sum = [&] { return std::ranges::count(file->bytes(), 7); };
  const auto before = sum();
  const size_t resident = ResidentPages(*file);

  file->DropPages();

  EXPECT_EQ(resident, 256u * 4096u / static_cast<size_t>(::sysconf(_SC_PAGESIZE)));
  EXPECT_EQ(ResidentPages(*file), 0u);
  EXPECT_EQ(sum(), before);
}

TEST(FileTest, PagesThatAreOnlyPartlyInTheRangeStay) {
  const std::string path = TempPath("pages_kept");
  WriteFileAtomically(path, Bytes(1 << 20, 7));
  const auto file = MappedFile::Open(path);
  ASSERT_EQ(std::ranges::count(file->bytes(), 7), 1 << 20);
  const size_t resident = ResidentPages(*file);

  file->DropPages(1, static_cast<size_t>(::sysconf(_SC_PAGESIZE)));

  EXPECT_EQ(ResidentPages(*file), resident);
}

TEST(FileTest, AMissingFileIsNamedWithTheReason) {
  EXPECT_THROWS(MappedFile::Open(TempPath("nowhere")), Code::kNotFound, "nowhere: No such file");
  EXPECT_THROWS(ReadTextFile(TempPath("nowhere"), 10), Code::kNotFound, "nowhere: No such file");
}

TEST(FileTest, AFolderIsNoFile) {
  EXPECT_THROWS(MappedFile::Open(::testing::TempDir()), Code::kInvalidArgument, "regular file");
}

TEST(FileTest, ATextLongerThanTheLimitIsRefused) {
  const std::string path = TempPath("text");
  WriteFileAtomically(path, std::string_view("12345"));

  EXPECT_EQ(ReadTextFile(path, 5), "12345");
  EXPECT_THROWS(ReadTextFile(path, 4), Code::kResourceExhausted, "5 bytes, at most 4");
}

TEST(FileTest, WritingReplacesTheOldContentAndLeavesNoOtherFile) {
  const std::string path = TempPath("replaced/file");
  std::filesystem::remove_all(TempPath("replaced"));
  std::filesystem::create_directories(TempPath("replaced"));
  WriteFileAtomically(path, std::string_view("a longer old content"));

  WriteFileAtomically(path, std::string_view("new"));

  EXPECT_EQ(ReadTextFile(path, 100), "new");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(TempPath("replaced")), {}), 1);
}

TEST(FileTest, AFailedWriteLeavesTheTargetAndNoOtherFile) {
  const std::string path = TempPath("taken");
  std::filesystem::remove_all(path);
  std::filesystem::create_directories(path + "/inside");  // cannot be replaced by a file

  EXPECT_THROWS(WriteFileAtomically(path, std::string_view("new")), Code::kUnknown, "replace");

  EXPECT_TRUE(std::filesystem::is_directory(path + "/inside"));
  for (const auto& entry : std::filesystem::directory_iterator(TempPath(""))) {
    EXPECT_EQ(entry.path().string().find(".tmp."), std::string::npos) << entry.path();
  }
}

TEST(FileTest, WritingIntoAMissingFolderNamesIt) {
  EXPECT_THROWS(WriteFileAtomically(TempPath("no/such/file"), std::string_view("x")),
                Code::kNotFound, "no/such/file");
}

}  // namespace
}  // namespace amaq::io
