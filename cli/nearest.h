/* "Did you mean": the nearest of a few words. Local, pure. */
#ifndef SB_CLI_NEAREST_H
#define SB_CLI_NEAREST_H

#include <stddef.h>

/* The word at the smallest edit distance (insert, delete, replace, swap neighbours: one each) from
 * `text`, when that distance is at most a third of the longer word's length rounded up, and at most
 * 3; else NULL. Words of which one begins the other (3 letters or more) count as near. Ties go to
 * the earlier word. O(count x length^2). */
const char *sb_nearest(const char *text, const char *const *words, size_t count);

#endif
