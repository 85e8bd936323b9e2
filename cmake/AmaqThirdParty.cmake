# Third parties, each under a name of ours where the upstream one is missing or incomplete.
find_package(Threads REQUIRED)
find_package(spdlog REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(XXHASH REQUIRED IMPORTED_TARGET libxxhash)
if(AMAQ_CODEC_ONLY)
  return()
endif()
find_package(yaml-cpp REQUIRED)
find_package(CLI11 REQUIRED)
find_package(nlohmann_json REQUIRED)
pkg_check_modules(PCRE2 REQUIRED IMPORTED_TARGET libpcre2-8)

if(AMAQ_WITH_GRPC)
  find_package(Protobuf REQUIRED)
  find_package(gRPC CONFIG REQUIRED)
endif()

if(AMAQ_WITH_TORCH)
  add_library(amaq_third_party_torch INTERFACE)
  add_library(amaq::third_party_torch ALIAS amaq_third_party_torch)
  if(Torch_DIR)
    find_package(Torch REQUIRED)
    target_include_directories(amaq_third_party_torch SYSTEM INTERFACE ${TORCH_INCLUDE_DIRS})
    target_link_libraries(amaq_third_party_torch INTERFACE ${TORCH_LIBRARIES})
  else()
    if(NOT AMAQ_LIBTORCH)
      if(DEFINED ENV{AMAQ_LIBTORCH})
        set(AMAQ_LIBTORCH $ENV{AMAQ_LIBTORCH})
      elseif(DEFINED ENV{AMAQ_CACHE})
        set(AMAQ_LIBTORCH $ENV{AMAQ_CACHE}/libtorch-2.15.0)
      else()
        set(AMAQ_LIBTORCH $ENV{HOME}/.cache/amaq/libtorch-2.15.0)
      endif()
    endif()
    if(NOT EXISTS ${AMAQ_LIBTORCH}/torch/lib/libtorch_cpu.so)
      message(FATAL_ERROR "LibTorch is not in ${AMAQ_LIBTORCH}. Run scripts/setup.sh, or point "
        "AMAQ_LIBTORCH at an unpacked wheel or Torch_DIR at a LibTorch of your own. "
        "The preset 'light' builds without it.")
    endif()
    target_include_directories(amaq_third_party_torch SYSTEM INTERFACE
      ${AMAQ_LIBTORCH}/torch/include ${AMAQ_LIBTORCH}/torch/include/torch/csrc/api/include)
    target_link_libraries(amaq_third_party_torch INTERFACE
      ${AMAQ_LIBTORCH}/torch/lib/libtorch_cpu.so ${AMAQ_LIBTORCH}/torch/lib/libc10.so
      -L${AMAQ_LIBTORCH}/nvidia/cu13/lib -l:libcudart.so.13 -l:libcupti.so.13)
    target_link_options(amaq_third_party_torch INTERFACE
      -Wl,-rpath,${AMAQ_LIBTORCH}/torch/lib -Wl,-rpath,${AMAQ_LIBTORCH}/nvidia/cu13/lib)
  endif()
endif()
