/* Names of what bpf() numbers, to Linux 6.12: as libbpf writes them, helpers without "bpf_". NULL beyond the
 * end. */
#pragma once

#include <stdint.h>

const char *ygr_bpf_map_type_name(uint32_t type);  /* "percpu_hash"; libbpf_bpf_map_type_str() */
const char *ygr_bpf_prog_type_name(uint32_t type); /* "tracepoint"; libbpf_bpf_prog_type_str() */
const char *
ygr_bpf_attach_type_name(uint32_t type);      /* "cgroup_inet_ingress"; libbpf_bpf_attach_type_str() */
const char *ygr_bpf_helper_name(uint32_t id); /* "map_lookup_elem"; 0 is "unspec" */
