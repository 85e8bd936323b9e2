#include "io/scratch_file.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <limits>

#include "tests/support/errors.h"

namespace amaq::io {
namespace {

std::string Folder(const char* name) { return ::testing::TempDir() + "/scratch_file_test/" + name; }

TEST(ScratchFileTest, KeepsWhatWasWrittenWhereItWasWhenItGrows) {
  const auto file = ScratchFile::Create(Folder("grow"), uint64_t{64} << 20);
  const std::span<uint8_t> small = file->Grow(1000);
  std::fill(small.begin(), small.end(), uint8_t{7});

  const std::span<uint8_t> large = file->Grow(uint64_t{40} << 20);

  EXPECT_EQ(large.data(), small.data());
  EXPECT_EQ(large.size(), uint64_t{40} << 20);
  EXPECT_EQ(std::ranges::count(large, uint8_t{7}), 1000);
  EXPECT_EQ(large.back(), 0);
  large.back() = 9;  // the last byte has disk space, too
  EXPECT_EQ(file->Grow(uint64_t{40} << 20).back(), 9);
}

TEST(ScratchFileTest, LeavesNoFileAndNoFolderOfItsOwn) {
  const std::string folder = Folder("nameless");

  const auto file = ScratchFile::Create(folder, 4096);
  file->Grow(4096)[0] = 1;

  EXPECT_FALSE(std::filesystem::exists(folder));
}

TEST(ScratchFileTest, LeavesAFolderThatWasThere) {
  const std::string folder = Folder("kept");
  std::filesystem::create_directories(folder);

  ScratchFile::Create(folder, 4096);

  EXPECT_TRUE(std::filesystem::is_empty(folder));
}

TEST(ScratchFileTest, RefusesMoreThanItsBoundAndBoundsThatCannotBe) {
  const auto file = ScratchFile::Create(Folder("bound"), 5000);
  EXPECT_EQ(file->Grow(5000).size(), 5000u);

  EXPECT_THROWS(file->Grow(5001), Code::kResourceExhausted, "limited to 5000 bytes");
  EXPECT_THROWS(ScratchFile::Create(Folder("none"), 0), Code::kInvalidArgument, "0 bytes");
  EXPECT_THROWS(ScratchFile::Create(Folder("huge"), std::numeric_limits<uint64_t>::max()),
                Code::kInvalidArgument, "scratch file");
}

TEST(ScratchFileTest, NamesTheFolderThatCannotBeMade) {
  EXPECT_THROWS(ScratchFile::Create("/dev/null/cache", 4096), Code::kNotFound, "/dev/null/cache");
}

}  // namespace
}  // namespace amaq::io
