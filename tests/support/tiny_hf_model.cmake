# amaq_tiny_hf_model: tests/support/tiny_hf_model.h as a library, for the test folders that include it.
if(NOT TARGET amaq_tiny_hf_model)
  add_library(amaq_tiny_hf_model STATIC ${CMAKE_CURRENT_LIST_DIR}/tiny_hf_model.cc)
  target_include_directories(amaq_tiny_hf_model PUBLIC ${PROJECT_SOURCE_DIR})
  target_link_libraries(amaq_tiny_hf_model PUBLIC amaq_build_flags amaq::models amaq::data
    PRIVATE nlohmann_json::nlohmann_json)
endif()
