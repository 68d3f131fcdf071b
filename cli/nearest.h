/* "Did you mean": the nearest of a few words. Local, pure. */
#ifndef SB_CLI_NEAREST_H
#define SB_CLI_NEAREST_H

#include <stddef.h>

/* The word at the smallest edit distance from `text` (inserting, deleting, replacing a letter and
 * swapping two neighbours count one each), or NULL if all are too far: at most
 * min(3, ceil(length of the longer word / 3)). A word of 3 letters or more that begins the other is
 * near, too. Ties go to the earlier word. O(count x length^2). */
const char *sb_nearest(const char *text, const char *const *words, size_t count);

#endif
