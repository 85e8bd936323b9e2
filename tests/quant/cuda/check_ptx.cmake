# cmake -DPTX=file -P check_ptx.cmake: fails when the kernels would not give the host's bytes.
file(READ ${PTX} text)
foreach(wrong "fma\\.rn\\.f32" "\\.ftz" "div\\.(approx|full)" "rcp\\.approx")
  if(text MATCHES "${wrong}")
    message(FATAL_ERROR "${PTX} has the instruction ${CMAKE_MATCH_0}")
  endif()
endforeach()
# That the instructions are spelt as expected at all.
foreach(needed "(div|rcp)\\.rn\\.f32" "shfl\\.sync\\.bfly" "(bar|barrier)\\.(cta\\.)?sync" "st\\.shared")
  if(NOT text MATCHES "${needed}")
    message(FATAL_ERROR "${PTX} has no instruction like ${needed}")
  endif()
endforeach()
