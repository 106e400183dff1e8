/* log: leatd's lines on stderr: `2026-01-31T12:00:00.123Z leatd[123] info: text`. The library never logs. */
#ifndef LT_BASE_LOG_H
#define LT_BASE_LOG_H

enum lt_log_level { LT_LOG_ERROR = 0, LT_LOG_WARN = 1, LT_LOG_INFO = 2, LT_LOG_DEBUG = 3 };

void lt_log_set_level(enum lt_log_level level);
void lt_log(enum lt_log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
