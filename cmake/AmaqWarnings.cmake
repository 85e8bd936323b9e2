# One interface target carries the language level, the warnings and the sanitizers.
add_library(amaq_build_flags INTERFACE)
target_compile_features(amaq_build_flags INTERFACE cxx_std_20)
target_compile_options(amaq_build_flags INTERFACE
  -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wnon-virtual-dtor -Wold-style-cast
  -Woverloaded-virtual -Wimplicit-fallthrough
  # Bytes must not depend on contraction into FMA (quant) and bit-identity of runs neither.
  -ffp-contract=off)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  # GCC 12 sees an overlap in "literal" + std::string at -O3 that is none (GCC bug 105329).
  target_compile_options(amaq_build_flags INTERFACE -Wno-restrict)
endif()
if(AMAQ_DEVELOPER_MODE)
  target_compile_options(amaq_build_flags INTERFACE -Werror)
endif()
if(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
  target_compile_options(amaq_build_flags INTERFACE -Wthread-safety)
endif()
if(AMAQ_FUZZ)
  target_compile_options(amaq_build_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()
foreach(sanitizer IN LISTS AMAQ_SANITIZE)
  target_compile_options(amaq_build_flags INTERFACE -fsanitize=${sanitizer}
    -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_link_options(amaq_build_flags INTERFACE -fsanitize=${sanitizer})
endforeach()
