# amaq_tiny_model: tests/support/tiny_model.h as a library, for the test folders that include it.
if(NOT TARGET amaq_tiny_model)
  add_library(amaq_tiny_model STATIC ${CMAKE_CURRENT_LIST_DIR}/tiny_model.cc)
  target_include_directories(amaq_tiny_model PUBLIC ${PROJECT_SOURCE_DIR})
  target_link_libraries(amaq_tiny_model PUBLIC amaq_build_flags amaq::models)
endif()
