/* The story: what happens, in which order, told line by line as it does. */
#ifndef STORY_H
#define STORY_H

#include "demo.h"

/* Loads the input, starts bus, readers and producers, kills some, ends all of them. Whether it went as planned. */
bool story_tell(struct board *board, struct input *input, int kills);

/* 81234 as 81,234; a buffer for each use, by value. */
struct grouped {
    char text[32];
};
struct grouped grouped(uint64_t n);

#endif
