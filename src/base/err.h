/* err: errors with values in them.
 *
 * Inside leat a negative return is fatal to the call and is forwarded; a positive one is a named condition for the caller.
 * Whoever makes a negative one says why with lt_fail, once; the text is kept per thread for leat_last_error(). */
#ifndef LT_BASE_ERR_H
#define LT_BASE_ERR_H

/* Keeps the text and returns `error`: `return lt_fail(LEAT_ENOPART, "%s: partition %u of %u", ...)`. */
int lt_fail(int error, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* For a system call: appends ": strerror (errno)"; returns LEAT_EIO, LEAT_ENOMEM (ENOMEM, ENOSPC on memfd) or LEAT_ELIMIT (EMFILE, ENFILE). */
int lt_fail_errno(int error_number, const char *format, ...) __attribute__((format(printf, 2, 3)));
#ifdef __clang_analyzer__
/* What an analyzer cannot see across files: the first returns its argument, the second something negative. */
#define lt_fail(error, ...) ((void)(lt_fail)((error), __VA_ARGS__), (error))
#define lt_fail_errno(number, ...) ((void)(lt_fail_errno)((number), __VA_ARGS__), -1)
#endif
/* The text of the last lt_fail of this thread. */
const char *lt_fail_text(void);
void lt_fail_clear(void);

#endif
