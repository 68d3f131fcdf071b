/* Walking through groups of the store with the next one always on its way. */
#ifndef SB_PASS_GROUP_WALK_H
#define SB_PASS_GROUP_WALK_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"
#include "mpi/store.h"

/* A walk visits groups first, first + step, ... (count of them). */
typedef struct sb_group_walk {
  sb_store *store;
  size_t first, count;
  bool backward;     /* first, first - 1, ... */
  size_t at;         /* index of the group that sb_group_walk_enter will give next */
  const void *ahead; /* its image, where sb_group_walk_ahead has acquired it already */
} sb_group_walk;

static inline sb_group_walk sb_group_walk_begin(sb_store *store, size_t first, size_t count,
                                                bool backward) {
  return (sb_group_walk){.store = store, .first = first, .count = count, .backward = backward};
}

/* True while there is a group left to enter. */
static inline bool sb_group_walk_more(const sb_group_walk *walk) {
  return walk->at < walk->count;
}
/* Acquires the next group and starts on the one after it. Collective; *group and *image stay valid
 * until sb_group_walk_leave. */
sb_status sb_group_walk_enter(sb_group_walk *walk, size_t *group, const void **image);
/* The group that sb_group_walk_enter will give next, acquired while the entered one is still held;
 * *image is NULL where there is none left. Collective. */
sb_status sb_group_walk_ahead(sb_group_walk *walk, size_t *group, const void **image);
/* Releases the entered group. Collective. */
sb_status sb_group_walk_leave(sb_group_walk *walk);

#endif
