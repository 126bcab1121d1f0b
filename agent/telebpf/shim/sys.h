/*
 * System calls of the shim itself. All of them go through one instruction in entry.S, inside the only range
 * that Syscall User Dispatch lets pass; so nothing here traps, and nothing here touches errno or TLS.
 */
#pragma once

#include <stdint.h>
#include <sys/syscall.h>

/* NR(A1..A6) natively: result or negative errno. */
int64_t ygr_syscall6(int64_t nr, uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5,
		     uint64_t a6);

#define YGR_U(value)                ((uint64_t)(value))
#define ygr_sys0(nr)                ygr_syscall6(nr, 0, 0, 0, 0, 0, 0)
#define ygr_sys1(nr, a)             ygr_syscall6(nr, YGR_U(a), 0, 0, 0, 0, 0)
#define ygr_sys2(nr, a, b)          ygr_syscall6(nr, YGR_U(a), YGR_U(b), 0, 0, 0, 0)
#define ygr_sys3(nr, a, b, c)       ygr_syscall6(nr, YGR_U(a), YGR_U(b), YGR_U(c), 0, 0, 0)
#define ygr_sys4(nr, a, b, c, d)    ygr_syscall6(nr, YGR_U(a), YGR_U(b), YGR_U(c), YGR_U(d), 0, 0)
#define ygr_sys5(nr, a, b, c, d, e) ygr_syscall6(nr, YGR_U(a), YGR_U(b), YGR_U(c), YGR_U(d), YGR_U(e), 0)
#define ygr_sys6(nr, a, b, c, d, e, f)                                                                      \
	ygr_syscall6(nr, YGR_U(a), YGR_U(b), YGR_U(c), YGR_U(d), YGR_U(e), YGR_U(f))
