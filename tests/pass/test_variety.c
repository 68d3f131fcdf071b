/* Token counts of all ranks together, and what is warned of. */
#include "tests/support/ranks.h"

#include "base/log.h"
#include "base/memory.h"
#include "pass/variety.h"

enum { T = 16, VOCAB = 1000 };

/* This rank's windows of ids (*id)(window, place). */
static sb_sequences sequences_of(size_t count, uint32_t (*id)(size_t, size_t)) {
  sb_sequences q = {.count = count, .seqlen = T};
  q.local = sb_pass_local(&world, count);
  EXPECT_OK(sb_alloc(&q.tokens, q.local * T, sizeof *q.tokens, "tokens"));
  for (size_t i = 0; i < q.local; i++)
    for (size_t t = 0; t < T; t++)
      q.tokens[i * T + t] = id(i * (size_t)world.size + (size_t)world.rank, t);
  return q;
}

static uint32_t one_id(size_t w, size_t t) {
  (void)w, (void)t;
  return 7;
}
static uint32_t all_differ(size_t w, size_t t) {
  return (uint32_t)((w * T + t) % VOCAB);
}
static uint32_t ten_ids(size_t w, size_t t) {
  return 990 + (uint32_t)((w * T + t) * 2654435761u >> 16) % 10;
}
static uint32_t mostly_padding(size_t w, size_t t) {
  return t < 9 ? 0 : (uint32_t)(w * T + t);
}
static uint32_t each_window_twice(size_t w, size_t t) {
  return (uint32_t)(w / 2 * T + t);
}

static sb_variety measure(size_t count, uint32_t (*id)(size_t, size_t)) {
  sb_variety v = {0};
  sb_sequences q = sequences_of(count, id);
  EXPECT_OK(sb_variety_measure(&world, &q, VOCAB, &v));
  EXPECT(v.windows == count && v.tokens == count * T);
  sb_sequences_free(&q);
  return v;
}

static void counts(void **state) {
  (void)state;
  sb_variety v = measure(40, one_id);
  EXPECT(v.distinct == 1 && v.commonest == 7 && v.of_commonest == 40 * T && v.same == 39);
  v = measure(40, all_differ);
  EXPECT(v.distinct == 40 * T && v.commonest == 0 && v.of_commonest == 1 && v.same == 0);
  v = measure(40, mostly_padding);
  EXPECT(v.distinct == 40 * 7 + 1 && v.commonest == 0 && v.of_commonest == 40 * 9 && v.same == 0);
  v = measure(40, each_window_twice);
  EXPECT(v.distinct == 20 * T && v.same == 20);
  v = measure(1, all_differ); /* fewer windows than ranks */
  EXPECT(v.distinct == T && v.same == 0);
  all_ranks_passed();
}

static void judges(void **state) {
  (void)state;
  const sb_variety text = {.tokens = 8192, .distinct = 2000, .of_commonest = 400, .windows = 64},
                   few = {.tokens = 8192, .distinct = 90, .of_commonest = 400, .windows = 64},
                   enough = {.tokens = 8192, .distinct = 91, .of_commonest = 400, .windows = 64},
                   padded = {.tokens = 8192, .distinct = 2000, .of_commonest = 4097},
                   eighth = {.windows = 64, .same = 8}, ninth = {.windows = 64, .same = 9};
  EXPECT(!sb_variety_is_poor(&text, 49152) && !sb_variety_is_poor(&enough, 49152));
  EXPECT(sb_variety_is_poor(&few, 49152) && sb_variety_is_poor(&padded, 49152));
  EXPECT(!sb_variety_is_poor(&few, 256)); /* text in bytes */
  EXPECT(!sb_variety_repeats(&eighth) && sb_variety_repeats(&ninth));
  all_ranks_passed();
}

/* Lines of the log, on rank 0. */
static void warned(size_t count, uint32_t (*id)(size_t, size_t), const char *poor,
                   const char *repeated) {
  char *text = NULL;
  size_t size;
  FILE *to = open_memstream(&text, &size);
  EXPECT(to != NULL);
  sb_log_open_to(to, world.rank == 0);
  sb_sequences q = sequences_of(count, id);
  EXPECT_OK(sb_variety_warn(&world, &q, VOCAB, "calib.bin"));
  sb_sequences_free(&q);
  sb_log_open_to(stderr, false);
  fclose(to);
  EXPECT(world.rank != 0 || (poor ? strstr(text, poor) != NULL : !strstr(text, "distinct")));
  EXPECT(world.rank != 0 || (repeated ? strstr(text, repeated) != NULL : !strstr(text, "repeat")));
  free(text);
}

static void warns(void **state) {
  (void)state;
  warned(40, one_id, "calib.bin: 640 calibration tokens have 1 distinct id, 100% are id 7",
         "39 of 40 calibration windows");
  warned(40, ten_ids, "have 10 distinct ids", NULL);
  warned(40, mostly_padding, "56% are id 0", NULL);
  warned(40, each_window_twice, NULL, "20 of 40 calibration windows repeat");
  warned(40, all_differ, NULL, NULL);
  all_ranks_passed();
}

static const struct CMUnitTest tests[] = {cmocka_unit_test(counts), cmocka_unit_test(judges),
                                          cmocka_unit_test(warns)};
RANKS_MAIN(tests)
