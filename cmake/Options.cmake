# Compiler options as INTERFACE targets: what links ygr_options gets them, nothing is set globally.
option(YAGURA_WERROR "Treat warnings as errors" ON)
set(YAGURA_SANITIZE "" CACHE STRING "Sanitizers to build with, e.g. address,undefined")

add_library(ygr_warnings INTERFACE)
target_compile_options(ygr_warnings INTERFACE
  -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wformat=2
  $<$<C_COMPILER_ID:Clang>:-Wno-missing-field-initializers> # of what libseccomp's macros leave out
  $<$<BOOL:${YAGURA_WERROR}>:-Werror>)

add_library(ygr_options INTERFACE)
target_link_libraries(ygr_options INTERFACE ygr_warnings)
target_compile_definitions(ygr_options INTERFACE _GNU_SOURCE)
target_include_directories(ygr_options INTERFACE ${CMAKE_SOURCE_DIR} ${CMAKE_BINARY_DIR})
if(YAGURA_SANITIZE)
  target_compile_options(ygr_options INTERFACE -fsanitize=${YAGURA_SANITIZE} -fno-omit-frame-pointer
    -fno-sanitize-recover=all)
  target_link_options(ygr_options INTERFACE -fsanitize=${YAGURA_SANITIZE})
endif()
