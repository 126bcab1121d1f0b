# ygr_add_test(NAME SOURCE.c LIBS...): a cmocka executable that ctest runs, label "quick".
function(ygr_add_test name source)
  add_executable(${name} ${source})
  target_link_libraries(${name} PRIVATE ${ARGN} PkgConfig::CMOCKA ygr_options)
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES LABELS quick TIMEOUT 120)
endfunction()

# ygr_add_fuzz(NAME SOURCE.c LIBS...): SOURCE has LLVMFuzzerTestOneInput. With YAGURA_FUZZ (clang) it becomes a
# libFuzzer program; always a replay program that ctest runs over tests/fuzz/corpus/NAME.
option(YAGURA_FUZZ "Build libFuzzer programs (clang)" OFF)
function(ygr_add_fuzz name source)
  add_executable(${name}-replay ${source} ${CMAKE_SOURCE_DIR}/tests/fuzz/replay.c)
  target_link_libraries(${name}-replay PRIVATE ${ARGN} ygr_options)
  add_test(NAME ${name}-replay COMMAND ${name}-replay ${CMAKE_SOURCE_DIR}/tests/fuzz/corpus/${name})
  set_tests_properties(${name}-replay PROPERTIES LABELS quick TIMEOUT 120)
  if(YAGURA_FUZZ)
    add_executable(${name} ${source})
    target_compile_options(${name} PRIVATE -fsanitize=fuzzer)
    target_link_options(${name} PRIVATE -fsanitize=fuzzer)
    target_link_libraries(${name} PRIVATE ${ARGN} ygr_options)
  endif()
endfunction()
