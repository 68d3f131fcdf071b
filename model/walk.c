#include "model/walk.h"

static size_t group_at(const sb_walk *walk, size_t index) {
  return walk->backward ? walk->first - index : walk->first + index;
}

sb_status sb_walk_enter(sb_walk *walk, size_t *group, const void **image) {
  *group = group_at(walk, walk->at);
  SB_TRY(sb_store_acquire(walk->store, *group, image));
  walk->at++;
  return sb_walk_more(walk) ? sb_store_prefetch(walk->store, group_at(walk, walk->at)) : SB_OK;
}

sb_status sb_walk_leave(sb_walk *walk) {
  return sb_store_release(walk->store, group_at(walk, walk->at - 1));
}
