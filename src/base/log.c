/* log: a line is one write(2), so that lines of keeper and worker, who share stderr, do not mix.
 *
 * Texts can carry what a client said of itself: control bytes become '?', so that no client can fake a line. */
#include "base/log.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "base/atomic.h"

#define LINE_SIZE 1024

static uint32_t max_level = LT_LOG_INFO;

void lt_log_set_level(enum lt_log_level level)
{
    lt_store_relaxed32(&max_level, (uint32_t)level); /* relaxed: it guards nothing but itself */
}

static size_t put_head(char *line, size_t size, enum lt_log_level level)
{
    static const char *const names[] = { "error", "warn", "info", "debug" };
    struct timespec now;
    struct tm utc;
    char when[32];
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%S", &utc);
    int n = snprintf(line, size, "%s.%03dZ leatd[%d] %s: ", when, (int)(now.tv_nsec / 1000000), (int)getpid(),
                     names[level <= LT_LOG_DEBUG ? level : LT_LOG_DEBUG]);
    return (size_t)n;
}

void lt_log(enum lt_log_level level, const char *format, ...)
{
    char line[LINE_SIZE];
    if ((uint32_t)level > lt_load_relaxed32(&max_level))
        return;
    size_t head = put_head(line, sizeof line, level);

    va_list args;
    va_start(args, format);
    int n = vsnprintf(line + head, sizeof line - head, format, args);
    va_end(args);
    size_t end = n < 0 ? head : head + (size_t)n;
    if (end > sizeof line - 1)
        end = sizeof line - 1; /* cut */
    for (size_t i = head; i < end; i++)
        if ((unsigned char)line[i] < ' ' || line[i] == 0x7f)
            line[i] = '?';
    line[end++] = '\n';
    /* A log that cannot be written has nobody to be told. */
    if (write(STDERR_FILENO, line, end) < 0)
        return;
}
