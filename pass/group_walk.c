#include "pass/group_walk.h"

static size_t group_at(const sb_group_walk *walk, size_t index) {
  return walk->backward ? walk->first - index : walk->first + index;
}

sb_status sb_group_walk_enter(sb_group_walk *walk, size_t *group, const void **image) {
  *group = group_at(walk, walk->next);
  *image = walk->ahead;
  if (!walk->ahead) SB_TRY(sb_store_acquire(walk->store, *group, image));
  walk->ahead = NULL;
  walk->next++;
  return sb_group_walk_more(walk) ? sb_store_prefetch(walk->store, group_at(walk, walk->next))
                                  : SB_OK;
}

sb_status sb_group_walk_ahead(sb_group_walk *walk, size_t *group, const void **image) {
  *image = NULL;
  if (!sb_group_walk_more(walk)) return SB_OK;
  *group = group_at(walk, walk->next);
  SB_TRY(sb_store_acquire(walk->store, *group, image));
  walk->ahead = *image;
  return SB_OK;
}

sb_status sb_group_walk_leave(sb_group_walk *walk) {
  return sb_store_release(walk->store, group_at(walk, walk->next - 1));
}
