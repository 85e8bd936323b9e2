# Inside another project (add_subdirectory, FetchContent) only amaq::codec is built.
if(PROJECT_IS_TOP_LEVEL)
  set(amaq_codec_only OFF)
else()
  set(amaq_codec_only ON)
endif()

# What a builder may choose. Presets (CMakePresets.json) set these; nothing else is a switch.
option(AMAQ_WITH_TORCH "Build tensor, lora, models and train (needs LibTorch)" ON)
option(AMAQ_WITH_GRPC "Build the gRPC transport (needs gRPC and Protocol Buffers)" ON)
option(AMAQ_WITH_CUDA "Compile the codec's kernels for GPUs (needs nvcc)" OFF)
option(AMAQ_CODEC_ONLY "Build amaq::codec (core and quant) and nothing else" ${amaq_codec_only})
option(AMAQ_DEVELOPER_MODE "Build the tests, treat warnings as errors" OFF)
option(AMAQ_FUZZ "Link the fuzz targets with libFuzzer (Clang)" OFF)
set(AMAQ_SANITIZE "" CACHE STRING "Sanitizers: empty, 'address;undefined' or 'thread'")
set(AMAQ_LIBTORCH "" CACHE PATH "Folder that holds torch/ and nvidia/ of an unpacked LibTorch wheel")

if(PROJECT_IS_TOP_LEVEL AND NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Build type" FORCE)
endif()

find_program(AMAQ_CCACHE ccache)
if(AMAQ_CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${AMAQ_CCACHE})
endif()
find_program(AMAQ_MOLD mold)
if(AMAQ_MOLD)
  add_link_options(-fuse-ld=mold)
endif()
