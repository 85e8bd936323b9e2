#ifndef AMAQ_CORE_VERSION_H_
#define AMAQ_CORE_VERSION_H_

namespace amaq {
inline constexpr const char kVersion[] = "0.1.0";  // equals project(VERSION) in CMakeLists.txt
}  // namespace amaq

#endif  // AMAQ_CORE_VERSION_H_
