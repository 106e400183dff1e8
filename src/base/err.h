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
/* The text of the last lt_fail of this thread. */
const char *lt_fail_text(void);
void lt_fail_clear(void);

#endif
