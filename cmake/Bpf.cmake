# ygr_add_bpf(NAME FILE.bpf.c): compiles an eBPF program with clang and makes NAME.skel.h with bpftool; link the
# INTERFACE target NAME to include "NAME.skel.h".
find_program(YAGURA_BPF_CLANG NAMES clang clang-14 REQUIRED)
find_program(YAGURA_BPFTOOL NAMES bpftool PATHS /usr/sbin /sbin REQUIRED)
pkg_check_modules(LIBBPF REQUIRED IMPORTED_TARGET libbpf)
list(APPEND LIBBPF_STATIC_LIBRARIES ygr_elf_search) # lib/base/elf-search.c

function(ygr_add_bpf name source)
  set(object ${CMAKE_CURRENT_BINARY_DIR}/${name}.bpf.o)
  set(skeleton ${CMAKE_CURRENT_BINARY_DIR}/${name}.skel.h)
  add_custom_command(OUTPUT ${object}
    COMMAND ${YAGURA_BPF_CLANG} -target bpf -D__TARGET_ARCH_x86 -O2 -g -Wall -Werror
      -I${CMAKE_SOURCE_DIR} -I/usr/include/${CMAKE_LIBRARY_ARCHITECTURE}
      -MD -MF ${object}.d -c ${CMAKE_CURRENT_SOURCE_DIR}/${source} -o ${object}
    DEPENDS ${source} DEPFILE ${object}.d VERBATIM)
  # Through bpftool's linker, which leaves out what only debuggers read.
  add_custom_command(OUTPUT ${object}.small
    COMMAND ${YAGURA_BPFTOOL} gen object ${object}.small ${object}
    DEPENDS ${object} VERBATIM)
  add_custom_command(OUTPUT ${skeleton}
    COMMAND ${YAGURA_BPFTOOL} gen skeleton ${object}.small name ${name} > ${skeleton}.new
    COMMAND ${CMAKE_COMMAND} -E rename ${skeleton}.new ${skeleton}
    DEPENDS ${object}.small VERBATIM)
  add_custom_target(${name}-skeleton DEPENDS ${skeleton})
  add_library(${name} INTERFACE)
  target_include_directories(${name} INTERFACE ${CMAKE_CURRENT_BINARY_DIR})
  target_link_libraries(${name} INTERFACE PkgConfig::LIBBPF)
  add_dependencies(${name} ${name}-skeleton)
endfunction()
