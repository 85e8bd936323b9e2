# CUDA kernels: one object for every architecture that the installed nvcc knows. CMake's own CUDA
# language is not used: it wants a toolkit that can link at configure time, and this way the object is
# the same from a system toolkit and from unpacked wheels (scripts/setup.sh --cuda).
if(AMAQ_WITH_CUDA)
  if(DEFINED ENV{AMAQ_CACHE})
    set(amaq_cuda_wheels $ENV{AMAQ_CACHE})
  else()
    set(amaq_cuda_wheels $ENV{HOME}/.cache/amaq)
  endif()
  find_program(AMAQ_NVCC nvcc HINTS ENV CUDA_PATH PATH_SUFFIXES bin
    PATHS /usr/local/cuda/bin ${amaq_cuda_wheels}/cuda-13.2.86/nvidia/cu13/bin)
  if(NOT AMAQ_NVCC)
    message(FATAL_ERROR "AMAQ_WITH_CUDA is ON but nvcc was not found. Run scripts/setup.sh --cuda, or "
      "set AMAQ_NVCC to the compiler of a toolkit of your own.")
  endif()
  file(REAL_PATH ${AMAQ_NVCC} amaq_nvcc)
  cmake_path(GET amaq_nvcc PARENT_PATH amaq_cuda_root)
  cmake_path(GET amaq_cuda_root PARENT_PATH amaq_cuda_root)
  find_library(AMAQ_CUDART cudart_static HINTS ${amaq_cuda_root}/lib64 ${amaq_cuda_root}/lib
    NO_DEFAULT_PATH REQUIRED)
  execute_process(COMMAND ${AMAQ_NVCC} --list-gpu-arch OUTPUT_VARIABLE amaq_gpu_archs
    OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
  string(REGEX MATCHALL "[0-9]+" amaq_gpu_archs "${amaq_gpu_archs}")
  list(SORT amaq_gpu_archs COMPARE NATURAL)
  list(LENGTH amaq_gpu_archs count)
  list(JOIN amaq_gpu_archs " " text)
  message(STATUS "CUDA: ${AMAQ_NVCC}, ${count} architectures: ${text}")

  add_library(amaq_cudart INTERFACE)
  target_include_directories(amaq_cudart SYSTEM INTERFACE ${amaq_cuda_root}/include)
  target_link_libraries(amaq_cudart INTERFACE ${AMAQ_CUDART} Threads::Threads ${CMAKE_DL_LIBS} rt)

  # The host's bytes (amaq_nvcc forbids fused multiply-add as well): IEEE division and square root, denormals kept.
  set(amaq_nvcc_flags -std=c++20 -O3 --expt-relaxed-constexpr -prec-div=true
    -prec-sqrt=true -ftz=false -Werror=all-warnings -Xcompiler=-Wall,-Wextra,-ffp-contract=off
    -I${PROJECT_SOURCE_DIR}/src)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    list(APPEND amaq_nvcc_flags -ccbin=${CMAKE_CXX_COMPILER})
  endif()
endif()

# amaq_nvcc(SOURCE file.cu OUTPUT path FLAGS ... [FUSE]): compiles with the flags above and these.
# FUSE lets the compiler fuse multiply-adds, for the test that this would be seen.
function(amaq_nvcc)
  cmake_parse_arguments(ARG "FUSE" "SOURCE;OUTPUT" "FLAGS" ${ARGN})
  if(ARG_FUSE)
    set(fmad -fmad=true)
  else()
    set(fmad -fmad=false)
  endif()
  add_custom_command(OUTPUT ${ARG_OUTPUT}
    COMMAND ${CMAKE_CXX_COMPILER_LAUNCHER} ${AMAQ_NVCC} ${amaq_nvcc_flags} ${fmad} ${ARG_FLAGS}
      -MD -MF ${ARG_OUTPUT}.d -o ${ARG_OUTPUT} ${ARG_SOURCE}
    DEPENDS ${ARG_SOURCE} DEPFILE ${ARG_OUTPUT}.d COMMENT "nvcc ${ARG_OUTPUT}" VERBATIM)
endfunction()

# amaq_cuda_object(SOURCE file.cu OUTPUT path): machine code for every architecture, and PTX of the
# newest one for GPUs to come.
function(amaq_cuda_object)
  cmake_parse_arguments(ARG "" "SOURCE;OUTPUT" "" ${ARGN})
  foreach(arch IN LISTS amaq_gpu_archs)
    list(APPEND flags -gencode=arch=compute_${arch},code=sm_${arch})
    set(newest ${arch})
  endforeach()
  amaq_nvcc(SOURCE ${ARG_SOURCE} OUTPUT ${ARG_OUTPUT}
    FLAGS -c --threads=0 ${flags} -gencode=arch=compute_${newest},code=compute_${newest})
  set_source_files_properties(${ARG_OUTPUT} PROPERTIES EXTERNAL_OBJECT TRUE GENERATED TRUE)
endfunction()
