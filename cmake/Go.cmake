# ygr_add_go(NAME SOURCES OBJECT): a static program of Go that embeds the eBPF object OBJECT, which ygr_add_bpf makes in
# the same folder; the target's property YGR_FILE is its path. YGR_HAVE_GO tells whether there is a Go that is new
# enough; without it what would test such programs is skipped.
find_program(YAGURA_GO NAMES go PATHS /usr/local/go/bin /usr/lib/go/bin)
set(YGR_HAVE_GO OFF)
if(YAGURA_GO)
  execute_process(COMMAND ${YAGURA_GO} env GOVERSION OUTPUT_VARIABLE version OUTPUT_STRIP_TRAILING_WHITESPACE
    ERROR_QUIET)
  if(version MATCHES "^go([0-9]+\\.[0-9]+)" AND CMAKE_MATCH_1 VERSION_GREATER_EQUAL 1.22)
    set(YGR_HAVE_GO ON)
  endif()
endif()
if(NOT YGR_HAVE_GO)
  message(STATUS "no Go 1.22 or newer: what tests Go programs is skipped")
endif()

function(ygr_add_go name sources object)
  file(GLOB files CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${sources}/*)
  set(out ${CMAKE_CURRENT_BINARY_DIR}/${name}.static)
  set(script ${CMAKE_SOURCE_DIR}/tests/agent/telebpf/shim/subject/build-go)
  add_custom_command(OUTPUT ${out}
    COMMAND ${script} ${YAGURA_GO} ${CMAKE_CURRENT_SOURCE_DIR}/${sources} ${object} ${out}
    DEPENDS ${files} ${object} ${script} VERBATIM)
  add_custom_target(${name} ALL DEPENDS ${out})
  set_target_properties(${name} PROPERTIES YGR_FILE ${out})
endfunction()
