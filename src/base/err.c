/* err: the text of a thread's last failure.
 *
 * Thread-local and of fixed size: keeping it can neither fail nor allocate, and a failure about memory can be told. */
#include "base/err.h"

#include <leat.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define TEXT_SIZE 512

static _Thread_local char kept[TEXT_SIZE];

/* By way of a buffer of its own, so that a caller can forward the old text inside the new one. */
static void keep(const char *suffix, const char *format, va_list args) __attribute__((format(printf, 2, 0)));
static void keep(const char *suffix, const char *format, va_list args)
{
    char text[TEXT_SIZE];
    vsnprintf(text, sizeof text, format, args);
    size_t size = strlen(text);
    snprintf(text + size, sizeof text - size, "%s", suffix);
    memcpy(kept, text, sizeof kept);
}

int(lt_fail)(int error, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    keep("", format, args);
    va_end(args);
    return error;
}

static int error_of(int error_number)
{
    switch (error_number) {
    case ENOMEM:
    case ENOSPC:
        return LEAT_ENOMEM;
    case EMFILE:
    case ENFILE:
        return LEAT_ELIMIT;
    case EACCES:
    case EPERM:
        return LEAT_EPERM;
    default:
        return LEAT_EIO;
    }
}

int(lt_fail_errno)(int error_number, const char *format, ...)
{
    char suffix[128];
    /* strerror: its buffer is only used for numbers that no system call returns. */
    snprintf(suffix, sizeof suffix, ": %s (errno %d)", strerror(error_number), error_number);
    va_list args;
    va_start(args, format);
    keep(suffix, format, args);
    va_end(args);
    return error_of(error_number);
}

const char *lt_fail_text(void)
{
    return kept;
}

void lt_fail_clear(void)
{
    kept[0] = 0;
}
