/* A walk over groups of the store, one after another, with the next one always on its way.
 *
 *   while (sb_group_walk_more(&walk)) {
 *     sb_group_walk_enter(&walk, &group, &image);    ... use the image ...
 *     sb_group_walk_leave(&walk);
 *   } */
#ifndef SB_PASS_GROUP_WALK_H
#define SB_PASS_GROUP_WALK_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"
#include "mpi/store.h"

typedef struct sb_group_walk {
  sb_store *store;
  size_t first, count;
  bool backward;     /* first, first - 1, ... in place of first, first + 1, ... */
  size_t next;       /* how many have been entered: index of the one that comes next */
  const void *ahead; /* its image, where sb_group_walk_ahead has acquired it, else NULL */
} sb_group_walk;

/* Over `count` groups. Local. */
static inline sb_group_walk sb_group_walk_begin(sb_store *store, size_t first, size_t count,
                                                bool backward) {
  return (sb_group_walk){.store = store, .first = first, .count = count, .backward = backward};
}

/* True while a group is left to enter. Local. */
static inline bool sb_group_walk_more(const sb_group_walk *walk) {
  return walk->next < walk->count;
}
/* Acquires the next group and prefetches the one after it. *group and *image are valid until
 * sb_group_walk_leave. Collective. */
sb_status sb_group_walk_enter(sb_group_walk *walk, size_t *group, const void **image);
/* Acquires the group that comes next while the entered one is still held: sb_group_walk_enter then
 * gives it at once. *image is NULL where none is left. Collective. */
sb_status sb_group_walk_ahead(sb_group_walk *walk, size_t *group, const void **image);
/* Releases the entered group. Collective. */
sb_status sb_group_walk_leave(sb_group_walk *walk);

#endif
