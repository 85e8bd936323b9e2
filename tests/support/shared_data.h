#ifndef AMAQ_TESTS_SUPPORT_SHARED_DATA_H_
#define AMAQ_TESTS_SUPPORT_SHARED_DATA_H_

// Where stored data that is not in the repository may lie. A test that needs it skips with the path
// it looked for.

#include <cstdlib>
#include <string>

namespace amaq::test {

// AMAQ_SHARED_DATA, else shared/data beside the repository.
inline std::string SharedDataPath(const std::string& relative) {
  const char* folder = std::getenv("AMAQ_SHARED_DATA");
  const std::string base = folder != nullptr ? folder : AMAQ_SOURCE_DIR "/../shared/data";
  return base + "/" + relative;
}

// AMAQ_CACHE, else ~/.cache/amaq.
inline std::string CachePath(const std::string& relative) {
  const char* cache = std::getenv("AMAQ_CACHE");
  const char* home = std::getenv("HOME");
  const std::string base =
      cache != nullptr ? cache : std::string(home != nullptr ? home : "") + "/.cache/amaq";
  return base + "/" + relative;
}

inline std::string RealModelPath() { return CachePath("models/SmolLM2-135M-Instruct.Q4_1.gguf"); }

}  // namespace amaq::test

#endif  // AMAQ_TESTS_SUPPORT_SHARED_DATA_H_
