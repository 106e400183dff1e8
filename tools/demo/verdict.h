/* verdict: what is in the store is held against what was sent. */
#ifndef VERDICT_H
#define VERDICT_H

#include "sink.h"
#include "story.h"

/* Prints charts, checks, and the last line. Whether all is well. */
bool verdict(const struct outcome *outcome, const struct sink_report *report);

#endif
