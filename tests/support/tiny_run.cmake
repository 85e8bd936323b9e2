# amaq_tiny_run: tests/support/tiny_run.h as a library, for the test folders that include it.
include(${CMAKE_CURRENT_LIST_DIR}/tiny_hf_model.cmake)
if(NOT TARGET amaq_tiny_run)
  add_library(amaq_tiny_run STATIC ${CMAKE_CURRENT_LIST_DIR}/tiny_run.cc)
  target_include_directories(amaq_tiny_run PUBLIC ${PROJECT_SOURCE_DIR})
  target_link_libraries(amaq_tiny_run PUBLIC amaq_build_flags amaq::client amaq_tiny_hf_model
    GTest::gtest)
endif()
