#include "tests/support/ranks.h"

#include <unistd.h>

#include "mpi/store.h"

enum { GROUPS = 6, UNITS = 24 };

static size_t sizes[GROUPS][UNITS];
static sb_store_group groups[GROUPS];
static unsigned version[GROUPS]; /* what the bytes of a group should be: known to all ranks */

/* Group 0 has one large unit, group 1 none, group 2 units of 0 bytes among others; the rest are
 * mixed, one of them large enough for messages that wait for their receiver. */
static void describe(void) {
  static const size_t units[GROUPS] = {1, 0, UNITS, 7, UNITS, 3};
  for (size_t g = 0; g < GROUPS; g++) {
    groups[g] = (sb_store_group){units[g], sizes[g]};
    for (size_t u = 0; u < units[g]; u++)
      sizes[g][u] =
          g == 2 && u % 3 == 0 ? 0 : 1 + mix(g * 100 + u) % (g == 4 || g == 0 ? 60000 : 700);
  }
}

static uint8_t expected_byte(size_t g, size_t at) {
  return (uint8_t)mix(g * 1000000007 + at + version[g] * UINT64_C(0x100000001));
}

static void fill(sb_store *store, const sb_world *w, size_t g) {
  size_t first, end;
  sb_store_owned(store, g, w->rank, &first, &end);
  for (size_t u = 0; u < groups[g].units; u++) {
    uint8_t *bytes = sb_store_unit(store, g, u);
    EXPECT((bytes != NULL) == (u >= first && u < end));
    for (size_t i = 0; bytes && i < sizes[g][u]; i++)
      bytes[i] = expected_byte(g, sb_store_offset(store, g, u) + i);
  }
}

static void check_image(sb_store *store, size_t g, const uint8_t *image) {
  const size_t bytes = sb_store_offset(store, g, groups[g].units);
  size_t wrong = 0;
  for (size_t i = 0; i < bytes; i++) wrong += image[i] != expected_byte(g, i);
  EXPECT(wrong == 0);
  EXPECT((uintptr_t)image % 64 == 0);
}

/* Runs `body` on stores with nodes of every size, and 1 to 3 slots. */
static void on_all_shapes(void (*body)(sb_store *, const sb_world *, int)) {
  for (int per_node = 0; per_node <= 3; per_node++)
    for (int slots = 1; slots <= 3; slots++) {
      sb_world w;
      sb_store *store;
      EXPECT_OK(sb_world_describe(per_node, &w));
      EXPECT_OK(sb_store_create(&w, groups, GROUPS, slots, &store));
      for (size_t g = 0; g < GROUPS; g++) fill(store, &w, g);
      body(store, &w, slots);
      sb_store_free(&store);
      EXPECT(store == NULL);
      sb_world_release(&w);
    }
  all_ranks_passed();
}

/* Ranks reach the same call at different times. */
static void dawdle(const sb_world *w, uint64_t step) {
  if (mix(step * 64 + (uint64_t)w->rank) % 7 == 0)
    usleep((unsigned)(mix(step + (uint64_t)w->rank) % 300));
}

/* Forward and backward, the next group on its way, as a model would; own
 * bytes rewritten between passes. */
static void passes(sb_store *store, const sb_world *w, int slots) {
  uint64_t sent = 0;
  const void *image;
  for (int pass = 0; pass < 4; pass++) {
    for (size_t k = 0; k < GROUPS; k++) {
      const size_t g = pass % 2 ? GROUPS - 1 - k : k, next = pass % 2 ? g - 1 : g + 1;
      size_t first, end;
      EXPECT_OK(sb_store_acquire(store, g, &image));
      if (slots > 1 && k + 1 < GROUPS) EXPECT_OK(sb_store_prefetch(store, next));
      EXPECT_OK(sb_store_progress(store));
      dawdle(w, k);
      check_image(store, g, image);
      EXPECT_OK(sb_store_release(store, g));
      sb_store_owned(store, g, w->rank, &first, &end);
      sent += (sb_store_offset(store, g, end) - sb_store_offset(store, g, first)) *
              (uint64_t)(w->nodes - 1);
    }
    for (size_t g = 0; g < GROUPS; g++) {
      version[g]++;
      fill(store, w, g);
    }
  }
  EXPECT(sb_store_bytes_sent(store) == sent);
  EXPECT(sb_store_wait_seconds(store) >= 0);
  EXPECT(w->size > 1 || sb_store_bytes_sent(store) == 0);
}

static void forward_and_backward(void **state) {
  (void)state;
  on_all_shapes(passes);
}

/* Any legal sequence of calls, the same on all ranks: up to `slots` groups open, several times
 * each. Groups are rewritten as soon as they are not open. */
static void walk(sb_store *store, const sb_world *w, int slots) {
  uint64_t seed = 1000 + (uint64_t)slots;
  int held[GROUPS] = {0}, open = 0;
  bool coming[GROUPS] = {false};
  const void *image[GROUPS] = {NULL};
  for (uint64_t step = 0; step < 400; step++) {
    const size_t g = draw(&seed, GROUPS);
    const uint64_t what = draw(&seed, 5);
    const bool is_open = held[g] > 0 || coming[g];
    dawdle(w, step);
    if (what == 0 && (is_open || open < slots)) {
      EXPECT_OK(sb_store_prefetch(store, g));
      open += !is_open;
      coming[g] = held[g] == 0;
    } else if (what <= 2 && (is_open || open < slots)) {
      EXPECT_OK(sb_store_acquire(store, g, &image[g]));
      open += !is_open;
      coming[g] = false;
      held[g]++;
      check_image(store, g, image[g]);
    } else if (what == 3 && held[g] > 0) {
      check_image(store, g, image[g]); /* unchanged while other groups came and went */
      EXPECT_OK(sb_store_release(store, g));
      open -= --held[g] == 0;
    } else if (what == 4 && !is_open) {
      version[g]++;
      fill(store, w, g);
    }
    EXPECT_OK(sb_store_progress(store));
  } /* whatever is open or on its way at the end is sb_store_free's to end */
}

/* The owner of group 0 receives nothing for it, so it runs ahead of the others; its bytes must have
 * left when release returns, for it rewrites them at once. */
static void ahead(sb_store *store, const sb_world *w, int slots) {
  const void *image;
  size_t first, end;
  (void)slots;
  sb_store_owned(store, 0, w->rank, &first, &end);
  for (int round = 0; round < 5; round++) {
    if (first == end) usleep(2000);
    EXPECT_OK(sb_store_acquire(store, 0, &image));
    check_image(store, 0, image);
    EXPECT_OK(sb_store_release(store, 0));
    version[0]++;
    fill(store, w, 0);
  }
}

static void an_owner_that_runs_ahead(void **state) {
  (void)state;
  on_all_shapes(ahead);
}

static void long_random_walks(void **state) {
  (void)state;
  on_all_shapes(walk);
}

static void misuse(sb_store *store, const sb_world *w, int slots) {
  const void *image;
  (void)w;
  EXPECT(sb_store_release(store, 3) == SB_ERR_INTERNAL);
  EXPECT(sb_store_prefetch(store, GROUPS) == SB_ERR_INTERNAL);
  for (int s = 0; s < slots; s++) EXPECT_OK(sb_store_prefetch(store, (size_t)s));
  EXPECT(sb_store_prefetch(store, (size_t)slots) == SB_ERR_INTERNAL);
  EXPECT(sb_store_acquire(store, (size_t)slots, &image) == SB_ERR_INTERNAL && image == NULL);
  EXPECT(sb_store_release(store, 0) == SB_ERR_INTERNAL); /* on its way is not held */
  EXPECT_OK(sb_store_acquire(store, 0, &image));
  EXPECT_OK(sb_store_release(store, 0));
  EXPECT_OK(sb_store_acquire(store, (size_t)slots, &image));
  check_image(store, (size_t)slots, image);
}

static void misuse_is_refused(void **state) {
  (void)state;
  on_all_shapes(misuse);
}

/* A walk that ends somewhere: groups held, held twice and on their way are given back, and the next
 * walk sees what was written since. */
static void cut_off(sb_store *store, const sb_world *w, int slots) {
  const void *image;
  for (int round = 0; round < 4; round++) {
    for (int s = 0; s < slots; s++) {
      const size_t g = (size_t)(s + round) % GROUPS;
      dawdle(w, (uint64_t)(round * 8 + s));
      if ((s + round) % 3 == 0) EXPECT_OK(sb_store_prefetch(store, g));
      for (int k = 0; k < (s + round) % 3; k++) EXPECT_OK(sb_store_acquire(store, g, &image));
    }
    EXPECT_OK(sb_store_give_back(store));
    sb_flaw flaw;
    EXPECT(sb_store_is_valid(store, &flaw));
    EXPECT(sb_store_release(store, 1) == SB_ERR_INTERNAL); /* nothing is held */
    for (size_t g = 0; g < GROUPS; g++) {
      version[g]++;
      fill(store, w, g);
    }
    for (size_t g = 0; g < GROUPS; g++) {
      EXPECT_OK(sb_store_acquire(store, g, &image));
      check_image(store, g, image);
      EXPECT_OK(sb_store_release(store, g));
    }
  }
}

static void a_walk_that_is_cut_off(void **state) {
  (void)state;
  on_all_shapes(cut_off);
}

/* One copy a node: what one rank of the node sees in the image, it sees at the same
 * bytes as the others. */
static void shared(sb_store *store, const sb_world *w, int slots) {
  const uint8_t flipped = expected_byte(3, 5) ^ 0xff;
  const void *image;
  (void)slots;
  EXPECT_OK(sb_store_acquire(store, 3, &image));
  if (w->size == 1) {
    EXPECT(image == sb_store_unit(store, 3, 0)); /* nothing copied */
  } else {
    MPI_Barrier(w->node_comm);
    if (w->node_rank == 0)
      ((uint8_t *)(uintptr_t)image)[5] = flipped; /* against the rules, for the test */
    MPI_Barrier(w->node_comm);
    EXPECT(((const volatile uint8_t *)image)[5] == flipped);
    MPI_Barrier(w->node_comm);
  }
  EXPECT_OK(sb_store_release(store, 3));
  EXPECT_OK(sb_store_acquire(store, 3, &image));
  check_image(store, 3, image);
  EXPECT_OK(sb_store_release(store, 3));
}

static void an_image_lies_once_on_a_node(void **state) {
  (void)state;
  on_all_shapes(shared);
}

static void bad_descriptions_are_refused_by_all(void **state) {
  const size_t huge[2] = {SIZE_MAX / 2, SIZE_MAX / 2 + 5}, big[1] = {(size_t)1 << 60};
  const sb_store_group overflow = {2, huge}, too_big = {1, big};
  sb_store *store;
  (void)state;
  EXPECT(sb_store_create(&world, groups, GROUPS, 0, &store) == SB_ERR_INTERNAL && !store);
  EXPECT(sb_store_create(&world, &overflow, 1, 2, &store) == SB_ERR_RANGE && !store);
  EXPECT(sb_store_create(&world, &too_big, 1, 2, &store) == SB_ERR_MEMORY && !store);
  if (world.size > 1) {
    EXPECT(sb_store_create(&world, groups, world.rank ? GROUPS : GROUPS - 1, 2, &store) ==
               SB_ERR_INTERNAL &&
           !store);
    EXPECT(sb_store_create(&world, groups, GROUPS, world.rank ? 2 : 3, &store) == SB_ERR_INTERNAL &&
           !store);
  }
  all_ranks_passed();
}

static int set_up(void **state) {
  (void)state;
  describe();
  return 0;
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(forward_and_backward),
      cmocka_unit_test(long_random_walks),
      cmocka_unit_test(an_owner_that_runs_ahead),
      cmocka_unit_test(misuse_is_refused),
      cmocka_unit_test(a_walk_that_is_cut_off),
      cmocka_unit_test(an_image_lies_once_on_a_node),
      cmocka_unit_test(bad_descriptions_are_refused_by_all),
  };
  int failed;
  if (sb_world_init(&argc, &argv, &world) != SB_OK) return 1;
  failed = cmocka_run_group_tests(tests, set_up, NULL);
  sb_world_finalize(&world);
  return failed != 0;
}
