/*
 * An error that travels to a person: a code for the program and a sentence with the names of things in it.
 * The caller owns the object and passes it down; NULL is allowed where only the code matters. Libraries
 * fill it in and do not log; whoever finally handles the error logs it, once.
 */
#pragma once

#include <stdarg.h>

#define YGR_ERROR_MESSAGE_MAX 512

struct ygr_error {
	int code; /* positive errno value, 0 when nothing went wrong */
	char message[YGR_ERROR_MESSAGE_MAX];
};

#define YGR_ERROR_INIT ((struct ygr_error){0})

/*
 * Records CODE (positive errno) and a formatted sentence; an error that is already set is replaced. Control
 * characters, and bytes that are no UTF-8, become '?' in the result, since parts may come from a guest. Returns -CODE, so that a function
 * can end with `return ygr_error_set(error, EINVAL, "...")`.
 */
int ygr_error_set(struct ygr_error *error, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Puts "PREFIX: " before the message; for adding the name of what was being done. Returns -error->code. */
int ygr_error_prefix(struct ygr_error *error, const char *format, ...) __attribute__((format(printf, 2, 3)));
