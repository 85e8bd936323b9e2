# amaq::codec, core and quant, is what is installed beside the programs (docs/adr/0009). The headers
# below are the promise; all others stay here. A build with CUDA links its runtime from where nvcc lies,
# so it is not exported.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

add_library(amaq_codec INTERFACE)
add_library(amaq::codec ALIAS amaq_codec)
target_link_libraries(amaq_codec INTERFACE amaq_quant amaq_core)
target_include_directories(amaq_codec INTERFACE  # of the C header
  $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/src/quant/c_api> $<INSTALL_INTERFACE:include>)
set_target_properties(amaq_codec PROPERTIES EXPORT_NAME codec)
set_target_properties(amaq_quant PROPERTIES EXPORT_NAME codec_quant)
set_target_properties(amaq_core PROPERTIES EXPORT_NAME codec_core)

if(PROJECT_IS_TOP_LEVEL AND NOT AMAQ_WITH_CUDA)
  set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/amaq)
  install(TARGETS amaq_codec amaq_quant amaq_core EXPORT amaq
    ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT codec)
  foreach(header core/dtype.h core/error.h core/host_device.h core/section.h core/tensor_view.h
      core/version.h quant/codec.h quant/config.h quant/gate.h quant/octet.h quant/range.h
      quant/range_modes.h quant/row_reader.h quant/rows.h quant/uniform.h quant/width_policy.h)
    get_filename_component(folder ${header} DIRECTORY)
    install(FILES ${PROJECT_SOURCE_DIR}/src/${header}
      DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/amaq/${folder} COMPONENT codec)
  endforeach()
  install(FILES ${PROJECT_SOURCE_DIR}/src/quant/c_api/amaq_codec.h
    DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT codec)
  install(EXPORT amaq NAMESPACE amaq:: FILE amaqTargets.cmake DESTINATION ${package_dir}
    COMPONENT codec)
  configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/amaqConfig.cmake.in amaqConfig.cmake
    INSTALL_DESTINATION ${package_dir})
  write_basic_package_version_file(${CMAKE_CURRENT_BINARY_DIR}/amaqConfigVersion.cmake
    COMPATIBILITY SameMajorVersion)
  install(FILES ${CMAKE_CURRENT_BINARY_DIR}/amaqConfig.cmake
    ${CMAKE_CURRENT_BINARY_DIR}/amaqConfigVersion.cmake DESTINATION ${package_dir} COMPONENT codec)
endif()
