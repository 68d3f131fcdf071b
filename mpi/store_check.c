#include "mpi/store_impl.h"

/* Own units: group after group, each at a multiple of 64 bytes. */
static bool own_is_valid(const sb_store *store, sb_flaw *flaw) {
  size_t at = 0;
  for (size_t g = 0; g < store->layout.count; g++) {
    if (store->own_at[g] != at)
      return sb_flaw_found(flaw, "group %zu: own units lie at byte %zu, expected at %zu", g,
                           store->own_at[g], at);
    at += sb_store_padded(sb_layout_owned(&store->layout, g, store->world->rank));
  }
  return at == store->own_bytes ||
         sb_flaw_found(flaw, "own units have %zu bytes, the store %zu", at, store->own_bytes);
}

/* Where the image of a slot must lie. */
static const char *image_of(const sb_store *store, int s) {
  return store->world->size == 1
             ? store->own + store->own_at[store->slots[s].group]
             : store->window.base + (size_t)s * sb_store_padded(store->layout.largest);
}

static bool slot_is_valid(const sb_store *store, int s, sb_flaw *flaw) {
  const sb_slot *slot = &store->slots[s];
  if (slot->receives > slot->pending)
    return sb_flaw_found(flaw, "slot %d: %zu receives among %zu messages", s, slot->receives,
                         slot->pending);
  if (slot->released > store->syncs)
    return sb_flaw_found(flaw, "slot %d: released after sync %llu, and there were %llu", s,
                         (unsigned long long)slot->released, (unsigned long long)store->syncs);
  if ((slot->state == SB_SLOT_HELD) != (slot->holders > 0))
    return sb_flaw_found(flaw, "slot %d: state %d with %d holders", s, (int)slot->state,
                         slot->holders);
  if (slot->state == SB_SLOT_FREE)
    return slot->pending == 0 ||
           sb_flaw_found(flaw, "slot %d: free, with %zu messages under way", s, slot->pending);
  if (slot->group >= store->layout.count)
    return sb_flaw_found(flaw, "slot %d: group %zu of %zu", s, slot->group, store->layout.count);
  if (slot->image != image_of(store, s))
    return sb_flaw_found(flaw, "slot %d: its image lies outside of its place", s);
  for (int other = 0; other < s; other++)
    if (store->slots[other].state != SB_SLOT_FREE && store->slots[other].group == slot->group)
      return sb_flaw_found(flaw, "group %zu is in slots %d and %d", slot->group, other, s);
  return true;
}

bool sb_store_is_valid(const sb_store *store, sb_flaw *flaw) {
  if (!sb_layout_is_valid(&store->layout, flaw) || !own_is_valid(store, flaw)) return false;
  for (int s = 0; s < store->slot_count; s++)
    if (!slot_is_valid(store, s, flaw)) return false;
  return true;
}
