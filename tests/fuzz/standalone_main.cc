// Runs a fuzz target without libFuzzer: every file of a folder as it is, cut short, and with seeded
// changes of a few bytes.   <target> FOLDER [changed copies of each file, 200]

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

#include "core/rng.h"
#include "tests/fuzz/fuzz.h"

namespace {

// A heap block of the exact size, so that the address sanitizer sees what is read past its end.
void RunOne(const amaq::Bytes& bytes) {
  const amaq::Bytes exact(bytes);
  LLVMFuzzerTestOneInput(exact.data(), exact.size());
}

amaq::Bytes Change(amaq::Bytes bytes, uint64_t key, uint32_t round) {
  const auto words = amaq::Philox4x32(key, {round, 0, 0, 0});
  const auto places = amaq::Philox4x32(key, {round, 1, 0, 0});
  if (bytes.empty()) return bytes;
  for (size_t i = 0; i <= words[3] % 3; ++i) {
    bytes[places[i] % bytes.size()] = static_cast<uint8_t>(words[i]);
  }
  if (words[3] % 7 == 0) bytes.resize(places[3] % bytes.size());
  return bytes;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: %s FOLDER [changed copies of each file]\n", argv[0]);
    return 2;
  }
  const auto copies = static_cast<uint32_t>(argc > 2 ? std::strtoul(argv[2], nullptr, 10) : 200);
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(argv[1])) {
    files.push_back(entry.path());
  }
  std::ranges::sort(files);
  size_t inputs = 0;
  for (size_t f = 0; f < files.size(); ++f) {
    std::ifstream file(files[f], std::ios::binary);
    const amaq::Bytes bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
    RunOne(bytes);
    for (uint32_t round = 0; round < copies; ++round) RunOne(Change(bytes, f, round));
    inputs += 1 + copies;
  }
  std::printf("%zu inputs from %zu files\n", inputs, files.size());
  return files.empty() ? 1 : 0;
}
