/* Every promise of a store, broken one by one: the check finds each and says which. */
#include "mpi/store_impl.h"

#include "tests/support/ranks.h"

enum { GROUPS = 3, UNITS = 5 };

/* Sets `place` to `value`: the reason must hold `word`. Then all is as before, and valid. */
#define EXPECT_FLAW(place, value, word)                                                            \
  do {                                                                                             \
    const __typeof__(place) kept = (place);                                                        \
    sb_flaw flaw = {""};                                                                           \
    (place) = (value);                                                                             \
    EXPECT(!sb_store_is_valid(store, &flaw));                                                      \
    if (!strstr(flaw.text, (word)) && failures++ < 5)                                              \
      print_error("%s = %s: no '%s' in: %s\n", #place, #value, (word), flaw.text);                 \
    (place) = kept;                                                                                \
    EXPECT(sb_store_is_valid(store, &flaw));                                                       \
  } while (0)

static void create(const sb_world *w, sb_store **store) {
  static const size_t bytes[UNITS] = {100, 1, 300, 0, 64};
  const sb_store_group groups[GROUPS] = {{UNITS, bytes}, {2, bytes}, {1, bytes}};
  EXPECT_OK(sb_store_create(w, groups, GROUPS, 2, store));
}

static void broken_layouts(void **state) {
  sb_store *store;
  (void)state;
  create(&world, &store);
  sb_layout_group *group = &store->layout.groups[0];
  EXPECT_FLAW(store->layout.ranks, 0, "0 ranks");
  EXPECT_FLAW(group->offsets[1], 100000, "group 0: offsets");
  EXPECT_FLAW(group->offsets[0], 1, "group 0: offsets");
  EXPECT_FLAW(group->cuts[0], 1, "group 0: cuts");
  EXPECT_FLAW(group->cuts[world.size], UNITS + 1, "ends at unit 6 of 5");
  EXPECT_FLAW(store->layout.largest, 10, "the largest 10");
  EXPECT_FLAW(store->own_at[1], store->own_at[1] + 1, "group 1: own units");
  EXPECT_FLAW(store->own_bytes, store->own_bytes + 64, "own units have");
  sb_store_free(&store);
  all_ranks_passed();
}

static void broken_slots(void **state) {
  sb_store *store;
  const void *image;
  (void)state;
  create(&world, &store);
  EXPECT_OK(sb_store_acquire(store, 1, &image));
  sb_flaw none;
  EXPECT(sb_store_is_valid(store, &none));
  sb_slot *held = &store->slots[0], *empty = &store->slots[1];
  EXPECT(held->state == SB_SLOT_HELD && empty->state == SB_SLOT_FREE);
  EXPECT_FLAW(held->holders, 0, "with 0 holders");
  EXPECT_FLAW(empty->holders, 1, "with 1 holders");
  EXPECT_FLAW(held->state, SB_SLOT_COMING, "with 1 holders");
  EXPECT_FLAW(held->group, GROUPS, "group 3 of 3");
  EXPECT_FLAW(held->image, held->image + 64, "outside of its place");
  EXPECT_FLAW(held->receives, held->pending + 1, "receives among");
  EXPECT_FLAW(empty->pending, 1, "free, with 1 messages");
  EXPECT_FLAW(held->released, store->syncs + 1, "released after sync");
  sb_slot twin = *empty;
  twin.state = SB_SLOT_COMING;
  twin.group = held->group;
  if (world.size == 1) twin.image = held->image;
  EXPECT_FLAW(*empty, twin, "group 1 is in slots 0 and 1");
  EXPECT_OK(sb_store_release(store, 1));
  EXPECT(sb_store_is_valid(store, &none));
  sb_store_free(&store);
  all_ranks_passed();
}

static const struct CMUnitTest tests[] = {cmocka_unit_test(broken_layouts),
                                          cmocka_unit_test(broken_slots)};
RANKS_MAIN(tests)
