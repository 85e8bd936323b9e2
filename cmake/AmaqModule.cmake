# amaq_library(NAME quant SRCS a.cc b.cc DEPS amaq::core [PRIVATE_DEPS x] [UNITY])
#   Static library amaq_quant with the alias amaq::quant. DEPS equals the module's row in the layer
#   table (docs/architecture.md); PRIVATE_DEPS are third parties seen by its .cc files only. A new one
#   of core or quant goes into cmake/amaqConfig.cmake.in, too: who links them statically needs it.
function(amaq_library)
  cmake_parse_arguments(ARG "UNITY" "NAME" "SRCS;DEPS;PRIVATE_DEPS" ${ARGN})
  add_library(amaq_${ARG_NAME} STATIC ${ARG_SRCS})
  add_library(amaq::${ARG_NAME} ALIAS amaq_${ARG_NAME})
  target_include_directories(amaq_${ARG_NAME} PUBLIC
    $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/src> $<INSTALL_INTERFACE:include/amaq>)
  target_compile_features(amaq_${ARG_NAME} PUBLIC cxx_std_20)
  # Our warnings are for our code only: who links the library does not get them.
  target_link_libraries(amaq_${ARG_NAME} PUBLIC ${ARG_DEPS}
    PRIVATE $<BUILD_INTERFACE:amaq_build_flags> ${ARG_PRIVATE_DEPS})
  if(ARG_UNITY)
    set_target_properties(amaq_${ARG_NAME} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 8)
  endif()
endfunction()

# amaq_test(NAME quant SRCS a_test.cc ... DEPS amaq::quant [LABELS unit] [TORCH] [ARGS ...])
#   Binary amaq_<NAME>_tests. A light binary registers each case with CTest; a TORCH one registers each
#   source file (starting a process with LibTorch costs half a second).
function(amaq_test)
  cmake_parse_arguments(ARG "TORCH" "NAME" "SRCS;DEPS;LABELS" ${ARGN})
  set(target amaq_${ARG_NAME}_tests)
  add_executable(${target} ${ARG_SRCS})
  target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR})
  target_link_libraries(${target} PRIVATE amaq_build_flags ${ARG_DEPS} GTest::gmock_main)
  target_compile_definitions(${target} PRIVATE
    AMAQ_SOURCE_DIR="${PROJECT_SOURCE_DIR}" AMAQ_BINARY_DIR="${PROJECT_BINARY_DIR}")
  if(NOT ARG_LABELS)
    set(ARG_LABELS unit)
  endif()
  if(ARG_TORCH)
    set_target_properties(${target} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 4)
    foreach(source IN LISTS ARG_SRCS)
      file(STRINGS ${source} suites REGEX "^TEST(_F|_P)?\\(")
      list(TRANSFORM suites REPLACE "^TEST(_F|_P)?\\(([A-Za-z0-9_]+),.*" "\\2")
      list(REMOVE_DUPLICATES suites)
      list(TRANSFORM suites REPLACE "(.+)" "\\1.*:*/\\1.*")
      list(JOIN suites ":" filter)
      get_filename_component(stem ${source} NAME_WE)
      add_test(NAME ${ARG_NAME}/${stem} COMMAND ${target} --gtest_filter=${filter})
      set_tests_properties(${ARG_NAME}/${stem} PROPERTIES LABELS "${ARG_LABELS}"
        ENVIRONMENT "OMP_NUM_THREADS=1" TIMEOUT 600)
    endforeach()
  else()
    gtest_discover_tests(${target} DISCOVERY_MODE PRE_TEST TEST_PREFIX ${ARG_NAME}/
      PROPERTIES LABELS "${ARG_LABELS}" TIMEOUT 120)
  endif()
endfunction()
